"""What a model knows of its own answers: promises kept on simulated tracks, stored beside the weights."""

import logging
import math
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from scipy.special import softmax

from audio_trees import write_tone
from pecmae import PECMAE, PrototypeHead, PrototypeHeadConfig, fit
from pecmae.data.collection import Clip, Collection
from pecmae.data.split_record import SplitRecord
from pecmae.data.splits import hold_out_calibration
from pecmae.data.tracks import EmbeddedTracks
from pecmae.errors import ConfigError
from pecmae.evaluation.trust import choose_calibration_clips
from pecmae.hub.resolve import CALIBRATION_FILE
from pecmae.prototypes.calibration import Calibration, calibrate, class_distances, fit_temperature
from pecmae.prototypes.fitting import HEAD_SETTINGS

RATE = 24_000
DIM = 16


def tracks_around(head: PrototypeHead, count: int, *, noise: float = 1.0, seed: int = 0, segments: int = 3) -> EmbeddedTracks:
    """Tracks whose segments lie around prototypes of their class."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % head.config.num_classes
    owners = head.prototype_labels
    points = head.projected_prototypes()
    rows = torch.stack([torch.nonzero(owners == label)[0, 0] for label in labels])  # (count,)
    z = points[rows].repeat_interleave(segments, 0) + noise * torch.randn(
        count * segments, points.shape[1], generator=generator
    )
    return EmbeddedTracks(z, torch.arange(count).repeat_interleave(segments), labels)


@pytest.fixture(scope="module")
def calibration(tiny_model) -> Calibration:
    return calibrate(tiny_model.head, tracks_around(tiny_model.head, 60, seed=1), tracks_around(tiny_model.head, 90, seed=2))


@pytest.fixture
def calibrated(tiny_model_dir, calibration, tmp_path) -> Path:
    """A model's directory with what is known of its answers."""
    directory = shutil.copytree(tiny_model_dir, tmp_path / "calibrated")
    calibration.save(directory)
    return directory


def known(scores: np.ndarray, right: np.ndarray, base: Calibration) -> Calibration:
    return replace(base, true_probability=scores, confidence=scores, right=right)


# Promises


@pytest.mark.parametrize("factor", [0.2, 1.0, 5.0])
def test_the_temperature_is_the_one_that_labels_were_drawn_at(factor):
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 3, (4000, 4))
    labels = np.array([rng.choice(4, p=row) for row in softmax(logits / (0.5 * factor), axis=1)])
    assert fit_temperature(logits, labels, 0.5) == pytest.approx(0.5 * factor, rel=0.1)


def test_the_temperature_stays_finite_where_every_label_is_right():
    logits = np.eye(4)[np.arange(40) % 4] * 10
    assert 0.01 < fit_temperature(logits, np.arange(40) % 4, 1.0) < 1


@pytest.mark.parametrize("coverage", [0.5, 0.9])
def test_sets_hold_the_true_class_as_often_as_promised(calibration, coverage):
    rng, hits, sizes = np.random.default_rng(0), [], []
    for _ in range(400):
        probabilities = rng.dirichlet([0.6] * 5, 40)
        truth = np.array([rng.choice(5, p=row) for row in probabilities])
        own = probabilities[np.arange(40), truth]
        least = replace(calibration, true_probability=own[:39], confidence=own[:39], right=own[:39] > 0).least_probability(
            coverage
        )
        hits.append(own[39] >= least)
        sizes.append((probabilities[39] >= least).sum())
    assert np.mean(hits) == pytest.approx(coverage + 0.5 / 40, abs=0.06)
    assert np.mean(sizes) < 5


def test_too_few_tracks_exclude_no_class(calibration):
    assert replace(calibration, right=np.ones(5, bool), true_probability=np.full(5, 0.9)).least_probability(0.9) == 0


