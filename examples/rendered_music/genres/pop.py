"""Pop: four-chord loops, steady eighths, synthesisers and pads, a sung tune with a hook, drums between machine and kit."""

from __future__ import annotations

import numpy as np

from ..patterns import (
    CLAP,
    CRASH,
    HAT,
    KICK,
    OPEN_HAT,
    SHAKER,
    SNARE,
    SNARE2,
    TAMBOURINE,
    Melody,
    chance,
    drum_fill,
    pick,
    uniform,
)
from ..score import Song
from ..theory import Chord, progression, scale_pitches, voicing

FORMS = (
    "I V vi IV", "vi IV I V", "I vi IV V", "IV V vi I", "I iii IV V", "IV I V vi", "I IV vi V",
    "vi V IV V", "Imaj7 vi7 ii7 Vsus4",
)  # fmt: skip
TUNES = ("xxx-x-x-", "x-xxx---", ".xxxx-x-", "x--x--x-", "xx-xx-x-", "..xxx-x-", "x---x---", "xxxxx---")
HOOKS = ("x-x-x--x--x-x---", "xxx.xxx.x-x-x---", "x--x--x-x--x--x-", "x---x--xx---x---", "xx.xx.xxx-x-x-x-")
ONSETS: tuple[tuple[float, ...], ...] = (
    (0, 0.5, 1, 1.5, 2, 2.5, 3, 3.5),
    (0, 1, 2, 3),
    (0, 1.5, 3),
    (0, 0.75, 1.5, 2.25, 3, 3.5),
    (0.5, 1.5, 2.5, 3.5),
    (0, 1, 1.5, 2.5, 3),
)
KICKS = ("x...x...x...x...", "x.....x.x.......", "x......xx.x.....", "x.....x...x.....", "x..x..x.x.......")


def compose(rng: np.random.Generator, seconds: float) -> Song:
    """Compose a pop song."""
    song = Song(
        rng, tempo=uniform(rng, 84, 132), seconds=seconds, timing=0.004, touch=5,
        room=uniform(rng, 0.3, 0.7), wet=uniform(rng, 0.2, 0.6), balance={"drums": -2, "pad": 2},
    )  # fmt: skip
    tonic = int(rng.integers(12))
    chords = progression(pick(rng, FORMS), tonic)
    _drums(song, rng)
    _bass(song, rng, chords)
    _pad(song, rng, chords)
    _rhythm(song, rng, chords)
    if chance(rng, 0.5):
        _arpeggio(song, rng, chords)
    _tune(song, rng, chords, tonic)
    return song


def _drums(song: Song, rng: np.random.Generator) -> None:
    part = song.part("drums", pick(rng, (24, 24, 25, 0, 8)), volume=int(rng.integers(90, 112)), reverb=28)
    kick, fast = pick(rng, KICKS), chance(rng, 0.35)
    backbeat = pick(rng, ((SNARE,), (CLAP,), (SNARE2, CLAP), (SNARE, TAMBOURINE)))
    extra = pick(rng, (None, None, SHAKER, TAMBOURINE))
    for index, start in song.bars():
        part.grid(start, kick, KICK, 104)
        for drum in backbeat:
            part.grid(start, "....X.......X...", drum, 94)
        part.grid(start, "xoxoxoxoxoxoxoxo" if fast else "x.x.x.x.x.x.x.x.", HAT, 72)
        if extra is not None:
            part.grid(start, "xoXoxoXo", extra, 62, step=0.5)
        if index % 2 and chance(rng, 0.3):
            part.add(start + 3.5, 0.4, OPEN_HAT, 72)
        if index % 8 == 7 and chance(rng, 0.6):
            drum_fill(part, rng, start + 4)
        if index % 8 == 0:
            part.add(start, 1, CRASH, 84)


def _bass(song: Song, rng: np.random.Generator, chords: list[Chord]) -> None:
    part = song.part("bass", pick(rng, (38, 38, 39, 33, 34)), volume=int(rng.integers(95, 115)), reverb=8)
    style = pick(rng, ("eighths", "eighths", "long", "push", "off-beat"))
    onsets = {
        "eighths": [(half * 0.5, 0.45) for half in range(8)], "long": [(0.0, 3.8)],
        "push": [(0.0, 1.4), (1.5, 1.4), (3.0, 0.9)], "off-beat": [(0.5, 0.4), (1.5, 0.4), (2.5, 0.4), (3.5, 0.4)],
    }[style]  # fmt: skip
    for index, start in song.bars():
        root = 29 + (chords[index % 4].root - 29) % 12
        for beat, length in onsets:
            part.add(start + beat, length, root, 96)


def _pad(song: Song, rng: np.random.Generator, chords: list[Chord]) -> None:
    part = song.part("pad", pick(rng, (88, 89, 90, 91, 50, 51, 48, 94)), volume=int(rng.integers(60, 88)), reverb=80, chorus=50)
    for index, start in song.bars():
        part.chord(start, 3.95, voicing(chords[index % 4], 62), 70)


def _rhythm(song: Song, rng: np.random.Generator, chords: list[Chord]) -> None:
    program = pick(rng, (0, 1, 4, 5, 25, 27, 62, 81, 2))
    part = song.part("rhythm", program, volume=int(rng.integers(70, 95)), pan=int(rng.integers(30, 60)), chorus=20)
    onsets = pick(rng, ONSETS)
    for index, start in song.bars():
        for beat in onsets:
            part.chord(start + beat, 0.42, voicing(chords[index % 4], 62), 78, strum=0.02 if program == 25 else 0)


def _arpeggio(song: Song, rng: np.random.Generator, chords: list[Chord]) -> None:
    part = song.part("arpeggio", pick(rng, (80, 81, 98, 14, 10, 8, 46)), volume=int(rng.integers(50, 78)), pan=95, reverb=70)
    shape = pick(rng, ((0, 1, 2, 1), (0, 1, 2, 3), (2, 1, 0, 1), (0, 2, 1, 2)))
    step = pick(rng, (0.25, 0.5))
    for index, start in song.bars():
        if (index // 8) % 2 == 0:
            continue
        tones = voicing(chords[index % 4], 74)
        tones = [*tones, tones[0] + 12]
        for place in range(int(4 / step)):
            part.add(start + place * step, step * 0.9, tones[shape[place % 4] % len(tones)], 74)


def _tune(song: Song, rng: np.random.Generator, chords: list[Chord], tonic: int) -> None:
    """Sing: the verse low and wordy, the chorus higher with its hook."""
    singer = pick(rng, (53, 54, 85, 52, 80, 81, 87, 82, 73))
    part = song.part("singer", singer, volume=int(rng.integers(90, 115)), reverb=65, chorus=20)
    verse = Melody(rng, scale_pitches(tonic, "major", 57, 72), TUNES, order=pick(rng, ("abac", "aaab", "abab")))
    hook = Melody(
        rng, scale_pitches(tonic, "major pentatonic", 63, 79), HOOKS, step=0.25, order=pick(rng, ("aaab", "abab", "abac"))
    )
    for index, start in song.bars():
        line = hook if (index // 8) % 2 else verse
        for beat, length, pitch in line.bar(index, chords[index % 4]):
            part.add(start + beat, length * 0.94, pitch, 94)
