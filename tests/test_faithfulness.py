"""Whether reasons are true: figures that can be worked out by hand, and answers that are known."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import soundfile
import torch
from scipy.stats import spearmanr

from pecmae import PECMAE, PrototypeHead
from pecmae.data.collection import Clip
from pecmae.data.tracks import EmbeddedTracks
from pecmae.evaluation.faithfulness import (
    MeanOfTracks,
    TrackEvidence,
    curve_report,
    faithfulness_report,
    prototype_curves,
    rank_correlation,
)
from pecmae.evaluation.listening_for import listening_report, recording_properties
from pecmae.evaluation.stability import CHANGES, gain, noise, shift, splice_report, stability_report, through_mp3
from pecmae.prototypes.calibration import calibrate
from test_calibration import tracks_around

RATE = 24_000


def evidence(similarities: np.ndarray, weight: np.ndarray) -> TrackEvidence:
    return TrackEvidence(similarities, np.zeros(similarities.shape[1]), weight, np.zeros(len(weight)), 1.0)


def test_ranks_correlate_as_scipy_says():
    rng = np.random.default_rng(0)
    one, other = rng.normal(size=(5, 12)), rng.integers(0, 4, (5, 12)).astype(float)
    assert rank_correlation(one, other) == pytest.approx([spearmanr(a, b).statistic for a, b in zip(one, other, strict=True)])
    assert rank_correlation(np.ones((1, 4)), one[:1, :4]) == pytest.approx([0.0])


def test_deleting_the_only_reason_first_leaves_an_even_chance():
    # One prototype of four decides: without it the two classes are alike, p = 1/2; with it p = sigmoid(8) of its class.
    found = prototype_curves(
        evidence(np.array([[8.0, 0, 0, 0]]), np.array([[1.0, 1, 1, 1], [0, 0, 0, 0]])), np.random.default_rng(0)
    )
    with_it = 1 / (1 + np.exp(-8))
    # Points at 0, 1/4 … 1, joined by lines.
    assert found["deletion"]["area"] == pytest.approx((with_it + 0.5) / 2 / 4 + 0.5 * 3 / 4)
    assert found["insertion"]["area"] == pytest.approx((with_it + 0.5) / 2 / 4 + with_it * 3 / 4)
    # At a random place among four it is deleted in the middle on average.
    assert found["deletion"]["gain"]["value"] > 0.05
    assert found["insertion"]["gain"]["value"] > 0.05


def test_the_gain_counts_in_favour_of_our_order():
    found = curve_report(np.array([[0.2, 0.4], [0.9, 0.7]]), np.array([[0.5, 0.5], [0.5, 0.5]]))
    assert found["deletion"]["gain"]["value"] == pytest.approx(0.2)
    assert found["insertion"]["gain"]["value"] == pytest.approx(0.3)
    assert found["insertion"]["gain"]["low"] == pytest.approx(0.2)
    assert found["insertion"]["gain"]["high"] == pytest.approx(0.4)


def test_the_interval_of_a_mean_holds_it_and_narrows_with_tracks():
    rng = np.random.default_rng(1)
    few, many = (MeanOfTracks.of(rng.normal(3, 1, count)) for count in (20, 2000))
    assert few.low < few.value < few.high
    assert many.high - many.low == pytest.approx(2 * 1.96 / np.sqrt(2000), rel=0.15)
    assert few.high - few.low > 5 * (many.high - many.low)


@pytest.fixture
def tracks(tiny_model) -> EmbeddedTracks:
    return tracks_around(tiny_model.head, 60, noise=0.5, seed=3)


def test_reasons_of_a_head_add_up_beat_chance_and_hang_on_its_weights(tiny_model, tracks):
    calibration = calibrate(
        tiny_model.head, tracks_around(tiny_model.head, 60, seed=1), tracks_around(tiny_model.head, 90, seed=2)
    )
    found = faithfulness_report(tiny_model.head, tracks, calibration)
    assert found["additivity"] < 1e-6
    for parts in ("prototypes", "segments"):
        for kind in ("deletion", "insertion"):
            assert found[parts][kind]["gain"]["low"] > 0, (parts, kind)
    assert abs(found["randomised"]["prototypes"]) < 0.3
    assert -1 <= found["variety"]["rank_correlation"] < 0.3
    assert found == faithfulness_report(tiny_model.head, tracks, calibration)


def test_tracks_of_one_segment_have_no_curve_over_segments(tiny_model):
    assert faithfulness_report(tiny_model.head, tracks_around(tiny_model.head, 30, segments=1))["segments"] is None


def test_silent_segments_count_for_nothing(tiny_model, tracks):
    silent = torch.randn(60, tracks.z.shape[1], generator=torch.Generator().manual_seed(9))
    order = torch.arange(60).repeat(2)[60:]
    more = replace(
        tracks,
        z=torch.cat([tracks.z, silent]),
        tracks=torch.cat([tracks.tracks, order]),
        weights=torch.cat([torch.ones(len(tracks.z)), torch.zeros(60)]),
    )
    plain = replace(tracks, weights=torch.ones(len(tracks.z)))
    one, other = (faithfulness_report(tiny_model.head, each)["segments"] for each in (more, plain))
    assert one["deletion"]["area"] == pytest.approx(other["deletion"]["area"])


def tone(pitch: float, seconds: float = 2.0) -> np.ndarray:
    t = np.arange(round(seconds * RATE)) / RATE
    return (0.3 * np.sin(2 * np.pi * pitch * t)).astype(np.float32)


def level(wave: np.ndarray) -> float:
    return float(20 * np.log10(np.sqrt(np.square(wave).mean())))


def test_changes_do_what_they_say():
    wave = tone(440)
    assert level(gain(0.5)(wave, RATE)) - level(wave) == pytest.approx(0.5, abs=1e-4)
    assert np.array_equal(shift(0.05)(wave, RATE), wave[1200:])
    assert level(noise(-30)(wave, RATE) - wave) - level(wave) == pytest.approx(-30, abs=0.1)


def test_fewer_bits_of_mp3_lose_more():
    wave = tone(440) + np.random.default_rng(0).normal(0, 0.1, 2 * RATE).astype(np.float32)
    small, large = (through_mp3(rate)(wave, RATE) for rate in (16, 128))
    errors = [np.square(each[: len(wave)] - wave[: len(each)]).mean() for each in (small, large)]
    assert len(small) == pytest.approx(len(wave), abs=2400)
    assert errors[0] > 3 * errors[1]


@pytest.fixture
def files(tmp_path) -> list[Clip]:
    found = []
    for label, pitch in (("blues", 200), ("jazz", 900), ("rock", 3000)):
        path = tmp_path / f"{label}.wav"
        soundfile.write(path, tone(pitch, 12), RATE)
        found.append(Clip(path, label))
    return found


@pytest.fixture
def told_apart(tiny_model, files) -> PECMAE:
    """A model whose prototypes are the z of each class's own tone."""
    model = copy.deepcopy(tiny_model)
    model.head = PrototypeHead(replace(model.head.config, adaptor=False, kernel_scale=1e4), mean=0.1, std=0.7)
    with torch.no_grad():
        model.head.linear.weight.sub_(0.1)  # every prototype says something of every class
        for index, file in enumerate(files):
            z = model.head.normalise(model.embed_track(file.path).z.mean(0))
            model.head.prototypes[2 * index : 2 * index + 2] = torch.stack([z, z + 1e-3])
    return model


