"""Measure the embedded models and write the figures into their cards.

    python examples/mini/mini_evidence.py [mini mini-instruments mini-styles] --data DIR [--musicnn MSD_musicnn.npz]

DIR is what render_music.py and real_audio.py wrote. What a model learned from, and what choices were made on, are its training
and validation tracks; a test set that holds one of them is refused. Cards and pictures are made anew in the end. What takes
long is kept: embeddings by content, statistics of listeners, sounds of prototypes; a run that was cut off continues.
"""

import argparse
import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ear import log_mel_features, measure, musicnn_features
from evidence import CLEAN, FORMAT_VERSION, bars, model_facts, summary
from mini_times import console_times, wheel_megabytes
from models import MODELS, Embedded
from scipy.signal import lfilter

from pecmae import PECMAE, Prediction
from pecmae.audio.segments import find_audio_files
from pecmae.core.files import cache_root, write_json
from pecmae.data.collection import Clip
from pecmae.data.embedding_cache import EmbeddingCache
from pecmae.data.split_record import SplitRecord
from pecmae.data.splits import CALIBRATION
from pecmae.data.tracks import EmbeddedTracks, embed_files
from pecmae.data.waveforms import files_key
from pecmae.errors import ConfigError, PecmaeError
from pecmae.evaluation.baselines import MLPBaseline, NearestNeighbours, evaluate_classifier
from pecmae.evaluation.confidence import confidence_report
from pecmae.evaluation.listener import SEGMENT_SECONDS, Listener, file_segments, spread, track_statistics
from pecmae.evaluation.prototypes import prototype_health
from pecmae.evaluation.sounds import check_codec, check_round_trip, check_sonification
from pecmae.evaluation.tracks import evaluate_embedded
from pecmae.explain.sounds import PrototypeSounds
from pecmae.hub.resolve import resolve_model
from pecmae.prototypes.measures import nearest_agreement, track_reasons

CARDS = Path(__file__).parents[2] / "hub_cards"
# Segments of a training clip that the independent listener learns from.
HEARD_SEGMENTS = 4
# Segments that the ear hears in all, of songs of the same number each.
EAR_SEGMENTS = 300
# Sound that is no music: folders of data, and tones and noise of this many seconds.
NOT_MUSIC = {"speech": "speech/test", "rain, animals, engines": "effects"}
SYNTHETIC_SECONDS = 12
MOST_SOUNDS = 40  # of a kind
LEAK = 0.99  # of what integrates white noise to brown, so that it does not wander off
STARTED = time.monotonic()


def say(text: str) -> None:
    """Tell what is being done."""
    print(f"{time.monotonic() - STARTED:6.0f} s  {text}", file=sys.stderr, flush=True)


def first_of_each(clips: Sequence[Clip], count: int | None) -> list[Clip]:
    """The first clips of each class, all of them by default."""
    labels = sorted({clip.label for clip in clips})
    return [clip for label in labels for clip in [c for c in clips if c.label == label][:count]]


def refuse_seen(test: str, clips: Sequence[Clip], record: SplitRecord | None) -> None:
    """Refuse a test set that holds clips which the model was fitted on, or which decided how.

    Raises
    ------
    ConfigError
        It does, or the model does not say what it was fitted on.
    """
    if record is None:
        raise ConfigError(
            f"{test}: the model does not say which clips it was fitted on (splits.json); fit it with this package."
        )
    seen = [clip.path for clip in clips if record.split_of(clip) in ("train", "validation", CALIBRATION)]
    if seen:
        raise ConfigError(
            f"{test}: {len(seen)} of {len(clips)} clips decided the model's weights ({seen[0].name}); take others."
        )


def measure_tests(
    model: PECMAE, tracks: Mapping[str, EmbeddedTracks], tests: Mapping[str, EmbeddedTracks], heard: Mapping[str, Any]
) -> dict[str, dict[str, Any]]:
    """The model's answers for every test set beside those of others on the same data."""
    count = len(model.labels)
    mlp = MLPBaseline(tracks["train"], tracks["validation"], count)
    neighbours = NearestNeighbours(tracks["train"], count)
    found = {}
    for name, test in tests.items():
        evaluation = evaluate_embedded(model.head, model.labels, test)
        found[name] = {
            "model": summary(evaluation),
            "recalls": evaluation.recalls,
            "confusion": evaluation.confusion.tolist(),
            "calibration_error": evaluation.calibration_error,
            "mlp": summary(evaluate_classifier(mlp, test, model.labels)),
            "neighbours": summary(evaluate_classifier(neighbours, test, model.labels)),
            "listener": heard[name],
            "reasons": track_reasons(model.head, test).to_dict(),
            "segment_agreement": nearest_agreement(model.head, test.z),
            "trust": measure_trust(model, test),
        }
    return found


def measure_trust(model: PECMAE, test: EmbeddedTracks) -> dict[str, Any]:
    """What scores and probabilities are worth on a test set, without the curves."""
    found = confidence_report(model.head, model.calibration, test)
    for name in ("scores", "probabilities"):
        if name in found:
            found[name] = {key: value for key, value in found[name].items() if key not in ("bins", "risks")}
    return found


