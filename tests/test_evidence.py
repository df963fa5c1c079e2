"""The evidence: measured by one command, judged against its bars, and said in the card in the same numbers."""

import copy
import importlib.util
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import draw_mini
import mini_evidence
import mini_times
import numpy as np
import pytest
import torch
from evidence import Bar, bars, bars_table, card_section, measurements, read_evidence
from models import MODELS

from pecmae import PECMAE, ConfigError
from pecmae.audio.segments import write_audio
from pecmae.data.embedding_cache import EmbeddingCache
from pecmae.data.load import load_collection
from pecmae.data.split_record import SplitRecord
from pecmae.data.tracks import EmbeddedTracks, embed_files
from pecmae.evaluation.tracks import evaluate_embedded
from pecmae.hub.cards import ModelCardFacts, render_card
from pecmae.prototypes.calibration import calibrate
from pecmae.prototypes.measures import nearest_agreement, track_reasons

RATE = 24_000
PITCHES = {"blues": 200, "jazz": 800, "rock": 3200}
TEST = "genres/other"


# Clips of every class; no two splits have equally many, so that what is said of one is not taken for another.
CLIPS = {"train": 3, "validation": 1, "other": 4}


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
    (folder / "data" / "effects").mkdir()
    for number in range(2):
        sound = np.random.default_rng(number).normal(0, 0.1, RATE).astype(np.float32)
        write_audio(folder / f"data/effects/{number}.wav", sound, RATE)
    shutil.copytree(tiny_model_dir, folder / "model")
    SplitRecord.of(MODELS["mini"].collection(folder / "data")).save(folder / "model")
    return [
        *("--data", str(folder / "data"), "--model", str(folder / "model"), "--cache", str(folder / "cache")),
        *("--output", str(folder), "--device", "cpu", "--no-times", "--seeds", "2", "--sound-clips", "1", "mini"),
    ]


def written(arguments: list[str]) -> Path:
    return Path(arguments[7]) / "pecmae-mini.evidence.json"


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
        for name in ("MLPBaseline", "NearestNeighbours", "Listener", "nearest_agreement", "track_reasons"):
            patch.setattr(mini_evidence, name, recorded(name, vars(mini_evidence)[name], found))
        mini_evidence.main(arguments)
    return found


@pytest.fixture(scope="module")
def evidence(arguments, learned) -> dict:
    return json.loads(written(arguments).read_text())


def test_what_learns_sees_training_clips_and_validation_chooses(learned):
    assert learned == [
        ("Listener", [9, 3]),
        *[("MLPBaseline", [9, 3]), ("NearestNeighbours", [9])],
        *[("track_reasons", [12]), ("nearest_agreement", [36])],  # three segments of each test clip
    ]


def test_a_test_set_that_decided_the_weights_is_refused(arguments, tmp_path):
    data = tmp_path / "data"
    shutil.copytree(Path(arguments[1]), data)
    shutil.copy(data / "genres/validation/jazz/0.wav", data / "genres/other/jazz/seen.wav")
    with pytest.raises(SystemExit, match=r"genres/other: 1 of 13 clips decided the model's weights \(seen.wav\)"):
        mini_evidence.main([arguments[0], str(data), *arguments[2:]])
    shutil.copytree(arguments[3], tmp_path / "model")
    (tmp_path / "model" / "splits.json").unlink()
    with pytest.raises(SystemExit, match=r"splits\.json"):
        mini_evidence.main([*arguments[:3], str(tmp_path / "model"), *arguments[4:]])


def test_every_figure_is_of_the_split_that_it_is_named_after(evidence, arguments):
    found = evidence["tests"][TEST]
    assert {found[name]["num_tracks"] for name in ("model", "mlp", "neighbours", "listener")} == {12}
    assert np.sum(found["confusion"]) == 12
    model = PECMAE.from_pretrained(arguments[3], device="cpu")
    files = load_collection(Path(arguments[1]) / TEST).clips
    tracks, _ = embed_files(EmbeddingCache(arguments[5], model.autoencoder), files, model.labels)
    assert found["segment_agreement"] == pytest.approx(nearest_agreement(model.head, tracks.z))
    assert found["reasons"] == track_reasons(model.head, tracks).to_dict()
    evaluation = evaluate_embedded(model.head, model.labels, tracks)
    assert found["calibration_error"] == pytest.approx(evaluation.calibration_error)
    assert found["model"]["interval_95"] == pytest.approx(evaluation.interval(0.95))
    assert (found["recalls"], found["model"]["accuracy"]) == (evaluation.recalls, evaluation.accuracy)


