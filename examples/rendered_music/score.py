"""What is composed: songs, parts and notes, and how they become a MIDI file."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import mido
import numpy as np

from .loudness import channel_volume

__all__ = ["DRUM_CHANNEL", "Note", "Part", "Song"]

TICKS_PER_BEAT = 480
DRUM_CHANNEL = 9
BEND_RANGE = 2.0  # semitones; the default of General MIDI
_CHANNELS = [channel for channel in range(16) if channel != DRUM_CHANNEL]
_ACCENTS = {"X": 1.18, "x": 1.0, "o": 0.55}


@dataclass(frozen=True, slots=True)
class Note:
    """A note; ``start`` and ``duration`` are in beats from the start of the song."""

    start: float
    duration: float
    pitch: int
    velocity: int


@dataclass
class Part:
    """The notes of one player. ``program`` is a General MIDI program (0 to 127), or a drum kit where ``drums`` is set."""

    name: str
    program: int
    volume: int = 100
    pan: int = 64
    reverb: int = 40
    chorus: int = 0
    drums: bool = False
    notes: list[Note] = field(default_factory=list)
    bends: list[tuple[float, float]] = field(default_factory=list)  # (beat, semitones)

    def add(self, start: float, duration: float, pitch: int, velocity: float) -> None:
        """Add one note."""
        self.notes.append(Note(start, duration, int(pitch), int(min(127, max(1, round(velocity))))))

    def chord(self, start: float, duration: float, pitches: Sequence[int], velocity: float, strum: float = 0.0) -> None:
        """Add the notes of a chord, each ``strum`` beats after the one before."""
        for index, pitch in enumerate(pitches):
            self.add(start + index * strum, max(0.05, duration - index * strum), pitch, velocity)

    def grid(self, start: float, pattern: str, pitch: int, velocity: float, step: float = 0.25) -> None:
        """Add hits of one pitch by a pattern: ``X`` accent, ``x`` hit, ``o`` ghost note, ``.`` rest, each ``step`` beats."""
        for index, mark in enumerate(pattern):
            if mark in _ACCENTS:
                self.add(start + index * step, step * 0.9, pitch, velocity * _ACCENTS[mark])

    def slide(self, start: float, semitones: float, duration: float) -> None:
        """Bend from ``semitones`` away into the written pitch within ``duration`` beats."""
        steps = 6
        self.bends += [(start + duration * i / steps, semitones * (1 - i / steps)) for i in range(steps + 1)]


class Song:
    """A stretch of music: tempo, metre, feel and parts.

    It starts one bar before the clip (so that the clip does not begin in silence), at a random bar of the form.

    Parameters
    ----------
    rng : np.random.Generator
        Draws the bar of the form at which the song starts.
    tempo : float
        Beats a minute.
    seconds : float
        Length of the clip.
    beats : int
        Beats in a bar.
    swing : float
        Where the second half of a ``swing_unit`` pair falls: 0.5 is straight, 2/3 a triplet.
    swing_unit : float
        Length in beats of the notes that are swung: 0.5 for eighths, 0.25 for sixteenths.
    timing, touch : float
        Standard deviations of the human error: seconds, and velocity steps.
    room, wet : float
        Size and level of the reverberation, 0 to 1.
    balance : mapping, optional
        The mix: dB by which parts (by name) stand out of an even balance.
    """

    def __init__(
        self,
        rng: np.random.Generator,
        *,
        tempo: float,
        seconds: float,
        beats: int = 4,
        swing: float = 0.5,
        swing_unit: float = 0.5,
        timing: float = 0.006,
        touch: float = 6.0,
        room: float = 0.4,
        wet: float = 0.5,
        balance: Mapping[str, float] | None = None,
    ) -> None:
        self.tempo, self.beats, self.swing, self.swing_unit = float(tempo), beats, swing, swing_unit
        self.timing, self.touch, self.room, self.wet = timing, touch, room, wet
        self.balance = dict(balance or {})
        self.first_bar = int(rng.integers(32))
        self.num_bars = math.ceil(seconds * tempo / 60 / beats) + 2
        self.parts: dict[str, Part] = {}

    @property
    def preroll_seconds(self) -> float:
        """Seconds before the clip starts: one bar."""
        return self.beats * 60 / self.tempo

    def part(self, name: str, program: int, *, volume: int = 100, pan: int = 64, reverb: int = 40, chorus: int = 0) -> Part:
        """Add a player; the name ``drums`` plays on the drum channel."""
        self.parts[name] = Part(name, program, volume, pan, reverb, chorus, drums=name == "drums")
        return self.parts[name]

    def bars(self) -> Iterator[tuple[int, float]]:
        """Every bar as (its index in the form, its start in beats)."""
        for index in range(self.num_bars):
            yield self.first_bar + index, float(index * self.beats)

    def midi(self, rng: np.random.Generator) -> bytes:
        """Write the song as a standard MIDI file, with swing and human error."""
        file = mido.MidiFile(ticks_per_beat=TICKS_PER_BEAT)
        conductor = mido.MidiTrack([mido.MetaMessage("set_tempo", tempo=mido.bpm2tempo(self.tempo))])
        file.tracks.append(conductor)
        channels = iter(_CHANNELS)
        for part in self.parts.values():
            channel = DRUM_CHANNEL if part.drums else next(channels)
            file.tracks.append(self._track(part, channel, rng))
        buffer = io.BytesIO()
        file.save(file=buffer)
        return buffer.getvalue()

    def swung(self, beat: float) -> float:
        """Find the place of a written beat after swing."""
        pair = 2 * self.swing_unit
        whole, rest = divmod(beat, pair)
        half = rest / self.swing_unit
        warped = half * self.swing if half < 1 else self.swing + (half - 1) * (1 - self.swing)
        return (whole + warped) * pair

    def _track(self, part: Part, channel: int, rng: np.random.Generator) -> mido.MidiTrack:
        events: list[tuple[int, int, mido.Message]] = []  # (tick, order within the tick, message)
        balance = self.balance.get(part.name, 0.0)
        volume = channel_volume(part.program, part.volume, drums=part.drums, balance_db=balance)
        controls = {7: volume, 10: part.pan, 91: part.reverb, 93: part.chorus}
        events.append((0, 0, mido.Message("program_change", channel=channel, program=part.program)))
        events += [
            (0, 1, mido.Message("control_change", channel=channel, control=number, value=value))
            for number, value in controls.items()
        ]
        for beat, semitones in part.bends:
            value = int(max(-8192, min(8191, semitones / BEND_RANGE * 8192)))
            events.append((self._tick(beat), 2, mido.Message("pitchwheel", channel=channel, pitch=value)))
        for start, end, note in self._played(part, rng):
            for tick, order, kind in ((end, 0, "note_off"), (start, 3, "note_on")):
                velocity = note.velocity if kind == "note_on" else 0
                events.append((tick, order, mido.Message(kind, channel=channel, note=note.pitch, velocity=velocity)))
        events.sort(key=lambda event: event[:2])
        track, now = mido.MidiTrack(), 0
        for tick, _, message in events:
            track.append(message.copy(time=tick - now))
            now = tick
        return track

    def _played(self, part: Part, rng: np.random.Generator) -> list[tuple[int, int, Note]]:
        """Give the notes as played: (start tick, end tick, note); a pitch struck again first ends."""
        jitter = rng.normal(0, self.timing * self.tempo / 60, len(part.notes)).clip(-0.1, 0.1)
        touch = rng.normal(0, self.touch, len(part.notes))
        played: list[tuple[int, int, Note]] = []
        for note, late, loud in zip(part.notes, jitter, touch, strict=True):
            start = max(0, self._tick(note.start + late))
            end = max(start + 10, self._tick(note.start + note.duration + late))
            velocity = int(min(127, max(1, note.velocity + loud)))
            played.append((start, end, Note(note.start, note.duration, note.pitch, velocity)))
        played.sort(key=lambda item: item[0])
        following: dict[int, int] = {}
        for index in range(len(played) - 1, -1, -1):
            start, end, note = played[index]
            played[index] = (start, max(start + 1, min(end, following.get(note.pitch, end))), note)
            following[note.pitch] = start
        return played

    def _tick(self, beat: float) -> int:
        return max(0, round(self.swung(max(0.0, beat)) * TICKS_PER_BEAT))
