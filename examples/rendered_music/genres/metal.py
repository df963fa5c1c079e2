"""Metal: palm-muted low fifths in two walls of distortion, double kick, minor and phrygian riffs, fast or harmonised leads."""

from __future__ import annotations

import numpy as np

from ..patterns import CRASH, HAT, KICK, RIDE, SNARE, chance, drum_fill, pick, rhythm, uniform
from ..score import Part, Song
from ..theory import scale_pitches

# Sixteenths of a bar: ``m`` muted low string, ``X`` power chord of the riff, ``-`` held, ``.`` rest.
RIFFS = (
    "mmmmmmmmX-mmmmX-", "X---mmmmX---mmmm", "mmXmmXmmXmmXmmX-", "m.mmm.mmm.mmX-X-", "X-------X-------", "mmmmX-X-mmmmX-X-",
    "mm.mm.mmX---X---", "X---------------", "m-m-m-X-m-m-m-X-", "mmm.mmm.mmm.X-X-",
)  # fmt: skip
# Degrees of the scale that power chords move to.
MOVES = ((0, 1, 0, 5), (0, 5, 6, 0), (0, 2, 1, 0), (0, 0, 5, 6), (0, 3, 2, 1), (0, 1, 6, 5))
SOLOS = ("xxxxxxxxxxxxxxxx", "xx--xx--xxxxx---", "x-------xxxxxxxx", "xxxxxx--x-------", "x---x---x-------")


def compose(rng: np.random.Generator, seconds: float) -> Song:
    """Compose a metal track."""
    song = Song(
        rng, tempo=uniform(rng, 96, 205), seconds=seconds, timing=0.005, touch=4,
        room=uniform(rng, 0.1, 0.5), wet=uniform(rng, 0.1, 0.4), balance={"drums": -6, "bass": 4},
    )  # fmt: skip
    tonic = pick(rng, (4, 4, 2, 3, 11, 9, 6))
    scale = pick(rng, ("minor", "phrygian", "minor", "harmonic minor"))
    riffs = (pick(rng, RIFFS), pick(rng, RIFFS), pick(rng, RIFFS))
    moves = (pick(rng, MOVES), pick(rng, MOVES))
    _drums(song, rng, riffs)
    _riffs(song, rng, tonic, scale, riffs, moves)
    _lead(song, rng, tonic, scale, moves)
    return song


def _section(index: int) -> int:
    return (0, 0, 1, 0, 2, 2, 0, 1)[(index // 4) % 8]


def _drums(song: Song, rng: np.random.Generator, riffs: tuple[str, ...]) -> None:
    part = song.part("drums", pick(rng, (16, 16, 16, 8, 0)), volume=int(rng.integers(100, 120)), reverb=25)
    beats = [pick(rng, ("double", "double", "follow", "gallop", "half", "thrash")) for _ in range(3)]
    if song.tempo > 165:
        beats = ["eighths" if beat == "double" else beat for beat in beats]
    cymbals = [pick(rng, (HAT, RIDE, CRASH)) for _ in range(3)]
    for index, start in song.bars():
        section = _section(index)
        beat = beats[section]
        kicks = {
            "double": "x" * 16, "eighths": "x." * 8, "gallop": "x.xx" * 4, "half": "x.x...xx..x...x.", "thrash": "x.....x." * 2,
            "follow": "".join("x" if mark in "mX" else "." for mark in riffs[section]),
        }[beat]  # fmt: skip
        snares = {"half": "........X.......", "thrash": "..X...X...X...X."}.get(beat, "....X.......X...")
        part.grid(start, kicks, KICK, 112)
        part.grid(start, snares, SNARE, 110)
        part.grid(start, "XxXx" if cymbals[section] == CRASH else "XxXxXxXx", cymbals[section], 84,
                  step=1 if cymbals[section] == CRASH else 0.5)  # fmt: skip
        if index % 4 == 0:
            part.add(start, 1, CRASH, 108)
        if index % 4 == 3 and chance(rng, 0.5):
            drum_fill(part, rng, start + 4, 110, beats=pick(rng, (1.0, 2.0)))


def _riffs(
    song: Song, rng: np.random.Generator, tonic: int, scale: str, riffs: tuple[str, ...], moves: tuple[tuple[int, ...], ...]
) -> None:
    volume = int(rng.integers(92, 112))
    left = song.part("guitar left", 30, volume=volume, pan=10, reverb=20)
    right = song.part("guitar right", pick(rng, (30, 30, 29)), volume=volume, pan=118, reverb=20)
    bass = song.part("bass", pick(rng, (34, 34, 33)), volume=int(rng.integers(92, 112)), reverb=8)
    low = 40 + (tonic - 40) % 12 - (12 if (tonic - 40) % 12 > 5 else 0)
    degrees = scale_pitches(tonic, scale, low, low + 12)
    for index, start in song.bars():
        section = _section(index)
        move = moves[section % 2]
        root = degrees[move[index % 4] % len(degrees)]
        place = 0
        pattern = riffs[section]
        while place < 16:
            mark, length = pattern[place], 1
            while place + length < 16 and pattern[place + length] == "-":
                length += 1
            beat = start + place * 0.25
            if mark == "m":
                _strike((left, right), beat, 0.11, (low, low + 7), 92 + 10 * (place % 4 == 0))
                bass.add(beat, 0.2, low - 12, 98)
            elif mark == "X":
                chord = (root, root + 7, root + 12)
                _strike((left, right), beat, length * 0.25 - 0.03, chord, 108)
                bass.add(beat, length * 0.25 - 0.03, root - 12, 104)
            place += length


def _strike(parts: tuple[Part, Part], beat: float, length: float, pitches: tuple[int, ...], velocity: int) -> None:
    for part in parts:
        part.chord(beat, length, pitches, velocity)


def _lead(song: Song, rng: np.random.Generator, tonic: int, scale: str, moves: tuple[tuple[int, ...], ...]) -> None:
    """Play a fast solo or a slow harmonised line in one section of the form."""
    if chance(rng, 0.3):
        return
    part = song.part("lead", pick(rng, (30, 29, 30)), volume=int(rng.integers(88, 108)), reverb=60)
    pitches = scale_pitches(tonic, scale, 62, 88)
    place, direction = len(pitches) // 2, 1
    line = [pick(rng, SOLOS) for _ in range(4)]
    harmonised = chance(rng, 0.3)
    sections = pick(rng, ((2,), (1, 2), (0,), (2,)))
    for index, start in song.bars():
        if _section(index) not in sections:
            continue
        for onset, duration in rhythm(line[index % 4], 0.25):
            if chance(rng, 0.2) or not 2 <= place + direction < len(pitches) - 2:
                direction = -1 if place > len(pitches) // 2 else 1
            place = min(len(pitches) - 3, max(0, place + direction * pick(rng, (1, 1, 2))))
            part.add(start + onset, duration - 0.01, pitches[place], 102)
            if harmonised:
                part.add(start + onset, duration - 0.01, pitches[place + 2], 94)
            elif duration >= 1:
                part.slide(start + onset, -2.0, 0.3)