def test_what_does_not_change_the_sound_changes_no_reason(told_apart, files, monkeypatch):
    another = soundfile.read(files[2].path, dtype="float32")[0]
    monkeypatch.setattr("pecmae.evaluation.stability.CHANGES", {"nothing": gain(0.0), "another": lambda *_: another})
    found = stability_report(told_apart, files[:2])
    assert found["nothing"] == {"label": 1.0, "strongest": 1.0, "tau": pytest.approx(1.0)}
    assert found["another"]["label"] == found["another"]["strongest"] == 0
    assert found["another"]["tau"] < 0.9


def test_all_changes_are_reported(tiny_model, files):
    assert set(stability_report(tiny_model, files[:1])) == set(CHANGES)


def test_a_timeline_that_tells_the_classes_apart_has_an_area_of_one(told_apart, files):
    found = splice_report(told_apart, files, count=6)
    assert found["splices"] == 6
    assert found["auc"]["value"] == pytest.approx(1.0)
    told_apart.labels = ("jazz", "rock", "blues")  # nothing is where its label says
    assert splice_report(told_apart, files, count=6)["auc"]["value"] < 0.8


def test_short_files_cannot_be_spliced(tiny_model, tmp_path):
    short = []
    for label in ("blues", "jazz"):
        soundfile.write(tmp_path / f"{label}.wav", tone(300, 3), RATE)
        short.append(Clip(tmp_path / f"{label}.wav", label))
    assert splice_report(tiny_model, short) is None


