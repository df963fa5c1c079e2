"""Fit a prototype head on your own labelled audio and save a model that stands alone.

    python examples/finetune.py --data DIR --output OUT [--prototypes 10] [--autoencoder mini]
    accelerate launch examples/finetune.py …        # the same on GPUs
    ACCELERATE_USE_CPU=1 accelerate launch --multi_gpu --num_processes 2 examples/finetune.py …   # two processes on a CPU

DIR holds LABEL/…, SPLIT/LABEL/…, or tables of labels and paths; with --dataset, a public data set as it was unpacked. OUT/model
is the result, for `pecmae classify --model OUT/model` and `PECMAE.from_pretrained("OUT/model")`; OUT/report.json has the
figures.
"""

import argparse
import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from accelerate import Accelerator
from accelerate.utils import InitProcessGroupKwargs

from arguments import add_data_arguments, add_training_arguments, collection_from_arguments, training_settings
from endings import ending_in_words
from pecmae.core.devices import DTYPES
from pecmae.finetuning import FitResult, fit
from pecmae.prototypes.fitting import CLASS_LOSS_WEIGHT, HEAD_SETTINGS, PAPER_SETTINGS, HeadFit

PRESETS = {
    "toy": replace(HEAD_SETTINGS, steps=6, batch_size=8, checkpoint_every=2),
    "mini": HEAD_SETTINGS,
    "paper": PAPER_SETTINGS,
}


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_data_arguments(parser)
    parser.add_argument("--autoencoder", default="mini", help="directory, Hub id or name of an autoencoder (default: mini)")
    parser.add_argument("--revision", help="commit, tag or branch of a Hub id")
    parser.add_argument("--cache", help="where embeddings are kept (default: OUTPUT/cache)")
    parser.add_argument(
        "--prototypes",
        "--prototypes-per-class",
        type=int,
        default=10,
        metavar="K",
        help="prototypes for each class (default: 10)",
    )
    parser.add_argument("--no-adaptor", action="store_true", help="use the prototypes as they are (PECMAE-NA)")
    parser.add_argument("--distance", choices=["mean", "sum"], default="mean", help="how squared differences are reduced")
    parser.add_argument(
        "--kernel-scale",
        type=float,
        default=1.0,
        metavar="S",
        help="similarity is exp(-S · distance): the larger, the nearer a segment must lie to a prototype (default: 1)",
    )
    parser.add_argument("--temperature", type=float, default=0.1, help="what the loss divides logits by (default: 0.1)")
    parser.add_argument("--own-weights", action="store_true", help="let each prototype speak for its own class alone")
    parser.add_argument("--project", action="store_true", help="set every prototype onto a training segment in the end")
    parser.add_argument(
        "--loss", choices=["cross_entropy", "binary_cross_entropy"], default="cross_entropy", help="classification loss"
    )
    parser.add_argument("--class-loss-weight", type=float, default=CLASS_LOSS_WEIGHT, help="λ (default: %(default)s)")
    parser.add_argument(
        "--refit-linear",
        type=float,
        metavar="PENALTY",
        help="fit the linear layer alone in the end; PENALTY holds its weights back, such as 0.001",
    )
    parser.add_argument(
        "--evaluate-every", type=int, default=500, help="steps between looks at the validation loss (default: 500)"
    )
    parser.add_argument(
        "--dtype", choices=list(DTYPES), default="float32", help="stored precision of the model (default: float32)"
    )
    parser.add_argument("--bundle", action="store_true", help="store the autoencoder in the model, not where a Hub id leads to")
    parser.add_argument("--log-with", choices=["tensorboard"], help="also write curves for this tracker, into OUTPUT")
    add_training_arguments(parser, presets=PRESETS)
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    """Check, embed, fit, measure, save."""
    args = parse_arguments(argv)
    with ending_in_words(args.output):
        result, accelerator = run(args)
    if accelerator.is_main_process:
        report = result.report()
        shown = ("step", "class_normalised_accuracy", "not_measured", "losses")
        print(json.dumps({name: report[name] for name in shown if report[name]}))


def run(args: argparse.Namespace) -> tuple[FitResult, Accelerator]:
    """Fit as the options say."""
    settings = training_settings(args, PRESETS[args.preset])
    # Processes wait for each other, however unlike their shares of the audio are.
    patience = InitProcessGroupKwargs(timeout=timedelta(days=7))
    accelerator = Accelerator(
        mixed_precision=settings.mixed_precision, log_with=args.log_with, project_dir=args.output, kwargs_handlers=[patience]
    )
    if args.log_with:
        accelerator.init_trackers("tensorboard")
    head = HeadFit(
        prototypes_per_class=args.prototypes,
        adaptor=not args.no_adaptor,
        distance_reduction=args.distance,
        kernel_scale=args.kernel_scale,
        temperature=args.temperature,
        own_weights=args.own_weights,
        project=args.project,
        classification_loss=args.loss,
        class_loss_weight=args.class_loss_weight,
        refit_penalty=args.refit_linear,
        evaluate_every=args.evaluate_every,
    )
    result = fit(
        collection_from_arguments(args),
        Path(args.output),
        autoencoder=args.autoencoder,
        revision=args.revision,
        head=head,
        settings=settings,
        cache=args.cache,
        check=not args.no_check,
        skip_bad=args.skip_bad,
        bundle=args.bundle or None,
        dtype=args.dtype,
        stop_after=args.stop_after,
        progress=True,
        accelerator=accelerator,
    )
    accelerator.end_training()
    return result, accelerator


if __name__ == "__main__":
    main()
