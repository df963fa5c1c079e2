"""How sound is prepared before it is embedded, and what each segment of it is worth: the one place that decides.

Recordings hold things that nobody hears and a model does: a constant offset, a channel of the wrong polarity, silence and the
rest of a segment that count like music. `Preparation` says which of them are put right; what was done is said in `Survey`.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

WINDOW_SECONDS = 0.1  # in which sound is told from silence
SILENCE = 1e-4  # RMS, -80 dB of full scale: below the noise of any recording
SILENCE_BELOW_LOUDEST = 10 ** (-50 / 20)  # of a track's loudest segment: the noise of a recording between two pieces
INVERTED = -0.7  # correlation of a channel with the others, from which on mixing takes away most of what is heard
UPRIGHT = 0.0  # and the one that an inverted channel has to reach to count as upright again

OFFSET_TO_SAY = 0.01
OFFSET_BESIDE_SOUND = 0.1  # of the RMS of the sound: the mean of noise or of a few periods is no offset
LOUD_PEAK = 64.0  # float audio lies within ±1; integers that nobody divided lie far outside
HOT_PEAK = 2.0  # decoded mp3 and Vorbis go past ±1, but hardly by 6 dB
QUIET_PEAK = 0.01  # -40 dB
MAXIMUM_SAMPLE = 2.0**32  # no format holds larger ones; arithmetic on them ends in infinity
SILENT_SHARE_TO_SAY = 0.5
SHORTEST_SHARE = 0.1  # of a segment


@dataclass(frozen=True, kw_only=True)
class Preparation:
    """What is put right in sound before it is embedded; the published code does none of it (`PUBLISHED`)."""

    remove_offset: bool = True  # the mean of each segment: inaudible, but seen by the codec
    turn_inverted: bool = True  # channels of the opposite polarity, before all are mixed
    weigh_segments: bool = True  # by how much sound each holds; otherwise a rest of 50 ms counts as much as a whole segment

    def centre(self, waves: np.ndarray) -> np.ndarray:
        """Whole segments (..., N) as they are embedded: without their mean, where that is removed."""
        return waves - waves.mean(-1, keepdims=True) if self.remove_offset else waves


PUBLISHED = Preparation(remove_offset=False, turn_inverted=False, weigh_segments=False)
PREPARED = Preparation()


class Segment(NamedTuple):
    """A piece of a track."""

    samples: np.ndarray  # (segment_samples,) mono, float32, zero-padded at the end
    length: int  # how many of them are real, 1 … segment_samples
    offset: int  # position of the first one in the track, in samples at the target rate


class ChannelMixer:
    """Channels to mono, block by block: their mean, after those that are inverted have been turned over.

    Parameters
    ----------
    preparation : Preparation
    """

    def __init__(self, preparation: Preparation) -> None:
        self._turns = preparation.turn_inverted
        self._signs: np.ndarray | None = None  # (channels,) of the block before
        self.mixed = self.turned = 0  # samples of all blocks, and of those in which a channel was inverted

    def mix(self, block: np.ndarray) -> np.ndarray:
        """Mono samples (n,), float32, of a block (n, channels)."""
        if block.shape[1] == 1:
            return block[:, 0]
        signs = self._polarity(block)
        self._signs = signs
        self.mixed += len(block)
        if (signs > 0).all():
            return block.mean(axis=1, dtype=np.float32)
        self.turned += len(block)
        return (block * signs if self._turns else block).mean(axis=1, dtype=np.float32)

    def _polarity(self, block: np.ndarray) -> np.ndarray:
        """1 or -1 for each channel (channels,): whether it runs with the loudest one or against it."""
        products = block.T.astype(np.float64) @ block  # (channels, channels)
        energies = np.diagonal(products)
        before = np.ones(len(energies), np.float32) if self._signs is None else self._signs
        loudest = int(energies.argmax())
        scale = np.sqrt(energies * energies[loudest])
        correlations = np.divide(products[loudest], scale, out=np.zeros_like(scale), where=scale > 0)
        # The loudest channel may itself be one that was turned: signs are relative, the first channel's is kept.
        relative = np.where(correlations < INVERTED, -1, np.where(correlations > UPRIGHT, 1, before * before[loudest]))
        return (relative * relative[0]).astype(np.float32)


class Survey:
    """What a track holds, gathered segment by segment.

    Parameters
    ----------
    preparation : Preparation
    segment_samples, sampling_rate : int
        Length and rate (Hz) of the segments.
    """

    def __init__(self, preparation: Preparation, segment_samples: int, sampling_rate: int) -> None:
        self.preparation = preparation
        self.notes: list[str] = []  # what people should know of the track, as the rest of a sentence
        self._segment_samples, self._rate = segment_samples, sampling_rate
        self._window = max(1, round(WINDOW_SECONDS * sampling_rate))
        self._levels: list[np.ndarray] = []  # of each segment: RMS of its windows
        self._lengths: list[int] = []
        self._offset = self._peak = self._raw_peak = 0.0

    def prepare(self, samples: np.ndarray, length: int) -> None:
        """Take the next segment up (segment_samples,), and change it in place as the preparation says."""
        real = samples[:length]
        mean = float(real.mean(dtype=np.float64))
        self._raw_peak = max(self._raw_peak, float(np.abs(real).max()))
        self._offset += abs(mean) * length
        if self.preparation.remove_offset:
            real -= np.float32(mean)
        self._peak = max(self._peak, float(np.abs(real).max()))
        starts = np.arange(0, length, self._window)
        energies = np.add.reduceat(np.square(real, dtype=np.float64), starts)
        self._levels.append(np.sqrt(energies / np.minimum(self._window, length - starts)).astype(np.float32))
        self._lengths.append(length)

    @property
    def weights(self) -> np.ndarray:
        """What each segment is worth beside the others: the share of it that is sound, in [0, 1] [shape=(S,), float32].

        Silent windows count for nothing, and neither does what a last segment lacks. Where all is silent, length alone counts.
        """
        if not self.preparation.weigh_segments:
            return np.ones(len(self._lengths), np.float32)
        audible = self._audible()
        return ((audible if audible.any() else np.array(self._lengths)) / self._segment_samples).astype(np.float32)

    @property
    def silent(self) -> np.ndarray:
        """Which segments hold nothing but silence [shape=(S,), bool]."""
        return self._audible() == 0

    @property
    def audible_seconds(self) -> float:
        """How much of the track is sound."""
        return float(self._audible().sum()) / self._rate

    def _audible(self) -> np.ndarray:
        """Samples of each segment in windows that are not silent [shape=(S,)]."""
        loudest = max((math.sqrt(float(np.square(levels, dtype=np.float64).mean())) for levels in self._levels), default=0.0)
        floor = max(SILENCE, SILENCE_BELOW_LOUDEST * loudest)
        counts = []
        for levels, length in zip(self._levels, self._lengths, strict=True):
            sizes = np.minimum(self._window, length - self._window * np.arange(len(levels)))
            counts.append(int(sizes[levels > floor].sum()))
        return np.array(counts)

    def finish(self, mixer: ChannelMixer, damage: str | None) -> None:
        """Write the notes, at the end of the track."""
        if damage:
            self.notes.append(f"{damage}; the readable part is used")
        self.notes += [note for note in (self._about_channels(mixer), self._about_offset(), *self._about_level()) if note]

    def _about_channels(self, mixer: ChannelMixer) -> str:
        if not mixer.turned:
            return ""
        done = "it was turned over before mixing" if self.preparation.turn_inverted else "mixing takes away what is heard"
        share = mixer.turned / mixer.mixed
        return f"one channel is inverted against another in {share:.0%} of it, as by a mis-wired cable; {done}"

    def _about_offset(self) -> str:
        length = sum(self._lengths)
        offset = self._offset / length
        rms = math.sqrt(float(np.square(np.concatenate(self._levels), dtype=np.float64).mean()))
        least = max(OFFSET_TO_SAY, OFFSET_BESIDE_SOUND * rms)
        if offset < least or length < self._window or not self.preparation.remove_offset:
            return ""
        return f"holds a constant offset of {offset:.2g}, which nobody hears; it was removed"

    def _about_level(self) -> list[str]:
        seconds, audible = sum(self._lengths) / self._rate, self.audible_seconds
        if not audible:
            return [f"is silent (peak {self._peak:.1g}); its label means nothing"]
        notes = []
        if self._raw_peak > LOUD_PEAK:
            notes.append(f"reaches {self._raw_peak:.0f}, but samples should lie within ±1; divide them by their full scale")
        elif self._raw_peak > HOT_PEAK:
            notes.append(f"goes {_decibels(self._raw_peak)} above full scale; a label depends on the level, so scale it to ±1")
        elif self._peak < QUIET_PEAK:
            notes.append(f"is very quiet (peak {_decibels(self._peak)}); a label depends on the level, so amplify it")
        if audible < SHORTEST_SHARE * self._segment_samples / self._rate:
            notes.append(f"holds only {audible:.2g} s of sound, too little to tell; the rest of the segment is padding")
        elif audible < (1 - SILENT_SHARE_TO_SAY) * seconds:
            done = "only the rest counts" if self.preparation.weigh_segments else "it counts like music"
            notes.append(f"is silent for {seconds - audible:.1f} of {seconds:.1f} s; {done}")
        return notes


def _decibels(value: float) -> str:
    return f"{20 * math.log10(value):.0f} dB"
