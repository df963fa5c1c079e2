"""Classical: no drums; periods with half and full cadences.

Piano over an Alberti bass, a soloist with piano, four-part strings or winds, two-voice counterpoint, guitar, a small orchestra.
"""

from __future__ import annotations

import math

import numpy as np

from ..patterns import Melody, chance, pick, uniform
from ..score import Part, Song
from ..theory import Chord, nearest, progression, scale_pitches, voicing

# Eight-bar periods: the first half ends open, the second closed.
FORMS = (
    ("major", "I V7 I IV I ii V7 V7 I V7 I IV ii V7 I I"), ("major", "I vi ii V7 I IV V V I vi IV ii I V7 I I"),
    ("major", "I IV V7 I vi ii V V IV I ii vi IV V7 I I"), ("major", "I I IV I V7 I II7 V I I7 IV ii I V7 I I"),
    ("harmonic minor", "i V7 i iv i iidim V V i V7 i iv iidim V7 i i"),
    ("harmonic minor", "i iv V7 i bVI iv V V i bVI iv iidim i V7 i i"),
    ("harmonic minor", "i i V7 V7 i iv V V bIII bVII bVI iv iidim V7 i i"),
)  # fmt: skip
TUNES = {
    4: ("x---x-x-", "x-x-xxxx", "x-----x-", "xxxxx---", "x-xxx-x-", "x---x---", "x-------", "xxxxxxxx", "x--xx-x-"),
    3: ("x---x-", "x-x-x-", "xxxxxx", "x-----", "x--xx-", "x-xxxx"),
}
STYLES = ("piano", "piano", "quartet", "quartet", "sonata", "orchestra", "orchestra", "invention", "guitar", "winds")


def compose(rng: np.random.Generator, seconds: float) -> Song:
    """Compose a classical piece."""
    song = Song(
        rng, tempo=uniform(rng, 58, 150), seconds=seconds, beats=pick(rng, (4, 4, 3)), timing=0.014, touch=7,
        room=uniform(rng, 0.4, 0.9), wet=uniform(rng, 0.3, 0.8),
    )  # fmt: skip
    tonic = int(rng.integers(12))
    mode, form = pick(rng, FORMS)
    chords = progression(form, tonic)
    style = pick(rng, STYLES)
    if style in ("piano", "sonata", "guitar"):
        _solo(song, rng, chords, tonic, mode, style)
    elif style == "invention":
        _invention(song, rng, chords, tonic, mode)
    else:
        _ensemble(song, rng, chords, tonic, mode, style)
    return song


def _dynamics(song: Song, index: int, beat: float, level: float) -> float:
    """Give the velocity at a beat: a phrase of eight bars swells to its sixth bar and falls."""
    place = (index % 8 + beat / song.beats) / 8
    return level + 16 * math.sin(math.pi * min(1.0, place**1.2))


def _play(
    song: Song, part: Part, line: Melody, chords: list[Chord], level: float = 74, legato: float = 0.97, shift: int = 0
) -> None:
    for index, start in song.bars():
        chord = chords[index % 16]
        if index % 8 == 7:  # the cadence: one long note on the chord
            tone = min(
                (p for p in line.pitches if p % 12 in chord.pitch_classes), key=lambda p: abs(p - line.pitches[line.place])
            )
            part.add(start, song.beats * 0.8, tone + shift, _dynamics(song, index, 0, level))
            continue
        for beat, length, pitch in line.bar(index, chord):
            part.add(start + beat, length * legato, pitch + shift, _dynamics(song, index, beat, level))


def _accompany(song: Song, part: Part, chords: list[Chord], figure: str, centre: int, level: float = 58) -> None:
    for index, start in song.bars():
        chord = chords[index % 16]
        shape = voicing(chord, centre)[:3]
        low = nearest(chord.root, centre - 12)
        loud = _dynamics(song, index, 1, level)
        if figure == "alberti":
            for place in range(song.beats * 2):
                part.add(start + place * 0.5, 0.5, shape[(0, 2, 1, 2)[place % 4] % len(shape)], loud)
        elif figure == "arpeggio":
            tones = [low, *shape, *[pitch + 12 for pitch in shape]]
            for place in range(song.beats * 4):
                wave = place % 8 if place % 8 < 5 else 8 - place % 8
                part.add(start + place * 0.25, 0.5, tones[wave % len(tones)], loud)
        elif figure == "bass and chords":
            part.add(start, 0.9, low, loud + 6)
            for beat in range(1, song.beats):
                part.chord(start + beat, 0.6, shape, loud)
        else:  # block chords
            part.chord(start, song.beats / 2 - 0.05, (low, *shape), loud)
            part.chord(start + song.beats / 2, song.beats / 2 - 0.05, (low, *shape), loud - 4)