def test_labels_that_are_given_are_as_seldom_wrong_as_promised(calibration):
    rng, wrong = np.random.default_rng(0), 0
    for _ in range(200):
        confidence = rng.uniform(0.5, 1, 200)
        right = rng.uniform(size=200) < confidence
        least = known(confidence, right, calibration).sure_from(risk=0.1, certainty=0.9)
        wrong += least < math.inf and (1 - (1 + least) / 2) > 0.1  # the true risk above a threshold t is 1 - (1 + t) / 2
    assert wrong / 200 <= 0.1 + 0.04


def test_nothing_is_sure_where_too_many_are_wrong_and_all_where_none_are(calibration):
    confidence = np.linspace(0.5, 1, 100)
    assert known(confidence, np.zeros(100, bool), calibration).sure_from() == math.inf
    assert known(confidence, np.ones(100, bool), calibration).sure_from() == 0.5
    assert known(confidence[:20], np.ones(20, bool), calibration).sure_from() == math.inf  # too few to promise 5 %


@pytest.mark.parametrize("share", [0, 1, -1, math.nan, 2])
def test_a_share_is_between_0_and_1(calibration, share):
    for ask in (calibration.least_probability, calibration.sure_from):
        with pytest.raises(ValueError, match=r"must lie between 0 and 1"):
            ask(share)


def test_five_in_a_hundred_known_tracks_are_refused_and_all_strange_ones(tiny_model, calibration):
    model = PECMAE(tiny_model.autoencoder, tiny_model.head, tiny_model.labels, calibration=calibration)

    def refused(noise: float) -> float:
        tracks = tracks_around(tiny_model.head, 300, noise=noise, seed=7)
        return np.mean([not model.classify(tracks.z[tracks.tracks == track]).known for track in range(300)])

    assert refused(1.0) == pytest.approx(0.05, abs=0.05)
    assert refused(30.0) == 1


def test_the_nearest_prototype_of_each_class_is_found_whatever_their_numbers():
    config = PrototypeHeadConfig(embedding_dim=4, num_classes=3, prototypes_per_class=(1, 3, 2), adaptor=False)
    torch.manual_seed(0)
    head, z = PrototypeHead(config), torch.randn(5, 4)
    distances = head.distances(z).detach()
    expected = np.stack([distances[:, :1].amin(1), distances[:, 1:4].amin(1), distances[:, 4:].amin(1)], 1)
    np.testing.assert_allclose(class_distances(head, z), expected, rtol=1e-5)


def test_too_few_tracks_are_refused(tiny_model):
    few = tracks_around(tiny_model.head, 19)
    with pytest.raises(ConfigError, match="19 tracks are too few to calibrate a model; give at least 20"):
        calibrate(tiny_model.head, few, few)


# In predictions and explanations


def test_an_uncalibrated_model_says_what_is_missing(tiny_model, tone):
    found = tiny_model.predict(tone, sampling_rate=RATE)
    assert (found.probability, found.probabilities, found.unsure, found.known, found.unlikeness) == (None,) * 5
    assert "probability" not in found.to_dict()
    with pytest.raises(ConfigError, match="pecmae calibrate MODEL --data DIR"):
        found.set()
    with pytest.raises(ConfigError, match="pecmae calibrate MODEL --data DIR"):
        found.abstain_at(0.05)


def test_a_calibrated_model_says_how_likely_its_label_is(calibrated, calibration, tone):
    found = PECMAE.from_pretrained(calibrated, dtype="float32").predict(tone, sampling_rate=RATE)
    expected = softmax(found.logits.astype(np.float64) / calibration.temperature)
    assert found.probabilities is not None
    assert found.probability == pytest.approx(expected.max())
    assert sum(found.probabilities.values()) == pytest.approx(1)
    assert list(found.probabilities) == list(found.scores)
    assert found.set(0.999999) == frozenset(found.scores)
    assert found.abstain_at() is found.unsure
    values = found.to_dict()
    assert (values["probability"], values["unsure"], values["unknown"]) == (found.probability, found.unsure, not found.known)


