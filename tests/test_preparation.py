"""What is put right in sound before it is embedded, what a segment of it is worth, and what is said of it."""

import warnings

import numpy as np
import pytest

from pecmae.audio.preparation import PREPARED, PUBLISHED, ChannelMixer, Preparation, Survey
from pecmae.audio.segments import iter_segments
from pecmae.errors import AudioWarning

RATE = 8000
SEGMENT = 4 * RATE


def noise(seconds: float, level: float = 0.1, seed: int = 0) -> np.ndarray:
    return (level * np.random.default_rng(seed).standard_normal(round(seconds * RATE))).astype(np.float32)


def surveyed(wav: np.ndarray, preparation: Preparation = PREPARED) -> tuple[Survey, list[np.ndarray]]:
    """What is learned of a track, and its segments as they are embedded."""
    survey = Survey(preparation, SEGMENT, RATE)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AudioWarning)
        pieces = iter_segments(wav, segment_samples=SEGMENT, target_rate=RATE, sampling_rate=RATE, survey=survey)
        return survey, [piece.samples for piece in pieces]


# What a segment is worth


@pytest.mark.parametrize(
    ("seconds", "weights"), [(8, [1, 1]), (4.05, [1, 0.0125]), (6, [1, 0.5]), (1, [0.25]), (8.5, [1, 1, 0.125])]
)
def test_the_last_segment_is_worth_its_length(seconds: float, weights: list[float]) -> None:
    survey, _ = surveyed(noise(seconds))
    np.testing.assert_allclose(survey.weights, weights, atol=1e-6)
    assert survey.audible_seconds == pytest.approx(seconds)
    assert survey.notes == []


def test_silence_is_worth_nothing() -> None:
    wav = np.concatenate([noise(6), np.zeros(10 * RATE, np.float32)])
    survey, _ = surveyed(wav)
    np.testing.assert_allclose(survey.weights, [1, 0.5, 0, 0], atol=1e-6)
    assert survey.silent.tolist() == [False, False, True, True]
    assert survey.notes == ["is silent for 10.0 of 16.0 s; only the rest counts"]


def test_the_noise_between_two_pieces_is_silence_beside_them_but_not_alone() -> None:
    loud, hiss = noise(4, 0.2), noise(4, 0.2 * 10 ** (-55 / 20), seed=1)
    assert surveyed(np.concatenate([loud, hiss]))[0].weights.tolist() == [1, 0]
    assert surveyed(hiss)[0].weights.tolist() == [1]


def test_where_all_is_silent_length_alone_counts() -> None:
    survey, _ = surveyed(np.zeros(6 * RATE, np.float32))
    np.testing.assert_allclose(survey.weights, [1, 0.5])
    assert survey.notes == ["is silent (peak 0); its label means nothing"]


def test_the_published_rule_weighs_all_segments_the_same() -> None:
    survey, segments = surveyed(np.concatenate([noise(5) + 0.2, np.zeros(4 * RATE, np.float32)]).astype(np.float32), PUBLISHED)
    assert survey.weights.tolist() == [1, 1, 1]
    assert segments[0].mean() == pytest.approx(0.2, abs=0.01)


# What is put right


def test_a_constant_offset_is_removed_from_each_segment_and_said() -> None:
    clean = noise(8)
    centred = clean - np.concatenate([np.full(SEGMENT, part.mean()) for part in clean.reshape(2, -1)])
    survey, segments = surveyed((clean + 0.1).astype(np.float32))
    np.testing.assert_allclose(np.concatenate(segments), centred, atol=1e-6)
    assert survey.notes == ["holds a constant offset of 0.1, which nobody hears; it was removed"]
    assert surveyed(clean)[0].notes == []


def test_an_offset_alone_is_silence() -> None:
    survey, segments = surveyed(np.full(SEGMENT, 0.3, np.float32))
    assert survey.silent.all()
    assert np.abs(segments[0]).max() < 1e-6


def test_padding_stays_zero_when_an_offset_is_removed() -> None:
    _, segments = surveyed((noise(1) + 0.1).astype(np.float32))
    assert not segments[0][RATE:].any()