def _solo(song: Song, rng: np.random.Generator, chords: list[Chord], tonic: int, mode: str, style: str) -> None:
    """Melody and accompaniment: piano alone, piano with a soloist, or guitar."""
    program = 24 if style == "guitar" else pick(rng, (0, 0, 1, 6))
    keys = song.part("keys", program, volume=int(rng.integers(85, 105)), reverb=60)
    figure = pick(rng, ("alberti", "alberti", "arpeggio", "bass and chords", "block"))
    _accompany(song, keys, chords, figure, 52 if style == "guitar" else 57)
    part = keys
    if style == "sonata":
        part = song.part("soloist", pick(rng, (40, 73, 42, 71, 68, 60, 41)), volume=int(rng.integers(90, 112)), reverb=70)
    low = {42: 48, 60: 50, 24: 62}.get(part.program, 65)
    line = Melody(
        rng, scale_pitches(tonic, mode, low, low + 22), TUNES[song.beats], leap=2, order=pick(rng, ("abac", "abcd", "aabc"))
    )
    _play(song, part, line, chords, level=80)


def _invention(song: Song, rng: np.random.Generator, chords: list[Chord], tonic: int, mode: str) -> None:
    """Two voices on a keyboard; the lower answers the motifs of the upper a bar later."""
    keys = song.part("keys", pick(rng, (6, 6, 0, 19)), volume=int(rng.integers(85, 105)), reverb=70)
    fast: tuple[str, ...] = (
        ("xxxxxxxx", "xxxxx-x-", "x-xxxxxx", "xx-xxxxx") if song.beats == 4 else ("xxxxxx", "x-xxxx", "xxxxx-")
    )
    step = 0.25 if song.tempo < 95 else 0.5
    if step == 0.25:
        fast = tuple(rhythm * 2 for rhythm in fast)
    upper = Melody(rng, scale_pitches(tonic, mode, 64, 86), fast, step=step, leap=2, order="abac")
    lower = Melody(
        rng, scale_pitches(tonic, mode, 41, 62), fast, step=step, leap=2, order="cbab" if chance(rng, 0.5) else "babc"
    )
    lower.motifs = dict(upper.motifs)
    _play(song, keys, upper, chords, level=80)
    _play(song, keys, lower, chords, level=74)


def _ensemble(song: Song, rng: np.random.Generator, chords: list[Chord], tonic: int, mode: str, style: str) -> None:
    """Four-part writing for strings or winds; the orchestra adds doublings, horns and timpani."""
    voices = {
        "quartet": (40, 40, 41, 42), "winds": (73, 68, 71, 70), "orchestra": (48, 48, 48, 43),
    }[style]  # fmt: skip
    melody, second, third, bass = (
        song.part(f"voice {number}", program, volume=int(rng.integers(82, 108)), pan=24 + 26 * number, reverb=75)
        for number, program in enumerate(voices)
    )
    line = Melody(rng, scale_pitches(tonic, mode, 64, 86), TUNES[song.beats], leap=2, order=pick(rng, ("abac", "abcd", "aabc")))
    _play(song, melody, line, chords, level=82)
    if style == "orchestra" and chance(rng, 0.7):
        doubling = song.part("doubling", pick(rng, (73, 68, 56, 40)), volume=80, reverb=75)
        for note in melody.notes:
            doubling.add(note.start, note.duration, note.pitch, note.velocity - 12)
    pulse = pick(rng, (1.0, 0.5, float(song.beats), 2.0))
    for index, start in song.bars():
        chord = chords[index % 16]
        shape = voicing(chord, 62)
        loud = _dynamics(song, index, 1, 64)
        beat = 0.0
        while beat < song.beats:
            length = min(pulse, song.beats - beat) * 0.92
            second.add(start + beat, length, shape[-1], loud)
            third.add(start + beat, length, shape[0], loud)
            beat += pulse
        root = nearest(chord.root, 43)
        bass.add(start, song.beats * 0.48, root, loud + 6)
        bass.add(
            start + song.beats // 2,
            song.beats * 0.45,
            root if chance(rng, 0.5) else nearest(chord.pitch_classes[2], root),
            loud,
        )
    if style == "orchestra":
        _orchestra(song, rng, chords)


def _orchestra(song: Song, rng: np.random.Generator, chords: list[Chord]) -> None:
    horns = song.part("horns", pick(rng, (60, 60, 61)), volume=int(rng.integers(65, 92)), pan=40, reverb=85)
    timpani = song.part("timpani", 47, volume=int(rng.integers(80, 105)), pan=80, reverb=85)
    for index, start in song.bars():
        chord = chords[index % 16]
        horns.chord(start, song.beats * 0.9, voicing(chord, 55)[:3], _dynamics(song, index, 0, 58))
        if index % 8 >= 6 or (index % 4 == 0 and chance(rng, 0.4)):
            timpani.add(start, 0.9, nearest(chord.root, 43), 84)