def kept(path: Path, make: Callable[[], Any]) -> Any:
    """What `make` returns, as JSON has it, from a file once it has been made."""
    if not path.is_file():
        write_json(path, make())
    return json.loads(path.read_text(encoding="utf-8"))


def listen(
    model: PECMAE, clips: Mapping[str, Sequence[Clip]], tests: Mapping[str, Sequence[Clip]], cache: Path
) -> tuple[Listener, dict[str, Any]]:
    """The independent listener, which learned from training clips, and its own accuracy on every test set."""
    rate, labels = model.sampling_rate, model.labels
    options = {"segments": HEARD_SEGMENTS, "progress": True}
    train, validation = (track_statistics(clips[split], labels, cache, rate, **options) for split in ("train", "validation"))
    listener = Listener(train, validation, labels, rate)
    heard = {name: track_statistics(files, labels, cache, rate, **options) for name, files in tests.items()}
    return listener, {name: summary(evaluate_classifier(listener, test, labels)) for name, test in heard.items()}


def synthetic(rate: int) -> dict[str, list[np.ndarray]]:
    """Tones and noises of nobody's making."""
    draws, time_axis = np.random.default_rng(0), np.arange(SYNTHETIC_SECONDS * rate) / rate
    tones = [0.3 * np.sin(2 * np.pi * pitch * time_axis) for pitch in (110, 220, 440, 880, 1760, 3520)]
    noise = draws.normal(0, 0.1, len(time_axis))
    brown = lfilter([1], [1, -LEAK], noise)
    noises = [noise, 0.3 * brown / np.abs(brown).max(), noise * 0.1, np.diff(noise, prepend=0)]
    return {
        "tones": [tone.astype(np.float32) for tone in tones],
        "noise": [one.astype(np.float32) for one in noises],
    }


def answers(predictions: Sequence[Prediction]) -> dict[str, Any]:
    """What a model says of sounds that are none of its classes."""
    known = [prediction.known for prediction in predictions if getattr(prediction, "known", None) is not None]
    return {
        "sounds": len(predictions),
        "labels": dict(Counter(prediction.label for prediction in predictions).most_common()),
        "mean_score": float(np.mean([prediction.score for prediction in predictions])),
        "refused": 1 - float(np.mean(known)) if known else None,
    }


def measure_not_music(model: PECMAE, data: Path) -> dict[str, Any]:
    """What the model calls speech, effects, tones and noise."""
    found = {}
    for kind, folder in NOT_MUSIC.items():
        if (data / folder).is_dir():
            paths = spread(find_audio_files([data / folder]), MOST_SOUNDS)
            found[kind] = answers(model.predict([str(path) for path in paths]))
    for kind, waves in synthetic(model.sampling_rate).items():
        found[kind] = answers([model.predict(wave, sampling_rate=model.sampling_rate) for wave in waves])
    return found


def measure_sounds(model: PECMAE, clips: Sequence[Clip], listener: Listener, args: argparse.Namespace) -> dict[str, Any]:
    """Prototypes, codec and autoencoder, heard by the model and by the listener."""
    some = first_of_each(clips, args.sound_clips)
    say(f"codec and round trip of {len(some)} clips")
    middles = [spread(file_segments(clip.path, SEGMENT_SECONDS, model.sampling_rate), 1)[0] for clip in some]
    codec = check_codec(model.autoencoder, middles)
    long = [clip for clip, wave in zip(some, middles, strict=True) if len(wave) == round(SEGMENT_SECONDS * model.sampling_rate)]
    say(f"sonifying {model.head.config.num_prototypes} prototypes with {args.seeds} seeds")
    sounds = PrototypeSounds(model, args.cache / "sounds")
    path = args.cache / f"round-trip-{sounds.folder.name}-{files_key(long)}.json"
    sonification = check_sonification(model, range(args.seeds), listeners={CLEAN: listener}, sounds=sounds)
    return {
        "codec": codec,
        "round_trip": kept(path, lambda: check_round_trip(model, long)) if long else None,
        "sonification": sonification.to_dict(),
        "survival": sonification.own_class_by_prototype,
    }