@pytest.mark.parametrize("gain", [1.0, 10 ** (-1 / 20), 0.5])
def test_an_inverted_channel_is_turned_over(gain: float) -> None:
    wav = noise(4)
    survey, segments = surveyed(np.stack([wav, -gain * wav]))
    np.testing.assert_allclose(segments[0], wav * (1 + gain) / 2 - (wav * (1 + gain) / 2).mean(), atol=1e-6)
    assert "one channel is inverted against another in 100% of it" in survey.notes[0]
    assert survey.notes[0].endswith("it was turned over before mixing")


def test_left_and_right_that_are_merely_different_stay_as_they_are() -> None:
    left, right = noise(4), noise(4, seed=1)
    survey, segments = surveyed(np.stack([left, right - 0.4 * left]))
    mean = (0.6 * left + right) / 2
    np.testing.assert_allclose(segments[0], mean - mean.mean(), atol=1e-6)
    assert survey.notes == []


def test_an_inverted_channel_stays_where_nothing_is_put_right() -> None:
    wav = noise(4)
    survey, segments = surveyed(np.stack([wav, -wav]), PUBLISHED)
    assert not segments[0].any()
    assert survey.notes[0].endswith("mixing takes away what is heard")


def test_polarity_does_not_flicker_between_blocks() -> None:
    mixer, wav, other = ChannelMixer(PREPARED), noise(1), noise(1, seed=1)
    inverted = np.stack([wav, -wav], 1)
    doubtful = np.stack([wav, other - 0.1 * wav], 1)  # correlation of -0.1: neither upright nor inverted
    assert mixer.mix(doubtful).tolist() == pytest.approx(doubtful.mean(1).tolist(), abs=1e-6)
    np.testing.assert_allclose(mixer.mix(inverted), wav, atol=1e-6)
    np.testing.assert_allclose(mixer.mix(doubtful), (doubtful * [1, -1]).mean(1), atol=1e-6)
    upright = np.stack([wav, wav], 1)
    np.testing.assert_allclose(mixer.mix(upright), wav, atol=1e-6)
    assert (mixer.mixed, mixer.turned) == (4 * RATE, 2 * RATE)


def test_mono_is_never_turned_and_first_channels_keep_their_sign() -> None:
    wav = noise(1)
    np.testing.assert_array_equal(ChannelMixer(PREPARED).mix(-wav[:, None]), -wav)
    np.testing.assert_allclose(ChannelMixer(PREPARED).mix(np.stack([-wav, 3 * wav], 1)), -2 * wav, atol=1e-6)


# What is said


@pytest.mark.parametrize(
    ("wav", "note"),
    [
        (noise(4, 1000.0), r"reaches \d+, but samples should lie within ±1"),
        (noise(4, 1.0), r"goes 1\d dB above full scale; a label depends on the level"),
        (noise(4, 0.001), r"is very quiet \(peak -4\d dB\); a label depends on the level"),
        (noise(0.004), r"holds only 0\.004 s of sound, too little to tell"),
        (noise(1 / RATE, 10.0) * 0 + 0.5, r"is silent"),
    ],
)
def test_a_level_or_a_length_that_misleads_is_said(wav: np.ndarray, note: str) -> None:
    with pytest.warns(AudioWarning, match=note):
        list(
            iter_segments(
                wav.astype(np.float32),
                segment_samples=SEGMENT,
                target_rate=RATE,
                sampling_rate=RATE,
                survey=Survey(PREPARED, SEGMENT, RATE),
            )
        )


def test_an_ordinary_track_is_not_commented_on() -> None:
    assert surveyed(noise(30))[0].notes == []


def test_whole_segments_are_centred_by_the_same_rule() -> None:
    waves = np.stack([noise(1) + 0.1, noise(1, seed=2) - 0.2])
    np.testing.assert_allclose(PREPARED.centre(waves).mean(1), 0, atol=1e-6)
    np.testing.assert_array_equal(PUBLISHED.centre(waves), waves)
