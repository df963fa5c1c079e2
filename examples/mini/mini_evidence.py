"""Measure the embedded model and write the figures into its card.

    python examples/mini/mini_evidence.py --data DIR [--model MODEL] [--output hub_cards/pecmae-mini.evidence.json]

DIR is what render_music.py writes: DIR/genres and DIR/solos, each with train, validation, test and other. Where the output lies
in hub_cards/, the cards are rendered again. What takes long is kept: embeddings by content (with `--cache` those of finetune.py
are found again), log-mel statistics, fitted heads and sounds of prototypes; a run that was cut off continues.
"""

import argparse
import json
import subprocess
import sys
import time
from dataclasses import asdict, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

from evidence import CLEAN, CODEC, FORMAT_VERSION, bars, model_facts, summary
from mini_times import console_times, wheel_megabytes

from pecmae import PECMAE, PrototypeHeadConfig
from pecmae.core.files import cache_root
from pecmae.core.weights import weights_key
from pecmae.data.collection import Clip
from pecmae.data.embedding_cache import EmbeddingCache
from pecmae.data.load import load_collection
from pecmae.data.tracks import EmbeddedTracks, embed_files
from pecmae.errors import PecmaeError
from pecmae.evaluation.baselines import MLPBaseline, NearestCentroid, evaluate_classifier
from pecmae.evaluation.listener import SEGMENT_SECONDS, Listener, file_segments, spread, through_codec, track_statistics
from pecmae.evaluation.prototypes import prototype_health
from pecmae.evaluation.sounds import check_codec, check_round_trip, check_sonification
from pecmae.evaluation.tracks import Evaluation, evaluate_embedded
from pecmae.explain.sounds import PrototypeSounds
from pecmae.hub.resolve import resolve_model
from pecmae.prototypes.fitting import HEAD_SETTINGS, fit_head
from pecmae.prototypes.head import PrototypeHead
from pecmae.prototypes.measures import nearest_agreement

CARDS = Path(__file__).parents[2] / "hub_cards"
SPLITS = ("train", "validation", "test", "other")
MEASURED = ("test", "other")
# How the shipped head was fitted, and so the further ones.
HEAD = {"steps": 4000, "learning_rate": 2e-3}
OBJECTIVE = {"class_loss_weight": 0.5, "refit_penalty": 1e-3}
# Segments of a training clip that the independent listener learns from.
HEARD_SEGMENTS = {"train": 4}
STARTED = time.monotonic()


def say(text: str) -> None:
    """Tell what is being done."""
    print(f"{time.monotonic() - STARTED:6.0f} s  {text}", file=sys.stderr, flush=True)


def first_of_each(clips: list[Clip], count: int | None) -> list[Clip]:
    """The first clips of each class, all of them by default."""
    labels = sorted({clip.label for clip in clips})
    return [clip for label in labels for clip in [c for c in clips if c.label == label][:count]]


def load_family(folder: Path, limit: int | None) -> dict[str, list[Clip]]:
    """Clips of every split of a family."""
    return {split: first_of_each(list(load_collection(folder / split).clips), limit) for split in SPLITS}


def embed_family(
    cache: EmbeddingCache, clips: dict[str, list[Clip]], labels: tuple[str, ...], name: str
) -> dict[str, EmbeddedTracks]:
    """z of every split."""
    found = {}
    for split, files in clips.items():
        say(f"embedding {name}, {split}: {len(files)} clips")
        found[split] = embed_files(cache, files, labels, progress=True)[0]
    return found


def measure_baselines(tracks: dict[str, EmbeddedTracks], labels: tuple[str, ...]) -> dict[str, dict[str, Any]]:
    """The ceiling and the nearest centroid, on every measured split."""
    ceiling = MLPBaseline(tracks["train"], tracks["validation"], len(labels))
    centroid = NearestCentroid(tracks["train"], len(labels))
    return {
        split: {
            "ceiling": summary(evaluate_classifier(ceiling, tracks[split], labels)),
            "centroid": summary(evaluate_classifier(centroid, tracks[split], labels)),
        }
        for split in MEASURED
    }


def fitted_head(tracks: dict[str, EmbeddedTracks], num_classes: int, per_class: int, steps: int, cache: Path) -> PrototypeHead:
    """A head on the embeddings; validation chooses the step."""
    train, validation = tracks["train"], tracks["validation"]
    config = PrototypeHeadConfig(embedding_dim=train.z.shape[1], num_classes=num_classes, prototypes_per_class=per_class)
    settings = replace(HEAD_SETTINGS, **HEAD | {"steps": steps})
    key = sha256(json.dumps([train.key, validation.key, per_class, asdict(settings), OBJECTIVE]).encode()).hexdigest()
    say(f"fitting K = {per_class}")
    output = cache / f"head-{key[:16]}"
    return fit_head(train, config, settings, validation=validation, output=output, **OBJECTIVE)[0]


