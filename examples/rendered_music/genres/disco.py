"""Disco: four on the floor, open hats between the beats, octave bass, scratched sixteenths on guitar, strings and brass."""

from __future__ import annotations

import numpy as np

from ..patterns import (
    CLAP,
    CONGA_HIGH,
    CONGA_LOW,
    CONGA_MUTE,
    CRASH,
    HAT,
    KICK,
    OPEN_HAT,
    SNARE,
    TAMBOURINE,
    Melody,
    chance,
    drum_fill,
    pick,
    uniform,
)  # fmt: skip
from ..score import Song
from ..theory import SCALES, Chord, nearest, progression, scale_pitches, voicing

FORMS = (
    ("minor", "i7 i7 iv7 V7"),
    ("minor", "i7 bVIImaj7 bVImaj7 bVII"),
    ("minor", "i7 IV9 i7 IV9"),
    ("minor", "i7 iv7 bVII bIIImaj7 bVImaj7 iim7b5 V7 V7"),
    ("major", "Imaj7 vi7 ii7 V7"),
    ("major", "ii7 V7 iii7 vi7"),
    ("major", "IVmaj7 iii7 ii7 Imaj7"),
)
STRING_RHYTHMS = ("x---x---", "x-------", "..xxx---", "xxxxx---", "x--x--x-", "x-x-xx--")


def compose(rng: np.random.Generator, seconds: float) -> Song:
    """Compose a disco track."""
    song = Song(
        rng, tempo=uniform(rng, 106, 134), seconds=seconds, timing=0.005, touch=5,
        room=uniform(rng, 0.3, 0.7), wet=uniform(rng, 0.2, 0.6), balance={"strings": 2, "guitar": 2},
    )  # fmt: skip
    tonic = int(rng.integers(12))
    mode, form = pick(rng, FORMS)
    chords = progression(form, tonic)
    _drums(song, rng)
    _bass(song, rng, chords)
    _guitar(song, rng, chords)
    if chance(rng, 0.6):
        _keys(song, rng, chords)
    _strings(song, rng, chords, tonic, mode)
    if chance(rng, 0.5):
        _brass(song, rng, chords)
    return song


def _drums(song: Song, rng: np.random.Generator) -> None:
    part = song.part("drums", pick(rng, (0, 0, 8, 24)), volume=int(rng.integers(95, 115)), reverb=25)
    sixteenths = chance(rng, 0.4)
    backbeat = pick(rng, ((SNARE,), (SNARE, CLAP), (CLAP,), (SNARE, TAMBOURINE)))
    congas = chance(rng, 0.4)
    for index, start in song.bars():
        part.grid(start, "XXXX", KICK, 104, step=1)
        part.grid(start, ".x.x.x.x", OPEN_HAT, 80, step=0.5)
        part.grid(start, "x.x.x.x." if not sixteenths else "xo.ox", HAT, 70, step=0.5 if not sixteenths else 0.25)
        if sixteenths:
            part.grid(start + 1, "xo.oxo.oxo.o", HAT, 70)
        for drum in backbeat:
            part.grid(start, ".x.x", drum, 92, step=1)
        if congas:
            part.grid(start, "x..x..x...x.x...", CONGA_HIGH, 72)
            part.grid(start, ".x....x.x......x", CONGA_MUTE, 60)
            part.grid(start, "..........x...xx", CONGA_LOW, 72)
        if index % 8 == 7 and chance(rng, 0.6):
            drum_fill(part, rng, start + 4)
        if index % 8 == 0:
            part.add(start, 1, CRASH, 80)


def _bass(song: Song, rng: np.random.Generator, chords: list[Chord]) -> None:
    part = song.part("bass", pick(rng, (33, 33, 34, 36, 38)), volume=int(rng.integers(100, 120)), reverb=10)
    style = pick(rng, ("octaves", "octaves", "gallop", "line"))
    line = [pick(rng, (0, 12, 12, 7, 10)) for _ in range(8)]
    for index, start in song.bars():
        chord = chords[index % len(chords)]
        root = nearest(chord.root, 34)
        if style == "gallop":  # low note on the beat, two octaves after it
            for beat in range(4):
                for offset, step in ((0, 0), (0.5, 12), (0.75, 12)):
                    part.add(start + beat + offset, 0.2, root + step, 96)
            continue
        for half in range(8):
            step = 12 * (half % 2) if style == "octaves" or half % 2 == 0 else line[half]
            part.add(start + half * 0.5, 0.38, root + step, 98 - 6 * (half % 2))


def _guitar(song: Song, rng: np.random.Generator, chords: list[Chord]) -> None:
    part = song.part(
        "guitar", pick(rng, (27, 27, 28)), volume=int(rng.integers(65, 95)), pan=int(rng.integers(20, 50)), chorus=30
    )
    pattern = pick(rng, ("x.oxx.ox.xo.x.oo", "..x...x...x...xx", "xoxxoxxoxoxxoxxo", "x..x..x..x..x.x."))
    for index, start in song.bars():
        shape = voicing(chords[index % len(chords)], 66)[:3]
        for place, mark in enumerate(pattern):
            if mark != ".":
                part.chord(start + place * 0.25, 0.12, shape, 84 if mark == "x" else 52)


def _keys(song: Song, rng: np.random.Generator, chords: list[Chord]) -> None:
    part = song.part("keys", pick(rng, (0, 4, 5, 7)), volume=int(rng.integers(65, 90)), pan=80, chorus=30)
    onsets = pick(rng, ((0, 1.5, 3), (0.5, 1.5, 2.5, 3.5), (0,), (0, 0.75, 1.5, 2.5)))
    for index, start in song.bars():
        for beat in onsets:
            part.chord(start + beat, 0.6, voicing(chords[index % len(chords)], 60), 78)


def _strings(song: Song, rng: np.random.Generator, chords: list[Chord], tonic: int, mode: str) -> None:
    part = song.part("strings", pick(rng, (48, 48, 50, 51, 49)), volume=int(rng.integers(80, 110)), reverb=70)
    pitches = scale_pitches(tonic, mode, 67, 88)
    line = Melody(rng, pitches, STRING_RHYTHMS, leap=2, order=pick(rng, ("abac", "ab.c", "aabb", "a.b.")))
    doubled = chance(rng, 0.6)
    for index, start in song.bars():
        chord = chords[index % len(chords)]
        if (index // 8) % 3 == 2:
            part.chord(start, 3.9, voicing(chord, 70), 76)
        else:
            for beat, length, pitch in line.bar(index, chord):
                part.add(start + beat, length, pitch, 90)
                if doubled:
                    part.add(start + beat, length, pitch - 12, 80)
        if index % 8 == 7 and chance(rng, 0.5):  # the run into the next section
            run = [p for p in range(72, 90) if (p - tonic) % 12 in SCALES[mode]][:8]
            for place, pitch in enumerate(run):
                part.add(start + 2 + place * 0.25, 0.25, pitch, 84)


def _brass(song: Song, rng: np.random.Generator, chords: list[Chord]) -> None:
    part = song.part("brass", pick(rng, (61, 61, 62, 56)), volume=int(rng.integers(75, 100)), pan=90)
    stabs = pick(rng, ((3.5,), (0, 0.75), (2.5, 3, 3.5), (1.5, 3.5)))
    for index, start in song.bars():
        if index % 4 in (1, 3):
            for beat in stabs:
                part.chord(start + beat, 0.3, voicing(chords[index % len(chords)], 68), 96)
