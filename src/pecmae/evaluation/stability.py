"""Whether reasons stay when the sound stays: small changes of a recording, and recordings put together of two classes.

Shapes: N samples, M prototypes.
"""

import io
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any

import numpy as np
import soundfile

from pecmae.audio.segments import load_audio
from pecmae.data.collection import LabelledFile
from pecmae.errors import AudioWarning
from pecmae.evaluation.faithfulness import MeanOfTracks
from pecmae.model import PECMAE
from pecmae.prototypes.explanations import Explanation, explanation_of

# Of a track, what is changed; of two tracks, what is put together.
CHANGED_SECONDS, SPLICED_SECONDS = 30, 10
NOISE_DB = -30.0
# Bit rates of MP3, in kbit/s, from the smallest to the largest, at rates below 32 kHz and from there on.
_LOW_RATES, _HIGH_RATES = (8, 160), (32, 320)
_HIGH_RATE_HZ = 32_000

Change = Callable[[np.ndarray, int], np.ndarray]
"""Samples [shape=(N,)] at a rate in Hz to others, of about as many."""


def through_mp3(kilobits: int) -> Change:
    """What a sound is after MP3 at a constant bit rate."""

    def change(wave: np.ndarray, sampling_rate: int) -> np.ndarray:
        least, most = _HIGH_RATES if sampling_rate >= _HIGH_RATE_HZ else _LOW_RATES
        level = (most - min(max(kilobits, least), most)) / (most - least)
        options = {"format": "MP3", "subtype": "MPEG_LAYER_III", "bitrate_mode": "CONSTANT", "compression_level": level}
        buffer = io.BytesIO()
        with soundfile.SoundFile(buffer, "w", samplerate=sampling_rate, channels=1, **options) as file:
            file.write(np.clip(wave, -1, 1))
        buffer.seek(0)
        return np.asarray(soundfile.read(buffer, dtype="float32")[0])

    return change


def gain(decibels: float) -> Change:
    """A louder or softer sound."""
    return lambda wave, _: wave * np.float32(10 ** (decibels / 20))


def shift(seconds: float) -> Change:
    """A sound that begins later in the recording."""
    return lambda wave, sampling_rate: wave[round(seconds * sampling_rate) :]


def noise(decibels: float) -> Change:
    """White noise, so many dB beside the sound's own level."""

    def change(wave: np.ndarray, _: int) -> np.ndarray:
        level = np.sqrt(np.square(wave).mean()) * 10 ** (decibels / 20)
        return wave + (level * np.random.default_rng(0).standard_normal(len(wave))).astype(np.float32)

    return change


CHANGES: Mapping[str, Change] = MappingProxyType(
    {
        "mp3 at 64 kbit/s": through_mp3(64),
        "mp3 at 128 kbit/s": through_mp3(128),
        "0.5 dB louder": gain(0.5),
        "0.5 dB softer": gain(-0.5),
        "50 ms later": shift(0.05),
        "noise at 30 dB": noise(NOISE_DB),
    }
)


def stability_report(model: PECMAE, files: Sequence[LabelledFile]) -> dict[str, dict[str, float]]:
    """Change the first 30 s of each file a little, and see whether label and reasons stay.

    Returns
    -------
    dict
        For each of `CHANGES`, shares of the tracks: `label` stays, `strongest` prototype stays; and `tau`, Kendall's of the
        ranking of all prototypes by what they gave to the first label.
    """
    from scipy.stats import kendalltau

    rate = model.sampling_rate
    found: dict[str, list[tuple[bool, bool, float]]] = {name: [] for name in CHANGES}
    for file in files:
        wave = load_audio(file.path, target_rate=rate)[: CHANGED_SECONDS * rate]
        before = _explained(model, wave)
        reasons = _reasons(before, before.label)
        for name, change in CHANGES.items():
            after = _explained(model, change(wave, rate))
            same = before.similarities.argmax() == after.similarities.argmax()
            tau = float(kendalltau(reasons, _reasons(after, before.label)).statistic)
            found[name].append((after.label == before.label, bool(same), tau))
    columns = {name: np.array(rows, float).mean(0) for name, rows in found.items()}
    return {name: dict(zip(("label", "strongest", "tau"), map(float, row), strict=True)) for name, row in columns.items()}


def splice_report(model: PECMAE, files: Sequence[LabelledFile], *, count: int = 20, seed: int = 0) -> dict[str, Any] | None:
    """Put 10 s of one class before 10 s of another and see whether the timeline knows which is which.

    Segments are told apart by what speaks for the one class against the other; those that hold both are left out.

    Returns
    -------
    dict, or None where there are no two files of different classes that are long enough
        `auc` with its interval over splices (1: every moment of the one class speaks more for it than any of the other; 0.5:
        chance) and the number of `splices`.
    """
    rate, length = model.sampling_rate, SPLICED_SECONDS * model.sampling_rate
    waves: dict[int, np.ndarray] = {}
    draws = np.random.default_rng(seed)
    values: list[float] = []
    for one, other in draws.integers(len(files), size=(20 * count, 2)):
        if len(values) == count:
            break
        if files[one].label == files[other].label:
            continue
        for index in (one, other):
            if index not in waves:
                waves[index] = load_audio(files[index].path, target_rate=rate)[:length]
        if min(len(waves[one]), len(waves[other])) < length:
            continue
        values.append(_splice_auc(model, waves[one], waves[other], (files[one].label, files[other].label)))
    if not values:
        return None
    return {"auc": MeanOfTracks.of(np.array(values)).to_dict(), "splices": len(values)}


def _splice_auc(model: PECMAE, one: np.ndarray, other: np.ndarray, labels: tuple[str, str]) -> float:
    with said_before():
        track = model.embed_track(np.concatenate([one, other]), sampling_rate=model.sampling_rate)
    explanation = explanation_of(model.head, model.labels, model.classify(track))
    speaks = explanation.contrast(*labels).segments
    ends = track.offsets + model.encoder.segment_samples
    first, second = speaks[ends <= len(one)], speaks[(track.offsets >= len(one)) & (track.weights > 0)]
    above = first[:, None] - second
    return float(((above > 0) + 0.5 * (above == 0)).mean())


@contextmanager
def said_before() -> Iterator[None]:
    """What is odd about a recording was said of its file."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AudioWarning)
        yield


def _explained(model: PECMAE, wave: np.ndarray) -> Explanation:
    with said_before():
        return explanation_of(model.head, model.labels, model.predict(wave, sampling_rate=model.sampling_rate))


def _reasons(explanation: Explanation, label: str) -> np.ndarray:
    given = explanation.contributions if explanation.differences is None else explanation.differences
    return given[explanation.labels.index(label)]