def measure_head(
    model: PECMAE, head: PrototypeHead, labels: tuple[str, ...], tracks: dict[str, EmbeddedTracks]
) -> dict[str, dict[str, Any]]:
    """Accuracy of another head on the model's autoencoder, on every measured split."""
    fitted = PECMAE(model.autoencoder, head.to(model.head.prototypes.device), labels)
    return {split: summary(evaluate_embedded(fitted.head, fitted.labels, tracks[split])) for split in MEASURED}


def measure_solos(args: argparse.Namespace, model: PECMAE, cache: EmbeddingCache) -> dict[str, Any] | None:
    """Prototypes, ceiling and centroid for the second family; None where it was not rendered."""
    folder = args.data / "solos"
    if not folder.is_dir():
        return None
    clips = load_family(folder, args.clips_per_class)
    labels = tuple(sorted({clip.label for clip in clips["train"]}))
    tracks = embed_family(cache, clips, labels, "solos")
    per_class = model.head.config.prototypes_per_class
    head = fitted_head(tracks, len(labels), per_class, args.steps, args.cache)
    found, baselines = measure_head(model, head, labels, tracks), measure_baselines(tracks, labels)
    counts = {split: len(files) for split, files in clips.items()}
    return {"labels": list(labels), "clips": counts, "prototypes_per_class": per_class} | {
        split: {"head": found[split], **baselines[split]} for split in MEASURED
    }


