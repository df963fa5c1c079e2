"""The ear that is not the model's: where a sound's class gets lost is where it says, and pulse is what beats."""

import json

import ear
import musicnn
import numpy as np
import pytest
import torch

from pecmae.audio.segments import write_audio

RATE = 24_000


def clicks(period: float | None, seconds: float = 4.0) -> torch.Tensor:
    """Bursts of noise every `period` seconds; without one, steady noise."""
    noise = np.random.default_rng(0).normal(0, 0.1, round(seconds * RATE))
    if period is not None:
        phase = np.arange(len(noise)) / RATE % period
        noise *= np.exp(-phase / 0.03)
    return torch.from_numpy(noise.astype(np.float32))[None]


def test_pulse_is_high_for_beats_and_low_for_noise():
    assert ear.pulse(clicks(0.5), RATE)[0] > 0.7
    assert ear.pulse(clicks(None), RATE)[0] < 0.25
    # Faster than any beat that counts, but its multiples do count.
    assert ear.pulse(clicks(0.2), RATE)[0] > 0.5


def test_an_ear_hears_the_class_until_the_stage_that_loses_it():
    draws = np.random.default_rng(0)
    classes = np.arange(2).repeat(12)
    waves = torch.from_numpy((classes[:, None] * 2.0 - 1 + draws.normal(0, 0.1, (24, 8))).astype(np.float32))
    segments = ear.Segments(waves, classes, np.arange(24))
    stages = {"clip": waves, "codec": waves * 0.5, "decoded": torch.zeros_like(waves)}
    sounds = torch.tensor([[-1.0], [-1.0], [1.0], [-1.0]]).expand(4, 8)  # the last of the second class is heard as the first
    found = ear.heard(lambda sound: sound.mean(1, keepdim=True).numpy(), stages, segments, sounds)
    assert found == {"clip": 1.0, "codec": 1.0, "decoded": 0.5, "prototypes": 0.75}


def test_a_probe_hears_no_other_segment_of_its_song():
    # Each song has a feature of its own and classes are random: only by its own song could a segment be told.
    draws = np.random.default_rng(0)
    songs = np.arange(60).repeat(2)
    classes = draws.permutation(np.arange(60) % 2)[songs]
    waves = torch.from_numpy(np.eye(60, dtype=np.float32)[songs])
    found = ear.heard(lambda sound: sound.numpy(), {"clip": waves}, ear.Segments(waves, classes, songs), waves[:2])
    assert found["clip"] < 0.7


def test_the_command_measures_every_stage_and_ear(tiny_model_dir, tmp_path, capsys):
    for label, pitch in {"blues": 200, "jazz": 800, "rock": 3200}.items():
        (tmp_path / label).mkdir()
        for number in range(2):
            time = np.arange(round(1.2 * RATE)) / RATE
            write_audio(tmp_path / label / f"{number}.wav", (0.3 * np.sin(2 * np.pi * pitch * time)).astype(np.float32), RATE)
    ear.main([str(tmp_path), "--model", str(tiny_model_dir), "--per-song", "1", "--num-inference-steps", "2"])
    found = json.loads(capsys.readouterr().out)
    assert (found["num_segments"], found["num_songs"], found["chance"]) == (6, 6, pytest.approx(1 / 3))
    assert found["heard"]["log-mel"]["clip"] == 1.0
    assert set(found["heard"]["log-mel"]) == set(found["pulse"]) == {"clip", "codec", "decoded", "prototypes"}


def test_mel_filters_cover_the_spectrum_with_area_one():
    filters = musicnn.mel_filters()
    assert filters.shape == (96, 257)
    step = musicnn.SAMPLING_RATE / musicnn.N_FFT
    np.testing.assert_allclose(filters.sum(1)[40:] * step, 1, atol=0.1)  # wide enough for bins to sample them
    # Mel scale: 1000 Hz is 15, 6400 Hz is 42.
    assert musicnn._to_mel(6400.0) == pytest.approx(42)
    np.testing.assert_allclose(musicnn._to_hertz(np.array([3.0, 15.0, 42.0])), [200, 1000, 6400])


def random_weights() -> dict[str, np.ndarray]:
    draws = np.random.default_rng(0)
    shapes = {0: (7, 86, 1, 4), 1: (7, 38, 1, 4), 2: (128, 1, 1, 2), 3: (64, 1, 1, 2), 4: (32, 1, 1, 2)}
    shapes |= {5: (7, 14, 1, 6), 6: (7, 6, 1, 6), 7: (7, 6, 1, 6)}
    sizes = [1, 4, 4, 2, 2, 2, 6, 6, 6, 64, 5]
    weights = {}
    for number, shape in shapes.items():
        name = f"conv2d_{number}" if number else "conv2d"
        weights |= {f"{name}/kernel": draws.normal(0, 0.1, shape), f"{name}/bias": draws.normal(0, 0.1, shape[3])}
    for number, size in enumerate(sizes):
        name = f"batch_normalization_{number}" if number else "batch_normalization"
        weights |= {
            f"{name}/{part}": draws.uniform(0.5, 1, size) for part in ("moving_mean", "moving_variance", "gamma", "beta")
        }
    return weights | {"dense/kernel": draws.normal(0, 0.1, (64, 5)), "dense/bias": np.zeros(5)}


def test_features_of_a_sound_are_means_over_its_patches(tmp_path):
    np.savez(tmp_path / "weights.npz", **random_weights())
    network = musicnn.MusiCNN(tmp_path / "weights.npz")
    sound = clicks(0.4, 6.0)[0].numpy()
    found = network.features(sound, RATE)
    assert found.shape == (5,)
    frames = network.log_mel(musicnn.soxr.resample(sound, RATE, musicnn.SAMPLING_RATE))
    patches = torch.stack([frames[at : at + 187] for at in (0, 93, 186)])
    np.testing.assert_allclose(found, network(patches).mean(0), atol=1e-6)
    assert np.abs(found - network(patches[:1])[0].numpy()).max() > 1e-6
    assert network.features(sound[: RATE // 2], RATE).shape == (5,)  # shorter than a patch