def test_reasons_are_told_against_what_is_usual(calibrated, tone):
    model = PECMAE.from_pretrained(calibrated, dtype="float32")
    explanation = model.explain(tone, sampling_rate=RATE)
    assert explanation.differences is not None
    assert explanation.baseline is not None
    np.testing.assert_allclose(explanation.differences.sum(1) + explanation.baseline, explanation.logits, atol=1e-5)
    index = model.labels.index(explanation.label)
    (name, number, value), *_ = explanation.top(count=1)
    best = explanation.differences[index].argmax()
    assert ((name, number), value) == (explanation.names[best], pytest.approx(explanation.differences[index, best]))
    assert explanation.top(against="nothing")[0][2] == pytest.approx(explanation.contributions[index].max())
    assert "more than usual" in repr(explanation)
    assert ((explanation.percentiles >= 0) & (explanation.percentiles <= 1)).all()


def test_percentiles_are_those_of_the_training_segments(tiny_model, calibration):
    examples = tracks_around(tiny_model.head, 90, seed=2)
    with torch.no_grad():
        similarities = tiny_model.head.similarities(examples.z).numpy()
    middle = np.median(similarities, 0)
    np.testing.assert_allclose(calibration.percentiles(middle[None])[0], 0.5, atol=0.02)
    np.testing.assert_allclose(calibration.usual, similarities.mean(0), rtol=1e-5)


# Stored


def test_it_is_saved_with_the_model_and_read_back(calibrated, calibration, tmp_path):
    PECMAE.from_pretrained(calibrated, dtype="float32").save_pretrained(tmp_path / "copy")
    found = PECMAE.from_pretrained(tmp_path / "copy").calibration
    assert found is not None
    assert found.temperature == calibration.temperature
    np.testing.assert_array_equal(found.true_probability, calibration.true_probability)
    np.testing.assert_array_equal(found.right, calibration.right)


@pytest.mark.parametrize("damage", ["cut off", "other weights", "text"])
def test_one_that_cannot_be_used_is_said_and_left_aside(calibrated, calibration, damage, caplog):
    path = calibrated / CALIBRATION_FILE
    if damage == "cut off":
        path.write_bytes(path.read_bytes()[:100])
    elif damage == "text":
        path.write_text("no numbers")
    else:
        replace(calibration, probe_logits=calibration.probe_logits + 1).save(calibrated)
    with caplog.at_level(logging.WARNING):
        model = PECMAE.from_pretrained(calibrated)
    assert model.calibration is None
    assert CALIBRATION_FILE in caplog.text
    assert "write it again with pecmae calibrate, or delete it" in caplog.text


# Clips


def clips(folder: Path, counts: dict[str, int]) -> tuple[Clip, ...]:
    made = []
    for label, count in counts.items():
        for number in range(count):
            path = folder / label / f"{number}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"{folder} {label} {number}")
            made.append(Clip(path, label))
    return tuple(made)


def test_a_tenth_of_the_training_clips_is_held_out_of_each_class(tmp_path):
    train, test = clips(tmp_path / "train", {"a": 150, "b": 100}), clips(tmp_path / "test", {"a": 10, "b": 10})
    collection = Collection(name="data", splits={"train": train, "test": test})
    divided = hold_out_calibration(collection, 0.1, at_least=20)
    held_out = divided.splits["calibration"]
    assert sorted(clip.label for clip in held_out) == ["a"] * 15 + ["b"] * 10
    assert set(held_out) | set(divided.splits["train"]) == set(train)
    assert not set(held_out) & set(divided.splits["train"])
    assert divided.splits["test"] == test
    assert len(hold_out_calibration(collection, 0.1, at_least=40).splits["calibration"]) == 40
    for share, least in ((0.0, 20), (0.1, 60)):  # none is wanted; too many were needed
        assert hold_out_calibration(collection, share, at_least=least) is collection
    with pytest.raises(ConfigError, match=r"calibration_share=0\.5 cannot be held out"):
        hold_out_calibration(collection, 0.5, at_least=20)