def test_level_floor_and_bandwidth_are_those_of_the_sound(tmp_path):
    wave = np.concatenate([tone(1000, 4), np.zeros(RATE, np.float32) + 1e-3 * tone(1000, 1)])
    soundfile.write(tmp_path / "a.wav", wave, RATE, subtype="FLOAT")
    found = recording_properties(tmp_path / "a.wav", RATE)
    assert found["level"] == pytest.approx(level(wave), abs=0.05)
    assert found["noise floor"] == pytest.approx(level(tone(1000)) - 60, abs=0.2)
    assert found["bandwidth"] == pytest.approx(1000, abs=60)


def test_a_prototype_that_hears_loudness_is_flagged_within_classes(tmp_path):
    rng, gains = np.random.default_rng(0), np.linspace(-30, 0, 24)
    paths = []
    for index, decibels in enumerate(gains):
        paths.append(tmp_path / f"{index}.wav")
        soundfile.write(paths[-1], tone(500, 0.5) * 10 ** (decibels / 20), RATE, subtype="FLOAT")
    labels = np.arange(24) % 2
    similarities = np.stack([rng.normal(size=24), gains / 10 + labels * 50, rng.normal(size=24) + 9 * labels], 1)
    found = listening_report(similarities, labels, paths, RATE, ["quiet 0", "loud 1", "class 2"])
    assert found["level"]["prototype"] == "loud 1"
    assert found["level"]["strongest"] == pytest.approx(1.0)
    assert found["level"]["flagged"] == ["loud 1"]
    assert "source" not in found


def test_a_prototype_that_hears_the_kind_of_file_is_flagged(tmp_path):
    rng, paths = np.random.default_rng(0), []
    for index in range(16):
        paths.append(tmp_path / f"{index}.wav")
        soundfile.write(paths[-1], tone(500, 0.5), 44_100 if index % 2 else 22_050)
    similarities = np.stack([rng.normal(size=16), np.arange(16) % 2 + rng.normal(0, 0.1, 16)], 1)
    found = listening_report(similarities, np.zeros(16, int), paths, RATE, ["a 0", "b 0"])
    assert found["source"]["flagged"] == ["b 0"]
    assert found["source"]["strongest"] > 0.95


def test_a_file_that_is_gone_is_left_out(tmp_path):
    soundfile.write(tmp_path / "a.wav", tone(500), RATE)
    found = listening_report(np.ones((2, 1)), np.zeros(2, int), [tmp_path / "a.wav", tmp_path / "gone.wav"], RATE, ["a 0"])
    assert found["level"] == {"strongest": 0.0, "prototype": "a 0", "flagged": []}
