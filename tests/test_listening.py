import numpy as np
import pytest
import soundfile
import torch
from sklearn.linear_model import LogisticRegression

from pecmae.data.collection import LabelledFile
from pecmae.data.tracks import EmbeddedTracks
from pecmae.evaluation.baselines import Standardised, evaluate_classifier
from pecmae.evaluation.listener import STRENGTHS, Listener, LogMelStatistics, file_segments, spread, track_statistics

RATE = 24_000
LABELS = ("noise", "tone")


def sound(label: str, draws: np.random.Generator, seconds: float = 1.2) -> np.ndarray:
    time = np.arange(round(seconds * RATE)) / RATE
    wave = np.sin(2 * np.pi * draws.uniform(100, 4000) * time) if label == "tone" else draws.normal(0, 1, len(time))
    return (wave * draws.uniform(0.02, 0.5)).astype(np.float32)


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> list[LabelledFile]:
    folder, draws = tmp_path_factory.mktemp("sounds"), np.random.default_rng(0)
    found = [LabelledFile(folder / f"{label}{n}.wav", label) for n in range(12) for label in LABELS]
    for file in found:
        soundfile.write(file.path, sound(file.label, draws), RATE)
    return found


def test_the_listener_tells_tones_from_noise(files, tmp_path):
    train, validation, test = (
        track_statistics(part, LABELS, tmp_path, RATE) for part in (files[:12], files[12:18], files[18:])
    )
    listener = Listener(train, validation, LABELS, RATE)
    assert evaluate_classifier(listener, test, LABELS).accuracy == 1.0
    draws = np.random.default_rng(1)
    assert listener.hear(np.stack([sound(label, draws) for label in ("tone", "noise", "tone")])).tolist() == [1, 0, 1]


@pytest.mark.parametrize("wanted", STRENGTHS)
def test_validation_chooses_the_strength_of_the_penalty(wanted):
    draws = np.random.default_rng(0)
    labels = np.arange(60) % 3
    z = draws.normal(size=(3, 12))[labels] + draws.normal(0, 2, (60, 12))
    data = EmbeddedTracks(torch.from_numpy(z).float(), torch.arange(60), torch.from_numpy(labels))
    # Validation tracks of which only the wanted regression says what they are labelled.
    standardised, others = Standardised(data.z.numpy()), draws.normal(0, 2, (4000, 12))
    answers = {
        strength: LogisticRegression(C=strength, max_iter=300).fit(standardised(data.z.numpy()), labels).predict(
            standardised(others)
        )
        for strength in STRENGTHS
    }  # fmt: skip
    alone = np.all([found != answers[wanted] for strength, found in answers.items() if strength != wanted], axis=0)
    chosen = torch.from_numpy(answers[wanted][alone])
    validation = EmbeddedTracks(torch.from_numpy(others[alone]).float(), torch.arange(len(chosen)), chosen)
    listener = Listener(data, validation, ("a", "b", "c"), RATE)
    assert listener.regression.get_params()["C"] == wanted
    assert evaluate_classifier(listener, validation, ("a", "b", "c")).accuracy == 1.0


def test_the_level_does_not_count():
    statistics = LogMelStatistics(RATE)
    wave = torch.from_numpy(sound("noise", np.random.default_rng(0)))[None]
    torch.testing.assert_close(statistics(wave), statistics(wave / 50), atol=1e-4, rtol=1e-4)
    assert statistics(torch.zeros(1, RATE)).isfinite().all()
    assert statistics(wave).shape == (1, statistics.size)


def test_statistics_are_computed_once_and_follow_what_the_sound_went_through(files, tmp_path):
    calls = []

    def silenced(wav):
        calls.append(wav.shape)
        return torch.zeros_like(wav)

    first = track_statistics(files[:3], LABELS, tmp_path, RATE, through=silenced, key="silence")
    again = track_statistics(files[:3], LABELS, tmp_path, RATE, through=silenced, key="silence")
    assert calls == [(1, round(1.2 * RATE))] * 3
    assert torch.equal(first.z, again.z)
    assert torch.equal(first.z[0], first.z[1])
    assert not torch.equal(first.z, track_statistics(files[:3], LABELS, tmp_path, RATE).z)


def test_segments_are_whole_but_for_the_last(tmp_path):
    soundfile.write(tmp_path / "long.wav", np.full(5 * RATE // 2, 0.1, np.float32), RATE)
    assert [len(part) for part in file_segments(tmp_path / "long.wav", 1.0, RATE)] == [RATE, RATE]
    assert [len(part) for part in file_segments(tmp_path / "long.wav", 4.0, RATE)] == [5 * RATE // 2]


@pytest.mark.parametrize(
    ("count", "expected"), [(1, [4]), (2, [2, 6]), (3, [1, 4, 6]), (8, list(range(8))), (20, list(range(8)))]
)
def test_spread_segments_are_different_ones(count, expected):
    assert spread(range(8), count) == expected
