"""Options that the training scripts share, and what they mean."""

import argparse
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from transformers import EncodecModel

from pecmae.data.collection import Collection, LabelledFile
from pecmae.data.folders import LAYOUTS
from pecmae.data.load import DATASETS, load_collection
from pecmae.data.waveforms import WaveformStore
from pecmae.training.accelerators import launched_precision
from pecmae.training.segments import SegmentFeatures, segment_features
from pecmae.training.settings import TrainingSettings

_log = logging.getLogger(__name__)


def add_data_arguments(parser: argparse.ArgumentParser, *, checks: bool = True) -> None:
    """The options that describe a labelled collection, alike in every script; with `checks`, what to do about bad files."""
    parser.add_argument("--data", required=True, help="folder LABEL/… or SPLIT/LABEL/…, a table, or a folder of tables")
    parser.add_argument("--dataset", choices=list(DATASETS), help="DATA is this data set, as it was unpacked")
    parser.add_argument("--root", help="what the paths of a table are relative to (default: the table's folder)")
    parser.add_argument(
        "--group-by",
        metavar="HOW",
        help="keep clips together when splitting: subfolder, for LABEL/GROUP/…, or a regular expression with one group",
    )
    parser.add_argument("--layout", choices=LAYOUTS, help="what folders are that can be read as both, such as a class 'train'")
    if not checks:
        return
    parser.add_argument("--skip-bad", action="store_true", help="go on without the clips that the check complains of")
    parser.add_argument("--no-check", action="store_true", help="do not look at the files before the work")


def collection_from_arguments(args: argparse.Namespace) -> Collection:
    """The collection that the options of `add_data_arguments` describe, as it lies on the disk; its notes go to the log."""
    found = load_collection(args.data, dataset=args.dataset, root=args.root, group_by=args.group_by, layout=args.layout)
    for note in found.notes:
        _log.warning(note)
    return found


def add_training_arguments(parser: argparse.ArgumentParser, presets: Iterable[str]) -> None:
    """The options that every training script shares."""
    parser.add_argument("--output", required=True, help="folder of the run; a run found there is continued")
    parser.add_argument("--preset", choices=list(presets), default="mini", help="sizes and settings (default: mini)")
    parser.add_argument("--steps", type=int, help="optimizer steps in all")
    parser.add_argument("--batch-size", type=int, help="examples a step over all processes")
    parser.add_argument("--learning-rate", type=float, help="peak learning rate")
    parser.add_argument("--mixed-precision", choices=["no", "bf16", "fp16"], help="arithmetic of the networks")
    parser.add_argument("--checkpoint-every", type=int, help="steps between checkpoints")
    parser.add_argument("--seed", type=int, help="seed of weights, batches, masks and noise (default: 0)")
    parser.add_argument(
        "--stop-after", type=float, metavar="MINUTES", help="end early with a checkpoint; run again to continue"
    )


def training_settings(args: argparse.Namespace, defaults: TrainingSettings) -> TrainingSettings:
    """The preset's settings with the options that were given on the command line, or to `accelerate launch`."""
    args.mixed_precision = launched_precision(args.mixed_precision)
    names = ("steps", "batch_size", "learning_rate", "mixed_precision", "checkpoint_every", "seed")
    return replace(defaults, **{name: getattr(args, name) for name in names if getattr(args, name) is not None})


def add_segment_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of scripts that train on cached segments."""
    parser.add_argument("--codec", required=True, help="folder of the codec, as train_codec.py writes it")
    parser.add_argument("--cache", help="where decoded audio and features are kept (default: OUTPUT/cache)")
    parser.add_argument("--segment-seconds", type=float, default=4.0, help="length of a segment (default: 4)")
    parser.add_argument("--stride-seconds", type=float, default=4.0, help="distance of two segments (default: 4)")


def training_segments(
    args: argparse.Namespace, codec: EncodecModel, files: Mapping[str, Sequence[LabelledFile]]
) -> dict[str, SegmentFeatures]:
    """Segments to train on and to measure on ("train", "validation"), by the options of `add_segment_arguments`.

    Files without a validation split are measured on those they are trained on.
    """
    folder = Path(args.cache or Path(args.output) / "cache")
    found = {}
    for split in ("train", "validation"):
        store = WaveformStore(files.get(split) or files["train"], folder, codec.config.sampling_rate, progress=True)
        lengths = {"segment_seconds": args.segment_seconds, "stride_seconds": args.stride_seconds}
        found[split] = segment_features(codec, store, folder, **lengths, progress=True)
    return found
