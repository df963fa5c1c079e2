"""Fit a prototype head on your own labelled audio and save a model that stands alone.

    python examples/finetune.py --data DIR --output OUT [--autoencoder mini] [--prototypes 10]

DIR holds LABEL/*.wav, or SPLIT/LABEL/*.wav with the splits train, validation and test. OUT/model is the result, for
`pecmae classify --model OUT/model` and `PECMAE.from_pretrained("OUT/model")`.
"""

import argparse
import json
from dataclasses import asdict, replace
from pathlib import Path

from accelerate import Accelerator

from pecmae import PECMAE, Autoencoder, PrototypeHeadConfig
from pecmae.data import find_labelled_files
from pecmae.feature_cache import weights_key
from pecmae.fitting import HEAD_SETTINGS, embed_files, fit_head, track_accuracy
from pecmae.runs import write_json
from pecmae.training import add_training_arguments, training_settings

PRESETS = {
    "toy": replace(HEAD_SETTINGS, steps=6, batch_size=8, checkpoint_every=2),
    "mini": replace(HEAD_SETTINGS, steps=5000, checkpoint_every=500),
    "base": HEAD_SETTINGS,
}


def main(argv: list[str] | None = None) -> None:
    """Embed, fit, measure, save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="folder of audio, one sub-folder for each class")
    parser.add_argument("--autoencoder", default="mini", help="directory, Hub id or name of an autoencoder (default: mini)")
    parser.add_argument("--cache", help="where embeddings are kept (default: OUTPUT/cache)")
    parser.add_argument("--prototypes", type=int, default=10, metavar="K", help="prototypes for each class (default: 10)")
    parser.add_argument("--no-adaptor", action="store_true", help="use the prototypes as they are (PECMAE-NA)")
    parser.add_argument("--distance", choices=["mean", "sum"], default="mean", help="how squared differences are reduced")
    parser.add_argument("--dtype", default="float32", help="stored precision of the model (default: float32)")
    add_training_arguments(parser, presets=PRESETS)
    args = parser.parse_args(argv)
    settings, output = training_settings(args, PRESETS[args.preset]), Path(args.output)
    cache = Path(args.cache or output / "cache")

    accelerator = Accelerator(mixed_precision=settings.mixed_precision)
    autoencoder = Autoencoder.from_pretrained(args.autoencoder).to(accelerator.device).eval()
    files = find_labelled_files(args.data)
    labels = sorted({file.label for file in files["train"]})
    with accelerator.main_process_first():
        embedded = {split: embed_files(autoencoder, found, labels, cache, progress=True) for split, found in files.items()}
    config = PrototypeHeadConfig(
        embedding_dim=autoencoder.config.embedding_dim,
        num_classes=len(labels),
        prototypes_per_class=args.prototypes,
        adaptor=not args.no_adaptor,
        distance_reduction=args.distance,
    )
    head, result = fit_head(
        embedded["train"],
        config,
        settings,
        validation=embedded.get("validation"),
        output=output,
        description={"stage": "head", "head": asdict(config), "autoencoder": weights_key(autoencoder), "labels": labels},
        stop_after=args.stop_after,
        progress=True,
        accelerator=accelerator,
    )
    if accelerator.is_main_process and (result.finished or args.stop_after is not None):
        accuracy = {split: track_accuracy(head, tracks) for split, tracks in embedded.items()}
        report = {"step": result.step, "class_normalised_accuracy": accuracy, **result.losses}
        PECMAE(autoencoder.cpu(), head, labels).save_pretrained(output / "model", dtype=args.dtype)
        write_json(output / "report.json", report)
        print(json.dumps(report))


if __name__ == "__main__":
    main()
