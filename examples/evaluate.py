"""Measure a model on labelled audio, on the sound of its own prototypes, and its prototypes among the training data.

    python examples/evaluate.py --data DIR [--model MODEL] [--split test] [--output report.json] [--picture confusion.png]

DIR is what finetune.py takes. Where it has no splits, the model says which clips it was not fitted on, known by their content;
`--split all` measures on all of it, which is right for audio that the model has not met. The report goes to standard output or
to a file.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from pecmae import PECMAE
from pecmae.core.files import cache_root
from pecmae.data.checks import add_data_arguments, collection_from_arguments
from pecmae.data.embedding_cache import EmbeddingCache
from pecmae.data.split_record import SplitRecord, choose_clips
from pecmae.data.tracks import embed_files
from pecmae.errors import PecmaeError
from pecmae.evaluation.plots import plot_confusion
from pecmae.evaluation.prototypes import prototype_health
from pecmae.evaluation.sounds import check_round_trip, check_sonification
from pecmae.evaluation.tracks import evaluate_embedded
from pecmae.prototypes.measures import track_reasons


def cache_folder(args: argparse.Namespace) -> Path:
    """Where embeddings are: beside the model, in the run that fitted it, unless something else is said."""
    beside = Path(args.model or "").parent / "cache"
    return Path(args.cache) if args.cache else beside if args.model and beside.is_dir() else cache_root() / "embeddings"


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """The whole report."""
    collection = collection_from_arguments(args)
    model = PECMAE.from_pretrained(args.model, device=args.device)
    chosen_clips = choose_clips(collection, args.split, SplitRecord.load(model.directory))
    clips = chosen_clips.clips
    cache = EmbeddingCache(cache_folder(args), model.autoencoder)
    tracks, failed = embed_files(cache, clips, model.labels, skip_bad=True, progress=True)
    evaluation = evaluate_embedded(model.head, model.labels, tracks, failed)
    report: dict[str, Any] = {"data": collection.name, "split": args.split, "tracks": evaluation.to_dict()}
    for note in chosen_clips.notes:
        print(note, file=sys.stderr)
    report["notes"] = [*collection.notes, *chosen_clips.notes]
    report["reasons"] = track_reasons(model.head, tracks).to_dict()
    if args.picture:
        plot_confusion(evaluation).savefig(args.picture, dpi=150)
    if args.round_trips:
        readable = [clip for clip in clips if str(clip.path) not in failed]
        chosen = np.random.default_rng(0).permutation(len(readable))[: args.round_trips]
        report["round_trip"] = check_round_trip(model, [readable[index] for index in chosen])
    survival = None
    if args.seeds:
        sonification = check_sonification(model, range(args.seeds))
        report["sonification"], survival = sonification.to_dict(), sonification.own_class_by_prototype
    if not args.no_health and args.split != "all" and chosen_clips.training:
        train, _ = embed_files(cache, chosen_clips.training, model.labels, skip_bad=True, progress=True)
        report["prototypes"] = prototype_health(model.head, model.labels, train).to_dict(survival)
    return report


def main(argv: list[str] | None = None) -> None:
    """Evaluate and write the report."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    add_data_arguments(parser, checks=False)
    parser.add_argument("--model", help="directory or Hub id (default: the embedded pecmae-mini)")
    parser.add_argument(
        "--split", default="test", help="train, validation, test, another folder in DIR, or all (default: test)"
    )
    parser.add_argument("--seeds", type=int, default=8, help="sounds of each prototype; 0 leaves them out (default: 8)")
    parser.add_argument(
        "--round-trips", type=int, default=20, help="tracks decoded and encoded again, all segments of each (default: 20)"
    )
    parser.add_argument("--no-health", action="store_true", help="do not compare the prototypes with the training split")
    parser.add_argument(
        "--cache",
        help="where embeddings are kept (default: the cache of the run that made MODEL, or a folder beside the Hub's cache)",
    )
    parser.add_argument("--device", help="cpu or cuda (default: a GPU if there is one)")
    parser.add_argument("--picture", type=Path, help="write the confusion matrix here (.png, .svg, .pdf); needs matplotlib")
    parser.add_argument("--output", type=Path, help="JSON file (default: standard output)")
    args = parser.parse_args(argv)
    for path in (args.output, args.picture):
        if path is not None and not path.absolute().parent.is_dir():
            sys.exit(f"{path}: the folder {path.parent} does not exist; make it first.")
    try:
        report = measure(args)
    except (PecmaeError, FileNotFoundError) as error:
        sys.exit(str(error))
    text = json.dumps(report, indent=1, ensure_ascii=False) + "\n"
    if args.output:
        args.output.write_text(text, encoding="utf-8")
    else:
        sys.stdout.write(text)


if __name__ == "__main__":
    main()