def test_what_the_model_has_met_is_not_calibrated_on(tmp_path):
    met, tested, new = (clips(tmp_path / name, {"a": 3, "b": 3}) for name in ("met", "tested", "new"))
    seen = Collection(name="run", splits={"train": met, "test": tested})
    everything = Collection(name="data", splits={"train": (*met, *tested, *new)})
    found = choose_calibration_clips(everything, SplitRecord.of(seen))
    assert (found.held_out, found.training) == (new, met)
    own = Collection(name="data", splits={"train": met, "calibration": tested, "validation": new})
    assert choose_calibration_clips(own, None).held_out == tested
    assert choose_calibration_clips(Collection(name="data", splits={"train": new}), None).held_out == new
    with pytest.raises(ConfigError, match="run: holds no clips to calibrate on"):
        choose_calibration_clips(seen, SplitRecord.of(seen))


# The console


def test_the_console_calibrates_and_touches_nothing_else(tiny_model_dir, tmp_path, monkeypatch, capsys):
    from pecmae.cli import main

    monkeypatch.chdir(tmp_path)
    directory = shutil.copytree(tiny_model_dir, tmp_path / "model")
    rng = np.random.default_rng(0)
    for number in range(24):
        path = tmp_path / "data" / ("blues", "jazz", "rock")[number % 3] / f"{number}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, 0.1 * rng.standard_normal(9600), RATE)
    before = {path.relative_to(directory): path.read_bytes() for path in directory.rglob("*") if path.is_file()}

    def run(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as end:
            main(list(arguments))
        printed = capsys.readouterr()
        return int(end.value.code or 0), printed.out, printed.err

    status, out, err = run("calibrate", "model", "--data", "data", "--cache", "cache")
    assert (status, out) == (0, f"model/{CALIBRATION_FILE}\n")
    assert "calibrated on 24 tracks: temperature" in err
    after = {path.relative_to(directory): path.read_bytes() for path in directory.rglob("*") if path.is_file()}
    assert {name: after[name] for name in before} == before
    assert set(after) - set(before) == {Path(CALIBRATION_FILE)}
    header, row = run("classify", "data/jazz/1.wav", "--csv", "--model", "model")[1].splitlines()
    cells = dict(zip(header.split(","), row.split(","), strict=True))
    assert 0 < float(cells["probability"]) <= 1
    assert cells["unsure"] in ("True", "False")
    table = run("classify", "data/jazz/1.wav", "--model", "model")[1]
    assert table.splitlines()[0].split() == ["file", "label", "score", "probability", "doubt", "then", "length"]
    shutil.rmtree(tmp_path / "data" / "blues")
    (tmp_path / "data" / "polka").mkdir()
    shutil.copy(tmp_path / "data/jazz/1.wav", tmp_path / "data/polka/1.wav")
    status, _, err = run("calibrate", "model", "--data", "data")
    assert status == 1
    assert "'polka' is no class of the model, which has blues, jazz, rock" in err


def test_fitting_holds_out_clips_and_calibrates(tiny_autoencoder, tmp_path):
    for number in range(160):
        write_tone(tmp_path / "data" / ("low" if number % 2 else "high") / f"{number}.wav", number + 1000 * (number % 2), 0.1)
    settings = replace(HEAD_SETTINGS, steps=5, batch_size=8)
    result = fit(tmp_path / "data", tmp_path / "run", autoencoder=tiny_autoencoder, prototypes_per_class=2, settings=settings)
    sizes = {split: len(clips) for split, clips in result.collection.splits.items()}
    assert sizes == {"train": 92, "validation": 24, "calibration": 20, "test": 24}
    assert set(result.evaluations) == {"train", "validation", "test"}
    assert result.model.calibration is not None
    assert result.model.calibration.num_tracks == 20
    loaded = PECMAE.from_pretrained(tmp_path / "run" / "model")
    assert loaded.calibration is not None
    assert len(SplitRecord.load(tmp_path / "run" / "model").splits["calibration"]) == 20
    without = fit(tmp_path / "data", autoencoder=tiny_autoencoder, prototypes_per_class=2, settings=settings,
                  calibration_share=0, cache=tmp_path / "run" / "cache")  # fmt: skip
    assert without.model.calibration is None