def test_the_command_measures_all_that_the_card_says(evidence):
    assert evidence["learned_from"] == {"title": "rendered genres", "train": 9, "validation": 3}
    # Tones of three pitches are told apart by ear.
    assert evidence["tests"][TEST]["listener"]["accuracy"] == 1.0
    assert evidence["sonification"]["num_sounds"] == 12
    assert set(evidence["sonification"]["listeners"]) == {"clean"}
    assert evidence["ear"]["heard"]["log-mel"]["clip"] == 1.0
    not_music = evidence["not_music"]
    assert {kind: found["sounds"] for kind, found in not_music.items()} == {
        "rain, animals, engines": 2, "tones": 6, "noise": 4,
    }  # fmt: skip
    assert all(sum(found["labels"].values()) == found["sounds"] for found in not_music.values())
    assert 0.01 < evidence["wheel_mb"] < 30
    assert evidence["times"] is None


def test_what_calibration_promises_is_measured(tiny_model, evidence):
    draws = torch.Generator().manual_seed(0)
    z = torch.randn(60, tiny_model.autoencoder.config.embedding_dim, generator=draws)
    tracks = EmbeddedTracks(z, torch.arange(60), torch.arange(60) % len(tiny_model.labels))
    calibrated = copy.copy(tiny_model)
    calibrated.calibration = calibrate(tiny_model.head, tracks, tracks)
    found = mini_evidence.measure_trust(calibrated, tracks)
    assert 0.9 <= found["sets"]["coverage"] <= 0.95
    assert found["refused"] <= 0.05
    assert set(found["probabilities"]) >= {"calibration_error", "brier"}
    # A model that is not calibrated promises nothing, and its card does not speak of it.
    assert set(evidence["tests"][TEST]["trust"]) == {"scores"}
    assert evidence["calibrated_on"] is None
    assert "Calibrated on" not in card_section(evidence)


def test_a_second_run_finds_what_the_first_one_made(evidence, arguments, monkeypatch):
    def forbidden(*args, **options):
        raise AssertionError("made again")

    monkeypatch.setattr("pecmae.model.PECMAE.sonify_each", forbidden)
    monkeypatch.setattr("pecmae.data.embedding_cache.embed_tracks", lambda *args, **options: iter(()))
    mini_evidence.main(arguments)
    assert json.loads(written(arguments).read_text()) == evidence


def test_times_are_of_the_console(arguments, tiny_model_dir, monkeypatch):
    monkeypatch.setattr(mini_times, "REPEATS", 1)
    clip = Path(arguments[1]) / TEST / "jazz" / "0.wav"
    found = mini_times.console_times(tiny_model_dir, "blues", clip)
    assert found["sonify_seconds"] > 0
    assert 0 <= found["classify_seconds"] < found["classify_total_seconds"]


def test_a_bar_is_reached_at_its_limit():
    assert Bar("a", 0.9, True, 0.9).reached
    assert not Bar("a", 0.899, True, 0.9).reached
    assert Bar("a", 5.0, False, 5.0, "s").reached
    assert not Bar("a", 5.1, False, 5.0, "s").reached
    assert Bar("a", None, True, 0.9).reached is None


def test_the_bars_read_the_evidence(evidence):
    changed = copy.deepcopy(evidence)
    test = changed["tests"][TEST]
    test["model"]["accuracy"], test["mlp"]["accuracy"] = 0.79, 0.80
    test["reasons"] = {"agreement": 0.96, "compactness": 6.0, "cancellation": 0.5}
    changed["ear"]["heard"]["MusiCNN"] = {"clip": 0.9, "codec": 0.76, "decoded": 0.5, "prototypes": 0.51}
    changed["ear"]["pulse"] = {"clip": 0.6, "codec": 0.5, "decoded": 0.2, "prototypes": 0.1}
    changed["times"] = {"sonify_seconds": 4.0, "classify_seconds": 2.0}
    reached = [bar.reached for bar in bars(changed)]
    assert reached[:8] == [False, True, True, False, True, False, True, False]
    assert bars(changed)[1].value == pytest.approx(0.01)
    assert bars(changed)[7].value == pytest.approx(1 / 3)
    assert reached[-2:] == [True, False]
    del changed["ear"]["heard"]["MusiCNN"]
    assert len(bars(changed)) == len(reached) - 3


