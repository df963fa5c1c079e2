import json

import numpy as np
import pytest
import soundfile
import torch

from pecmae.core.batches import BatchSize
from pecmae.data.collection import LabelledFile
from pecmae.evaluation.sounds import SonificationCheck, check_codec, check_round_trip, check_sonification, stft_distance
from pecmae.explain.sounds import PrototypeSounds

RATE = 24_000


def check(**changes) -> SonificationCheck:
    """Two classes of two prototypes, two seeds each."""
    facts = {
        "labels": ("a", "b"),
        "heard_as": np.array([[0, 0], [0, 1], [1, 1], [1, 1]]),
        "nearest": np.array([[0, 1], [1, 1], [2, 2], [2, 2]]),
        "rms": np.full((4, 2), 0.1),
        "peak": np.full((4, 2), 0.5),
        "z": np.zeros((4, 2, 3)),
        "listeners": {"other": np.array([[0, 1], [1, 1], [1, 1], [0, 0]])},
    }
    return SonificationCheck(**(facts | changes))


def test_sonification_shares():
    found = check()
    assert found.own_class == 7 / 8
    assert found.own_class_by_label() == {"a": 0.75, "b": 1.0}
    assert found.same_prototype == 5 / 8


def test_a_listener_places_a_prototype_right_in_more_than_half_of_its_sounds():
    found = check()
    assert found.own_class_by_label("other") == {"a": 0.25, "b": 0.5}
    # Half of a 0's sounds are not more than half.
    assert found.placed_right("other") == {"a": 0, "b": 1}
    assert found.to_dict()["listeners"]["other"]["own_class"] == 3 / 8


def test_seed_share_is_0_where_seeds_agree_and_1_where_prototypes_do():
    values = np.arange(4.0)[:, None, None]
    assert check(z=np.broadcast_to(values, (4, 2, 3))).seed_share == 0
    assert check(z=np.broadcast_to(np.arange(2.0)[None, :, None], (4, 2, 3))).seed_share == 1


def test_levels_are_decibels():
    rms = np.full((4, 2), 0.1)
    rms[0, 0] = 0.01
    rms[3, 1] = 0
    found = check(rms=rms).to_dict()
    assert found["level_db"] == {"lowest": -120, "median": pytest.approx(-20), "highest": pytest.approx(-20)}
    assert found["silent"] == 1 / 8


@pytest.mark.filterwarnings("ignore::pecmae.AudioWarning")
def test_prototypes_are_heard_again(tiny_model, tmp_path):
    class Rock:
        def hear(self, waves):
            assert waves.shape == (6, 9600)
            return np.full(len(waves), 2)

    found = check_sonification(tiny_model, seeds=[0, 1], listeners={"rock": Rock()})
    assert found.heard_as.shape == (6, 2)
    wave = tiny_model.sonify("blues", prototype=0)
    assert found.rms[0, 0] == pytest.approx(np.sqrt(np.square(wave).mean()), rel=1e-3)
    assert tiny_model.labels[found.heard_as[0, 0]] == tiny_model.predict(wave, sampling_rate=RATE).label
    assert found.own_class_by_label("rock") == {"blues": 0, "jazz": 0, "rock": 1}
    json.dumps(found.to_dict())
    kept = check_sonification(tiny_model, seeds=[0, 1], sounds=PrototypeSounds(tiny_model, tmp_path))
    np.testing.assert_allclose(kept.z, found.z, atol=0.02)
    assert len(list(tmp_path.rglob("*.flac"))) == 12


def test_a_round_trip_compares_each_segment_with_what_is_decoded_of_it(tiny_model, tone, tmp_path, monkeypatch):
    soundfile.write(tmp_path / "tone.wav", tone, RATE, subtype="FLOAT")
    files = [LabelledFile(tmp_path / "tone.wav", "jazz")]
    # 1.1 s hold two whole segments of 0.4 s.
    segments = torch.from_numpy(tone[:19_200]).reshape(2, 9600)
    monkeypatch.setattr(tiny_model.autoencoder, "decode", lambda z, **options: segments)
    assert check_round_trip(tiny_model, files) == {
        "label_survives": 1, "clip_label_survives": 1, "cosine": pytest.approx(1, abs=1e-5), "num_segments": 2, "num_clips": 1
    }  # fmt: skip
    monkeypatch.setattr(tiny_model.autoencoder, "decode", lambda z, **options: segments.flip(0))
    first, second = tiny_model.embed(tone[:19_200], sampling_rate=RATE)
    cosine = first @ second / np.linalg.norm(first) / np.linalg.norm(second)
    assert check_round_trip(tiny_model, files)["cosine"] == pytest.approx(cosine, abs=1e-5)


@pytest.mark.parametrize("size", [1, 3, 8])
def test_round_trips_of_tracks_that_share_batches_are_those_of_each_alone(tiny_model, tone, tmp_path, monkeypatch, size):
    files = []
    for number, seconds in enumerate((1.1, 0.4, 0.9)):
        path = tmp_path / f"{number}.wav"
        soundfile.write(path, np.roll(tone, 997 * number)[: round(seconds * RATE)], RATE, subtype="FLOAT")
        files.append(LabelledFile(path, "jazz"))
    # What is decoded depends on z alone, so that no company changes it.
    waves = torch.outer(torch.linspace(-1, 1, 16), torch.sin(torch.arange(9600) / 9))
    monkeypatch.setattr(tiny_model.autoencoder, "decode", lambda z, **options: (z @ waves) / 9)
    monkeypatch.setattr(BatchSize, "of_segments", lambda device: BatchSize(size))
    alone = [check_round_trip(tiny_model, [file]) for file in files]
    together = check_round_trip(tiny_model, files)
    counts = [found["num_segments"] for found in alone]
    assert (counts, together["num_segments"], together["num_clips"]) == ([2, 1, 2], 5, 3)
    for name, weights in (("label_survives", counts), ("clip_label_survives", None)):
        expected = np.average([found[name] for found in alone], weights=weights)
        assert together[name] == pytest.approx(expected, abs=1e-6)


def test_stft_distance_of_a_sound_is_0_to_itself_and_grows():
    noise = torch.randn(1, 8192, generator=torch.Generator().manual_seed(0))
    assert stft_distance(noise, noise) == 0
    # Half the amplitude: a convergence of a half and a log error of ln 2, but for the floor.
    assert stft_distance(noise / 2, noise) == pytest.approx(0.5 + np.log(2), rel=0.01)


def test_a_codec_that_halves_the_level_is_6_decibels_down(tiny_autoencoder, monkeypatch):
    monkeypatch.setattr(tiny_autoencoder, "extract_features", lambda wav: wav / 2)
    monkeypatch.setattr(tiny_autoencoder, "features_to_wav", lambda features: features)
    noise = torch.randn(8192, generator=torch.Generator().manual_seed(0)) / 4
    found = check_codec(tiny_autoencoder, [noise, noise])
    assert found["level_db"] == pytest.approx(-6.02, abs=0.01)
    assert found["log_mel"] == pytest.approx(np.log(2), rel=0.01)
    assert found["num_segments"] == 2
