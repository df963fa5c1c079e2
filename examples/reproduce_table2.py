"""The paper's second table on any labelled audio: rows and seeds on the same splits, one after the other, resumable.

    python examples/reproduce_table2.py --data DIR --output OUT [--dataset gtzan] [--autoencoder mini]
        [--rows PECMAE-1 PECMAE-5 "MLP on ECMAE-S"] [--seeds 0 1 2] [--preset paper]

OUT/results.json and OUT/table.md are written after every row; the same command goes on where it was stopped. A row that cannot
be run is left out with a sentence, the others stand, and the exit status is 1. Ablations are options, each in its own OUT.
"""

import argparse
import sys
from dataclasses import replace
from pathlib import Path

from arguments import add_data_arguments, collection_from_arguments
from endings import ending_in_words
from pecmae.autoencoder.model import Autoencoder
from pecmae.core.files import write_text
from pecmae.data.checks import prepare_collection
from pecmae.errors import PecmaeError
from pecmae.prototypes.config import CLASSIFICATION_LOSSES, DISTANCE_REDUCTIONS
from pecmae.prototypes.initialisation import INITIALISATIONS
from table2.results import Results, facts, markdown
from table2.rows import PRESETS, ROWS, Bench, Choices

_HEAD = ("distance_reduction", "kernel_scale", "classification_loss", "temperature", "class_loss_weight", "evaluate_every")
_SETTINGS = ("steps", "batch_size", "learning_rate", "weight_decay")


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_data_arguments(parser)
    parser.add_argument("--output", required=True, help="folder of the results; those found there are kept")
    parser.add_argument("--autoencoder", default="mini", help="directory, Hub id or name of an autoencoder (default: mini)")
    parser.add_argument("--cache", help="where embeddings are kept (default: OUTPUT/cache)")
    parser.add_argument("--rows", nargs="+", choices=list(ROWS), default=list(ROWS), metavar="ROW", help=", ".join(ROWS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2], metavar="SEED", help="default: 0 1 2")
    parser.add_argument("--preset", choices=list(PRESETS), default="default", help="settings of a source, or this project's")
    ablations = parser.add_argument_group("ablations", "in the place of what the preset says")
    ablations.add_argument("--distance", dest="distance_reduction", choices=DISTANCE_REDUCTIONS)
    ablations.add_argument("--loss", dest="classification_loss", choices=CLASSIFICATION_LOSSES)
    ablations.add_argument("--kernel-scale", type=float, metavar="S", help="similarity is exp(-S · distance)")
    ablations.add_argument("--temperature", type=float, help="what cross-entropy divides logits by")
    ablations.add_argument("--class-loss-weight", type=float, metavar="λ", help="share of the classification loss")
    ablations.add_argument("--initialisation", choices=INITIALISATIONS, help="where prototypes begin")
    ablations.add_argument("--evaluate-every", type=int, metavar="STEPS", help="between looks at the validation loss")
    for name, kind in (("steps", int), ("batch_size", int), ("learning_rate", float), ("weight_decay", float)):
        ablations.add_argument(f"--{name.replace('_', '-')}", type=kind)
    parser.add_argument("--apnet-steps", type=int, help="steps of APNet")
    parser.add_argument("--apnet-batch-size", type=int, help="segments a step of APNet")
    parser.add_argument(
        "--apnet-channels", type=int, nargs=3, help="of its convolutions (default: as many parameters as the paper says)"
    )
    return parser.parse_args(argv)


def choices_from_arguments(args: argparse.Namespace) -> Choices:
    """The preset with the options that were given."""
    choices = PRESETS[args.preset]
    given = {name: value for name, value in vars(args).items() if value is not None}
    return replace(
        choices,
        head=replace(choices.head, **{name: given[name] for name in _HEAD if name in given}),
        settings=replace(choices.settings, **{name: given[name] for name in _SETTINGS if name in given}),
        apnet_channels=tuple(given.get("apnet_channels", choices.apnet_channels)),
        apnet=replace(
            choices.apnet,
            steps=given.get("apnet_steps", choices.apnet.steps),
            batch_size=given.get("apnet_batch_size", choices.apnet.batch_size),
        ),
        initialisation=given.get("initialisation", choices.initialisation),
    )


def main(argv: list[str] | None = None) -> None:
    """Run the rows that are missing, and write the table."""
    args = parse_arguments(argv)
    with ending_in_words(args.output):
        left_out = run(args)
    if left_out:
        sys.exit("\n".join(left_out))


def run(args: argparse.Namespace) -> list[str]:
    """Run row by row; returns why rows were left out."""
    output, choices = Path(args.output), choices_from_arguments(args)
    collection, _ = prepare_collection(
        collection_from_arguments(args), check=not args.no_check, skip_bad=args.skip_bad, seed=0, progress=True
    )
    autoencoder = Autoencoder.from_pretrained(args.autoencoder)
    output.mkdir(parents=True, exist_ok=True)
    results = Results(output / "results.json", facts(collection, args.autoencoder, choices))
    bench = Bench(collection, autoencoder, Path(args.cache or output / "cache"), choices)
    left_out = []
    for name in args.rows:
        try:
            for seed in (seed for seed in args.seeds if not results.has(name, seed)):
                results.add(name, seed, ROWS[name](bench, seed).to_dict())
                write_text(output / "table.md", markdown(results.rows, args.dataset))
        except (PecmaeError, ValueError) as error:
            left_out.append(f"{name}: left out; {error}")
    return left_out


if __name__ == "__main__":
    main()