class Listeners:
    """The independent listeners and their own accuracy.

    Parameters
    ----------
    model : PECMAE
    clips : dict
        Of every split.
    codec_clips : int
        Training clips of each class for the listener that learns from audio after the codec.
    cache : Path
    """

    def __init__(self, model: PECMAE, clips: dict[str, list[Clip]], codec_clips: int, cache: Path) -> None:
        rate, labels, autoencoder = model.sampling_rate, model.labels, model.autoencoder
        say("listening to clean audio")
        clean = {
            split: track_statistics(files, labels, cache, rate, segments=HEARD_SEGMENTS.get(split), progress=True)
            for split, files in clips.items()
        }
        say("listening to audio after the codec")
        counts = {"train": codec_clips, "validation": codec_clips // 4 + 1, "test": codec_clips // 4 + 1}
        key = weights_key(autoencoder.codec_encoder) + weights_key(autoencoder.codec_decoder)
        options = {"through": through_codec(autoencoder), "key": key, "segments": 1, "progress": True}
        coloured = {
            split: track_statistics(first_of_each(clips[split], count), labels, cache, rate, **options)
            for split, count in counts.items()
        }
        self.by_name = {
            CLEAN: Listener(clean["train"], clean["validation"], labels, rate),
            CODEC: Listener(coloured["train"], coloured["validation"], labels, rate),
        }
        self.clean = {split: self._accuracy(CLEAN, clean[split], labels) for split in MEASURED}
        self.coloured = {"test": self._accuracy(CODEC, coloured["test"], labels), "clips": counts}

    def _accuracy(self, name: str, tracks: EmbeddedTracks, labels: tuple[str, ...]) -> dict[str, Any]:
        return summary(evaluate_classifier(self.by_name[name], tracks, labels))


def measure_genres(evaluation: Evaluation) -> dict[str, Any]:
    """What is kept of the model's own answers on a split."""
    return {
        "model": summary(evaluation),
        "recalls": evaluation.recalls,
        "calibration_error": evaluation.calibration_error,
        "confusion": evaluation.confusion.tolist(),
    }


def gather(args: argparse.Namespace, directory: Path) -> dict[str, Any]:
    """All of the evidence but its bars."""
    model = PECMAE.from_pretrained(directory, device=args.device)
    labels, clips = model.labels, load_family(args.data / "genres", args.clips_per_class)
    cache = EmbeddingCache(args.cache, model.autoencoder, model.preparation)
    tracks = embed_family(cache, clips, labels, "genres")
    say("baselines on the same z")
    baselines = measure_baselines(tracks, labels)
    heads = {k: fitted_head(tracks, len(labels), k, args.steps, args.cache) for k in args.prototypes}
    solos = measure_solos(args, model, cache)
    listeners = Listeners(model, clips, args.codec_clips, args.cache)
    some = first_of_each(clips["test"], args.sound_clips)
    say(f"codec round trip of {len(some)} clips")
    middles = [spread(file_segments(clip.path, SEGMENT_SECONDS, model.sampling_rate), 1)[0] for clip in some]
    codec = check_codec(model.autoencoder, middles)
    say("autoencoder round trip of these clips")
    round_trip = check_round_trip(model, some)
    say(f"sonifying {model.head.config.num_prototypes} prototypes with {args.seeds} seeds")
    sonification = check_sonification(
        model,
        range(args.seeds),
        listeners=listeners.by_name,
        sounds=PrototypeSounds(model, args.cache / "sounds"),
        advance=lambda: say("one seed done"),
    )
    health = prototype_health(model.head, labels, tracks["train"]).to_dict(sonification.own_class_by_prototype)
    del health["prototypes"]
    health["nearest_agreement"] = nearest_agreement(model.head, tracks["test"].z)
    say("times and size")
    return {
        "prototypes_per_class": model.head.config.prototypes_per_class,
        "clips": {split: len(files) for split, files in clips.items()},
        "genres": {
            split: {
                **measure_genres(evaluate_embedded(model.head, model.labels, tracks[split])),
                **baselines[split],
                "listener": listeners.clean[split],
            }
            for split in MEASURED
        },
        "steps": args.steps,
        "by_prototypes": {str(k): measure_head(model, head, labels, tracks) for k, head in heads.items()},
        "solos": solos,
        "codec_listener": listeners.coloured,
        "codec": codec,
        "round_trip": round_trip,
        "sonification": sonification.to_dict(),
        "health": health,
        "wheel_mb": wheel_megabytes(directory),
        "times": None if args.no_times else console_times(directory, labels[0], clips["test"][0].path),
    }


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder that render_music.py wrote")
    parser.add_argument("--model", help="model directory (default: the embedded pecmae-mini)")
    parser.add_argument(
        "--output", type=Path, default=CARDS / "pecmae-mini.evidence.json", help="JSON file (default: the one beside the card)"
    )
    parser.add_argument("--cache", type=Path, default=cache_root() / "embeddings", help="where what takes long is kept")
    parser.add_argument("--device", help="cpu or cuda (default: a GPU if there is one)")
    parser.add_argument("--no-times", action="store_true", help="do not time the console, on a machine that is busy")
    measured = parser.add_argument_group("what is measured")
    measured.add_argument("--prototypes", type=int, nargs="*", default=[1, 3, 5, 10, 20], help="K of further heads to fit")
    measured.add_argument("--steps", type=int, default=HEAD["steps"], help="optimizer steps of each (default: 4000)")
    measured.add_argument("--seeds", type=int, default=8, help="sounds of each prototype (default: 8)")
    measured.add_argument("--sound-clips", type=int, default=4, help="test clips of each class for round trips (default: 4)")
    measured.add_argument(
        "--codec-clips",
        type=int,
        default=60,
        help="training clips of each class for the listener after the codec (default: 60)",
    )
    measured.add_argument("--clips-per-class", type=int, help="use only so many of each class and split (default: all)")
    return parser


def main(argv: list[str] | None = None) -> None:
    """Measure, write the evidence, and render the cards."""
    args = make_parser().parse_args(argv)
    try:
        directory = resolve_model(args.model)
        found = gather(args, directory)
    except (PecmaeError, FileNotFoundError) as error:
        sys.exit(str(error))
    facts = {"format_version": FORMAT_VERSION, "model": model_facts(directory), "command": shown_command(args), **found}
    evidence = facts | {"bars": [bar.to_dict() for bar in bars(facts)]}
    args.output.write_text(json.dumps(evidence, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    say(f"wrote {args.output}")
    for bar in evidence["bars"]:
        say(f"{bar['name']}: {bar['value']} ({'at least' if bar['at_least'] else 'at most'} {bar['limit']}): {bar['reached']}")
    if args.output.resolve().parent == CARDS:
        subprocess.run([sys.executable, str(CARDS / "render.py")], check=True)


def shown_command(args: argparse.Namespace) -> str:
    """The command that measures the same again, for readers."""
    words = ["python examples/mini/mini_evidence.py --data data"]
    for name in ("prototypes", "steps", "seeds", "sound_clips", "codec_clips", "clips_per_class"):
        value = getattr(args, name)
        if value != make_parser().get_default(name):
            words += [f"--{name.replace('_', '-')}", *map(str, value if isinstance(value, list) else [value])]
    return " ".join(words)


if __name__ == "__main__":
    main()
