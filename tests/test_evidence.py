"""The evidence: measured by one command, judged against its bars, and said in the card in the same numbers."""

import copy
import importlib.util
import json
from collections.abc import Callable
from pathlib import Path

import draw_mini
import mini_evidence
import mini_times
import numpy as np
import pytest
import torch
from evidence import Bar, bars, card_section, measurements, read_evidence

from pecmae import PECMAE, ConfigError
from pecmae.audio.segments import write_audio
from pecmae.data.embedding_cache import EmbeddingCache
from pecmae.data.load import load_collection
from pecmae.data.tracks import EmbeddedTracks, embed_files
from pecmae.evaluation.tracks import evaluate_embedded
from pecmae.hub.cards import ModelCardFacts, render_card
from pecmae.prototypes.measures import nearest_agreement

RATE = 24_000
PITCHES = {"blues": 200, "jazz": 800, "rock": 3200}


# Clips of every class; no two splits have equally many, so that what is said of one is not taken for another.
CLIPS = {"train": 3, "validation": 1, "test": 2, "other": 4}


def write_family(folder: Path, pitches: dict[str, int]) -> None:
    """Clips of 1.2 s of every class in every split, a tone each."""
    draws, time = np.random.default_rng(0), np.arange(round(1.2 * RATE)) / RATE
    for split, count in CLIPS.items():
        for label, pitch in pitches.items():
            (folder / split / label).mkdir(parents=True)
            for number in range(count):
                wave = 0.3 * np.sin(2 * np.pi * pitch * draws.uniform(0.9, 1.1) * time) + draws.normal(0, 0.01, len(time))
                write_audio(folder / split / label / f"{number}.wav", wave.astype(np.float32), RATE)


@pytest.fixture(scope="module")
def arguments(tiny_model_dir, tmp_path_factory) -> list[str]:
    folder = tmp_path_factory.mktemp("evidence")
    write_family(folder / "data" / "genres", PITCHES)
    write_family(folder / "data" / "solos", {"flute": 500, "piano": 2000})
    return [
        *("--data", str(folder / "data"), "--model", str(tiny_model_dir), "--cache", str(folder / "cache")),
        *("--output", str(folder / "evidence.json"), "--device", "cpu", "--no-times"),
        *("--prototypes", "1", "2", "--steps", "4", "--seeds", "2", "--sound-clips", "1", "--codec-clips", "2"),
    ]


def recorded(name: str, original: Callable, found: list[tuple[str, list[int]]]) -> Callable:
    """What `original` does, and a note of how many tracks or segments it was given."""

    def call(*given, **options):
        tracks = [one for one in (*given, *options.values()) if isinstance(one, EmbeddedTracks)]
        segments = [one for one in given if isinstance(one, torch.Tensor)]
        found.append((name, [*(len(one.track_labels) for one in tracks), *map(len, segments)]))
        return original(*given, **options)

    return call


@pytest.fixture(scope="module")
def learned(arguments) -> list[tuple[str, list[int]]]:
    """What was fitted or measured while the evidence was made, and on how much: to learn from, to choose by."""
    found: list[tuple[str, list[int]]] = []
    with pytest.MonkeyPatch.context() as patch:
        for name in ("fit_head", "MLPBaseline", "NearestCentroid", "Listener", "nearest_agreement"):
            patch.setattr(mini_evidence, name, recorded(name, vars(mini_evidence)[name], found))
        mini_evidence.main(arguments)
    return found


@pytest.fixture(scope="module")
def evidence(arguments, learned) -> dict:
    return json.loads(Path(arguments[7]).read_text())


def test_what_learns_sees_training_clips_and_validation_chooses(learned):
    assert learned == [
        *[("MLPBaseline", [9, 3]), ("NearestCentroid", [9])],
        *[("fit_head", [9, 3])] * 2,
        *[("fit_head", [6, 2]), ("MLPBaseline", [6, 2]), ("NearestCentroid", [6])],  # the two solo instruments
        *[("Listener", [9, 3]), ("Listener", [6, 3])],  # after the codec, two training clips of each class
        ("nearest_agreement", [18]),  # three segments of each test clip
    ]