def measure_ear(model: PECMAE, embedded: Embedded, clips: Sequence[Clip], args: argparse.Namespace) -> dict[str, Any] | None:
    """The ear's chain; None where clips of a class are missing, which prototypes of it could not be heard as."""
    if {clip.label for clip in clips} != set(model.labels):
        return None
    features = {"log-mel": log_mel_features(model.sampling_rate)}
    if args.musicnn and embedded.musicnn_judges:
        features["MusiCNN"] = musicnn_features(args.musicnn, model.sampling_rate)
    prototypes = PrototypeSounds(model, args.cache / "sounds")
    path = args.cache / f"ear-{prototypes.folder.name}-{files_key(clips, EAR_SEGMENTS, sorted(features))}.json"

    def hear() -> dict[str, Any]:
        say(f"an ear on {len(clips)} clips: {', '.join(features)}")
        sounds = torch.from_numpy(prototypes.get_all(0))
        return measure(model, clips, features, per_song=max(1, EAR_SEGMENTS // len(clips)), sounds=sounds)

    return kept(path, hear)


def gather(embedded: Embedded, args: argparse.Namespace) -> dict[str, Any]:
    """All of a model's evidence but its bars."""
    directory = resolve_model(args.model or embedded.name)
    model = PECMAE.from_pretrained(directory, device=args.device)
    clips, tests = embedded.collection(args.data).splits, embedded.test_clips(args.data)
    for name, files in tests.items():
        refuse_seen(name, files, SplitRecord.load(directory))
    cache = EmbeddingCache(args.cache, model.autoencoder, model.preparation)
    say(f"{embedded.name}: embedding")
    tracks = {split: embed_files(cache, files, model.labels, progress=True)[0] for split, files in clips.items()}
    tested = {name: embed_files(cache, files, model.labels, progress=True)[0] for name, files in tests.items()}
    say("the listener")
    listener, heard = listen(model, clips, tests, args.cache)
    say("accuracy, beside others on the same data")
    main_test = embedded.main_test
    # Sounds are judged on a test set that has all classes.
    judged = next((files for files in tests.values() if {clip.label for clip in files} == set(model.labels)), tests[main_test])
    sounds = measure_sounds(model, judged, listener, args)
    health = prototype_health(model.head, model.labels, tracks["train"]).to_dict(sounds.pop("survival"))
    del health["prototypes"]
    accuracy = measure_tests(model, tracks, tested, heard)
    return {
        "name": embedded.name,
        "learned_from": {"title": embedded.title, **{split: len(files) for split, files in clips.items()}},
        "calibrated_on": embedded.calibrated_on if model.calibration else None,
        "head": {
            "prototypes_per_class": model.head.config.prototypes_per_class,
            "kernel_scale": model.head.config.kernel_scale,
        },
        "main_test": main_test,
        "tests": {name: {"title": embedded.tests[name], **found} for name, found in accuracy.items()},
        **sounds,
        "ear": measure_ear(model, embedded, judged, args),
        "health": health,
        "not_music": measure_not_music(model, args.data),
        "wheel_mb": wheel_megabytes(),
        "times": None if args.no_times else console_times(directory, model.labels[0], judged[0].path),
    }


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", default=list(MODELS), metavar="NAME", help=f"default: {' '.join(MODELS)}")
    parser.add_argument("--data", type=Path, required=True, help="folder that render_music.py and real_audio.py wrote")
    parser.add_argument("--musicnn", type=Path, metavar="NPZ", help="weights of MusiCNN, as an ear (default: without it)")
    parser.add_argument("--model", help="measure this model directory in the place of the embedded one")
    parser.add_argument(
        "--output", type=Path, default=CARDS, metavar="DIR", help="folder of the JSON files (default: hub_cards)"
    )
    parser.add_argument("--cache", type=Path, default=cache_root() / "embeddings", help="where what takes long is kept")
    parser.add_argument("--device", help="cpu or cuda (default: a GPU if there is one)")
    parser.add_argument("--no-times", action="store_true", help="do not time the console, on a machine that is busy")
    parser.add_argument("--seeds", type=int, default=4, help="sounds of each prototype (default: 4)")
    parser.add_argument("--sound-clips", type=int, default=4, help="test clips of each class for round trips (default: 4)")
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, write the evidence, and render cards and pictures."""
    args = make_parser().parse_args(argv)
    try:
        if unknown := set(args.models) - set(MODELS):
            raise ConfigError(f"{min(unknown)!r} is no embedded model; give {', '.join(MODELS)}.")
        for name in args.models:
            facts = {
                "format_version": FORMAT_VERSION,
                "model": model_facts(resolve_model(args.model or name)),
                "command": shown_command(name, args),
                **gather(MODELS[name], args),
            }
            evidence = facts | {"bars": [bar.to_dict() for bar in bars(facts)]}
            path = args.output / f"{MODELS[name].card}.evidence.json"
            path.write_text(json.dumps(evidence, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
            say(f"wrote {path}")
            for bar in evidence["bars"]:
                say(f"{bar['name']}: {bar['value']} (limit {bar['limit']}): {bar['reached']}")
    except (PecmaeError, FileNotFoundError) as error:
        sys.exit(str(error))
    if args.output.resolve() == CARDS:
        subprocess.run([sys.executable, str(CARDS / "render.py")], check=True)


def shown_command(name: str, args: argparse.Namespace) -> str:
    """The command that measures the same again, for readers."""
    words = [f"python examples/mini/mini_evidence.py {name} --data data"]
    if args.musicnn and MODELS[name].musicnn_judges:
        words.append(f"--musicnn {args.musicnn.name}")
    for option in ("seeds", "sound_clips"):
        if (value := getattr(args, option)) != make_parser().get_default(option):
            words.append(f"--{option.replace('_', '-')} {value}")
    return " ".join(words)


if __name__ == "__main__":
    main()
