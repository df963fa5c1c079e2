"""Whether a model knows what it does not know."""

from dataclasses import replace

import numpy as np
import pytest
import soundfile
import torch

from pecmae import ConfigError, PrototypeHead
from pecmae.data.embedding_cache import EmbeddingCache
from pecmae.data.tracks import EmbeddedTracks
from pecmae.evaluation.leave_one_out import leave_one_class_out, mean_auroc
from pecmae.evaluation.unknown import detection_report, unknown_report
from pecmae.prototypes.calibration import calibrate
from pecmae.prototypes.fitting import HEAD_SETTINGS
from test_calibration import tracks_around


def test_detection_by_hand():
    found = detection_report(np.array([0.0, 1, 2, 3]), np.array([2.0, 5]))
    # 5 is above all four, 2 above two and beside one.
    assert found["auroc"] == pytest.approx((4 + 2.5) / 8)
    assert found["false_positives"] == pytest.approx(0.5)


def test_what_is_the_same_is_not_told_apart():
    values = np.random.default_rng(0).normal(size=400)
    found = detection_report(values, values)
    assert found["auroc"] == pytest.approx(0.5)
    assert found["false_positives"] == pytest.approx(0.95)


def clusters(seed: int, places: torch.Tensor, count: int = 12) -> EmbeddedTracks:
    labels = torch.arange(count * len(places)) % len(places)
    z = places[labels].repeat_interleave(2, 0) + 0.3 * torch.randn(
        2 * len(labels), places.shape[1], generator=torch.Generator().manual_seed(seed)
    )
    return EmbeddedTracks(z, torch.arange(len(labels)).repeat_interleave(2), labels)


def test_a_class_that_lies_apart_is_strange_to_a_head_that_never_met_it(tiny_model):
    # Two classes overlap, the third lies elsewhere.
    places = torch.zeros(3, 16)
    places[2] = 5.0
    config = replace(tiny_model.head.config, adaptor=False)
    settings = replace(HEAD_SETTINGS, steps=20, batch_size=16)
    found = leave_one_class_out(
        config, ("a", "b", "far"), clusters(0, places), {"test": clusters(1, places)}, settings=settings
    )["test"]
    assert list(found) == ["a", "b", "far"]
    assert found["far"]["auroc"] > 0.99
    assert found["far"]["false_positives"] == 0
    assert found["a"]["auroc"] < 0.75
    assert mean_auroc(found) == pytest.approx(np.mean([one["auroc"] for one in found.values()]))


def test_a_class_without_test_tracks_is_left_out(tiny_model):
    places = torch.eye(3, 16) * 5
    test = clusters(1, places)
    settings = replace(HEAD_SETTINGS, steps=2, batch_size=16)
    found = leave_one_class_out(
        replace(tiny_model.head.config, adaptor=False),
        "abc",
        clusters(0, places),
        {"some": test.chosen(test.track_labels > 0), "all": test},
        settings=settings,
    )
    assert {name: list(reports) for name, reports in found.items()} == {"some": ["b", "c"], "all": ["a", "b", "c"]}


def test_chosen_tracks_keep_all_that_is_theirs(tiny_model):
    tracks = tracks_around(tiny_model.head, 5, segments=2)
    tracks = replace(tracks, names=tuple("abcde"), offsets=torch.arange(10.0), weights=torch.linspace(0.1, 1, 10))
    some = tracks.chosen(torch.tensor([False, True, False, True, True]))
    assert some.names == ("b", "d", "e")
    assert some.tracks.tolist() == [0, 0, 1, 1, 2, 2]
    assert some.track_labels.tolist() == tracks.track_labels[[1, 3, 4]].tolist()
    rows = [2, 3, 6, 7, 8, 9]
    assert torch.equal(some.z, tracks.z[rows])
    assert some.offsets.tolist() == rows
    assert torch.equal(some.weights, tracks.weights[rows])


def test_sound_that_is_none_of_the_classes_is_reported_by_its_folder(tiny_model, tmp_path):
    model = type(tiny_model)(
        tiny_model.autoencoder, PrototypeHead(tiny_model.head.config, mean=0.1, std=0.7), tiny_model.labels
    )
    known = tracks_around(model.head, 60, seed=1)
    cache = EmbeddingCache(tmp_path / "cache", model.autoencoder, model.preparation)
    folder = tmp_path / "tones"
    folder.mkdir()
    for number in range(3):
        soundfile.write(folder / f"{number}.wav", 0.1 * np.random.default_rng(number).standard_normal(24_000), 24_000)
    (folder / "broken.wav").write_bytes(b"RIFF")
    with pytest.raises(ConfigError, match="pecmae calibrate"):
        unknown_report(model, known, [folder], cache)
    model.calibration = calibrate(model.head, known, tracks_around(model.head, 90, seed=2))
    (found,) = unknown_report(model, known, [folder], cache).values()
    assert found["sounds"] == 3
    # Far from everything that the random head was calibrated on.
    assert found["refused"] == 1
    assert found["auroc"] > 0.99
    with pytest.raises(ConfigError, match=r"broken\.wav: no audio in it can be read"):
        unknown_report(model, known, [folder / "broken.wav"], cache)
