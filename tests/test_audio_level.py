"""Sounds that people play are equally loud and begin and end without a click."""

import numpy as np
import pytest

from pecmae.audio.level import FADE_SECONDS, PEAK, TARGET_LUFS, for_playing, loudness

RATE = 24_000


def noise(gain: float, seconds: float = 2.0) -> np.ndarray:
    return (gain * np.random.default_rng(0).normal(0, 1, round(seconds * RATE))).astype(np.float32)


def test_loudness_of_a_full_scale_sine_at_1_khz_is_that_of_the_standard() -> None:
    sine = np.sin(2 * np.pi * 997 * np.arange(2 * RATE) / RATE).astype(np.float32)
    assert loudness(sine, RATE) == pytest.approx(-3.01, abs=0.1)


@pytest.mark.parametrize("gain", [0.01, 0.05, 0.3])
def test_quiet_and_loud_sounds_are_played_at_one_loudness(gain: float) -> None:
    assert loudness(for_playing(noise(gain), RATE), RATE) == pytest.approx(TARGET_LUFS, abs=0.2)


@pytest.mark.parametrize("seconds", [2.0, 0.1, 0.005])
def test_sounds_of_any_length_begin_and_end_at_zero(seconds: float) -> None:
    played = for_playing(noise(0.1, seconds), RATE)
    assert played.dtype == np.float32
    assert len(played) == round(seconds * RATE)
    assert played[[0, -1]].tolist() == [0.0, 0.0]
    assert np.abs(played).max() > 0


def test_only_the_first_and_last_ten_milliseconds_are_faded() -> None:
    samples, width = noise(0.1), round(FADE_SECONDS * RATE)
    gains = for_playing(samples, RATE)[width:-width] / samples[width:-width]
    np.testing.assert_allclose(gains, gains[0], rtol=1e-5)


def test_peaks_stay_below_full_scale_and_almost_silence_stays_quiet() -> None:
    clicks = np.zeros(2 * RATE, np.float32)
    clicks[1000::4000] = 0.5
    assert np.abs(for_playing(clicks, RATE)).max() == pytest.approx(PEAK, rel=1e-4)
    faint = noise(1e-4)
    assert np.abs(for_playing(faint, RATE)).max() <= 10 ** (24 / 20) * np.abs(faint).max() * 1.0001
    assert not for_playing(np.zeros(RATE, np.float32), RATE).any()
    assert len(for_playing(np.zeros(0, np.float32), RATE)) == 0


def test_the_sound_that_is_given_stays_as_it_is() -> None:
    samples = noise(0.1)
    before = samples.copy()
    for_playing(samples, RATE)
    np.testing.assert_array_equal(samples, before)