def test_every_figure_is_of_the_split_that_it_is_named_after(evidence, arguments):
    for split, count in (("test", 6), ("other", 12)):
        found, solos = evidence["genres"][split], evidence["solos"][split]
        summaries = [found[name] for name in ("model", "ceiling", "centroid", "listener")]
        summaries += [by_split[split] for by_split in evidence["by_prototypes"].values()]
        assert {one["num_tracks"] for one in summaries} == {count}
        assert {one["num_tracks"] for one in solos.values()} == {count // 3 * 2}
        assert np.sum(found["confusion"]) == count
    model = PECMAE.from_pretrained(arguments[3], device="cpu")
    files = load_collection(Path(arguments[1]) / "genres" / "test").clips
    tracks, _ = embed_files(EmbeddingCache(arguments[5], model.autoencoder), files, model.labels)
    assert evidence["health"]["nearest_agreement"] == pytest.approx(nearest_agreement(model.head, tracks.z))
    evaluation, found = evaluate_embedded(model.head, model.labels, tracks), evidence["genres"]["test"]
    assert found["calibration_error"] == pytest.approx(evaluation.calibration_error)
    assert found["model"]["interval_95"] == pytest.approx(evaluation.interval(0.95))
    assert (found["recalls"], found["model"]["accuracy"]) == (evaluation.recalls, evaluation.accuracy)


def test_the_command_measures_all_that_the_card_says(evidence):
    assert evidence["clips"] == {"train": 9, "validation": 3, "test": 6, "other": 12}
    test = evidence["genres"]["test"]
    assert {"model", "ceiling", "centroid", "listener"} <= test.keys()
    # Tones of three pitches are told apart by ear and, in any z, by a free classifier.
    assert test["listener"]["accuracy"] == 1.0
    assert evidence["codec_listener"]["test"]["num_tracks"] == 3
    assert list(evidence["by_prototypes"]) == ["1", "2"]
    assert evidence["solos"]["test"]["head"]["num_tracks"] == 4
    assert evidence["sonification"]["num_sounds"] == 12
    assert set(evidence["sonification"]["listeners"]) == {"clean", "codec"}
    assert evidence["round_trip"]["num_clips"] == 3
    assert 0.01 < evidence["wheel_mb"] < 20
    assert evidence["times"] is None


def test_a_second_run_finds_what_the_first_one_made(evidence, arguments, monkeypatch):
    def forbidden(*args, **options):
        raise AssertionError("made again")

    monkeypatch.setattr("pecmae.model.PECMAE.sonify_each", forbidden)
    monkeypatch.setattr("pecmae.data.embedding_cache.embed_tracks", lambda *args, **options: iter(()))
    monkeypatch.setattr("pecmae.evaluation.listener.LogMelStatistics.__call__", LazyStatistics(forbidden))
    mini_evidence.main(arguments)
    assert json.loads(Path(arguments[7]).read_text()) == evidence


class LazyStatistics:
    """Statistics of batches, which listeners ask for, but of no single clip."""

    def __init__(self, forbidden) -> None:
        from pecmae.evaluation.listener import LogMelStatistics

        self.original, self.forbidden = LogMelStatistics.__call__, forbidden

    def __get__(self, instance, owner):
        return lambda wav: self.original(instance, wav) if len(wav) > 1 else self.forbidden()


def test_times_are_of_the_console(arguments, tiny_model_dir, monkeypatch):
    monkeypatch.setattr(mini_times, "REPEATS", 1)
    clip = Path(arguments[1]) / "genres" / "test" / "jazz" / "0.wav"
    found = mini_times.console_times(tiny_model_dir, "blues", clip)
    assert found["sonify_seconds"] > 0
    assert 0 <= found["classify_seconds"] < found["classify_total_seconds"]
    assert mini_times.wheel_megabytes(tiny_model_dir) < 5


def test_a_bar_is_reached_at_its_limit():
    assert Bar("a", 0.9, True, 0.9).reached
    assert not Bar("a", 0.899, True, 0.9).reached
    assert Bar("a", 5.0, False, 5.0, "s").reached
    assert not Bar("a", 5.1, False, 5.0, "s").reached
    assert Bar("a", None, True, 0.9).reached is None


def test_the_bars_read_the_evidence(evidence):
    changed = copy.deepcopy(evidence)
    changed["genres"]["test"]["model"]["accuracy"], changed["genres"]["test"]["ceiling"]["accuracy"] = 0.92, 0.96
    changed["genres"]["other"]["model"]["accuracy"] = 0.5
    changed["sonification"]["listeners"]["clean"]["prototypes_placed_right"] = {"blues": 2, "jazz": 1, "rock": 0}
    changed["times"] = {"sonify_seconds": 4.0, "classify_seconds": 2.0}
    found = {bar.name: bar for bar in bars(changed)}
    assert [found[name].reached for name in ("accuracy on the test set", "points of accuracy below the ceiling")] == [
        True,
        False,
    ]
    assert found["points of accuracy below the ceiling"].value == pytest.approx(0.04)
    assert not found["accuracy with another sound font"].reached
    placed = found["classes with a prototype that the independent listener places right"]
    assert (placed.value, placed.limit, placed.reached) == (2, 3, False)
    assert [bar.reached for bar in bars(changed)[-2:]] == [True, False]


def test_the_card_says_the_measured_numbers(evidence):
    changed = copy.deepcopy(evidence)
    changed["genres"]["test"]["model"] |= {"accuracy": 0.9123, "interval_95": [0.8811, 0.9399]}
    changed["sonification"]["listeners"]["clean"]["own_class"] = 0.6543
    changed["bars"] = [bar.to_dict() for bar in bars(changed)]
    facts = ModelCardFacts(name="m", labels=("a", "b"), metrics=measurements(changed), evidence=card_section(changed))
    card = render_card("model", facts)
    assert "| pecmae-mini, 2 prototypes per class | 91.2 (88.1–94.0) |" in card
    assert "value: 0.9123" in card
    assert "| accuracy on the test set | at least 90 % | 91.2 % | reached |" in card
    assert "| the same, by the independent listener | 65.4 % |" in card
    assert "by the independent listener | at least 60 % | 65.4 % | reached |" in card
    assert "| time to sonify a class | at most 5 s | not measured | – |" in card
    assert f"`{changed['command']}`" in card
    changed["solos"] = None
    assert "rendered solos" not in card_section(changed)


def test_the_embedded_models_card_is_made_from_the_evidence(evidence, monkeypatch):
    spec = importlib.util.spec_from_file_location("render", mini_evidence.CARDS / "render.py")
    render = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(render)
    monkeypatch.setattr(render, "read_evidence", lambda path, directory: evidence)
    card = render.rendered_files()[mini_evidence.CARDS / "pecmae-mini.md"]
    accuracy = evidence["genres"]["test"]["model"]["accuracy"]
    assert f"| rendered genres | test | class-normalised accuracy | {round(accuracy, 4)} | `{evidence['command']}` |" in card
    assert card_section(evidence) in card


def test_evidence_of_other_weights_is_refused(evidence, arguments, tiny_model_dir, tmp_path):
    path = Path(arguments[7])
    assert read_evidence(path, tiny_model_dir) == evidence
    assert read_evidence(tmp_path / "nothing.json", tiny_model_dir) is None
    other = evidence | {"model": evidence["model"] | {"head": "0"}}
    (tmp_path / "other.json").write_text(json.dumps(other))
    with pytest.raises(ConfigError, match="other weights"):
        read_evidence(tmp_path / "other.json", tiny_model_dir)
    (tmp_path / "older.json").write_text(json.dumps(evidence | {"format_version": 0}))
    with pytest.raises(ConfigError, match="another version"):
        read_evidence(tmp_path / "older.json", tiny_model_dir)


def test_the_pictures_are_drawn_and_small(arguments, tmp_path):
    draw_mini.main([*arguments[:6], "--output", str(tmp_path), "--classes", "jazz", "rock"])
    pictures = sorted(tmp_path.glob("*.png"))
    assert [path.name for path in pictures] == [f"pecmae-mini-{name}.png" for name in ("map", "sounds", "weights")]
    for path in pictures:
        assert path.read_bytes()[:4] == b"\x89PNG"
        assert path.stat().st_size < 150_000


def test_the_page_shows_every_picture_and_all_are_small():
    docs = Path(__file__).parents[1] / "docs"
    pictures = sorted(path.name for path in docs.glob("pecmae-mini-*.png"))
    page = (docs / "pecmae-mini.md").read_text(encoding="utf-8")
    assert pictures
    assert all(f"]({name})" in page for name in pictures)
    assert sum((docs / name).stat().st_size for name in pictures) < 1_000_000