def test_the_card_says_the_measured_numbers(evidence):
    changed = copy.deepcopy(evidence)
    changed["tests"][TEST]["model"] |= {"accuracy": 0.9123, "interval_95": [0.8811, 0.9399]}
    changed["sonification"]["listeners"]["clean"]["own_class"] = 0.6543
    changed["ear"]["heard"]["log-mel"]["decoded"] = 0.3333
    changed["ear"]["pulse"]["decoded"] = 0.1717
    changed["bars"] = [bar.to_dict() for bar in bars(changed)]
    facts = ModelCardFacts(name="m", labels=("a", "b"), metrics=measurements(changed), evidence=card_section(changed))
    card = render_card("model", facts)
    assert f"| `{TEST}`: {changed['tests'][TEST]['title']} | 12 | 91.2 (88.1–94.0) |" in card
    assert "value: 0.9123" in card
    assert "| accuracy on the first test set | at least 80 % | 91.2 % | reached |" in card
    assert "| the same, by the listener | 65.4 % |" in card
    assert "| decoded from its z | 33.3 | 0.17 |" in card
    assert "| time to sonify a class | at most 5 s | not measured | – |" in card
    assert "| tones | 6 |" in card
    assert f"`{changed['command']}`" in card
    changed["ear"] = changed["round_trip"] = None
    assert "Where sound loses" not in card_section(changed)


def test_bars_of_several_models_stand_side_by_side():
    bar, other = Bar("accuracy", 0.7, True, 0.8), Bar("accuracy", 0.7, True, 0.65)
    time = Bar("time", None, False, 5, "s")
    table = bars_table({"a": {"bars": [bar.to_dict(), time.to_dict()]}, "b": {"bars": [other.to_dict()]}})
    assert table.splitlines()[2:] == [
        "| accuracy | at least 80 %, at least 65 % | **70.0 %** | 70.0 % |",
        "| time | at most 5 s | not measured | – |",
    ]


@pytest.mark.parametrize("name", MODELS)
def test_every_table_of_a_card_has_rows_as_wide_as_its_head(name):
    path = mini_evidence.CARDS / f"pecmae-{name}.md"
    lines = path.read_text(encoding="utf-8").splitlines()
    for above, line, below in zip(lines, lines[1:], lines[2:], strict=False):
        if line.startswith("|---"):
            assert above.count("|") == line.count("|") == below.count("|"), above


def test_the_embedded_models_card_is_made_from_the_evidence(evidence, monkeypatch):
    spec = importlib.util.spec_from_file_location("render", mini_evidence.CARDS / "render.py")
    render = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(render)
    monkeypatch.setattr(render, "read_evidence", lambda path, directory: evidence)
    card = render.rendered_files()[mini_evidence.CARDS / "pecmae-mini.md"]
    accuracy = evidence["tests"][TEST]["model"]["accuracy"]
    row = f"| rendered genres | {TEST} | class-normalised accuracy | {round(accuracy, 4)} | `{evidence['command']}` |"
    assert row in card
    assert card_section(evidence) in card


def test_evidence_of_other_weights_is_refused(evidence, arguments, tmp_path):
    path, directory = written(arguments), Path(arguments[3])
    assert read_evidence(path, directory) == evidence
    assert read_evidence(tmp_path / "nothing.json", directory) is None
    other = evidence | {"model": evidence["model"] | {"head": "0"}}
    (tmp_path / "other.json").write_text(json.dumps(other))
    with pytest.raises(ConfigError, match="other weights"):
        read_evidence(tmp_path / "other.json", directory)
    (tmp_path / "older.json").write_text(json.dumps(evidence | {"format_version": 0}))
    with pytest.raises(ConfigError, match="another version"):
        read_evidence(tmp_path / "older.json", directory)


def test_the_pictures_are_drawn_and_small(arguments, evidence, tmp_path):
    options = ["--output", str(tmp_path), "--classes", "jazz", "rock", "--evidence", arguments[7]]
    draw_mini.main([*arguments[:6], *options])
    pictures = sorted(tmp_path.glob("*.png"))
    assert [path.name for path in pictures] == [f"pecmae-mini-{name}.png" for name in ("ear", "map", "sounds", "weights")]
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
