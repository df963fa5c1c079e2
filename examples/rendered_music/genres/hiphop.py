"""Hip hop: boom-bap at 78 to 106, swung sixteenths, sub bass, a short loop that recurs, at times a spoken rhythm."""

from __future__ import annotations

import numpy as np

from ..patterns import CLAP, HAT, KICK, OPEN_HAT, SHAKER, SNARE, SNARE2, STICK, chance, pick, uniform
from ..score import Song
from ..theory import Chord, nearest, progression, scale_pitches, voicing

FORMS = ("i9 i9", "i7 iv7", "i7 bVImaj7", "i9 bVII", "iim7b5 i7", "i i", "Imaj7 iii7", "ii9 V13", "i bII", "i5 i5")
KICKS = (
    "x.....x...x.....x.....x..xx.....", "x..x......x.....x..x......x..x..", "x.......x.x.....x.......x.x...x.",
    "x......x..x.....x.x....x..x.....", "x.x.......x.....x.x...x...x.....", "x.........xx....x......x..x....x",
)  # fmt: skip
HATS = ("x.x.x.x.x.x.x.x.", "x.xxx.x.x.xxx.x.", "xoxoxoxoxoxoxoxo", "x...x...x...x...", "x.x.x.xxx.x.x.x.")


def compose(rng: np.random.Generator, seconds: float) -> Song:
    """Compose a hip hop beat."""
    song = Song(
        rng, tempo=uniform(rng, 78, 106), seconds=seconds, swing=uniform(rng, 0.5, 0.62), swing_unit=0.25,
        timing=0.004, touch=5, room=uniform(rng, 0.05, 0.4), wet=uniform(rng, 0.05, 0.35),
        balance={"drums": -2, "loop": 2, "voice": 8},
    )  # fmt: skip
    tonic = int(rng.integers(12))
    chords = progression(pick(rng, FORMS), tonic)
    kicks = pick(rng, KICKS)
    _drums(song, rng, kicks)
    _bass(song, rng, chords, kicks)
    _loop(song, rng, chords, tonic)
    if chance(rng, 0.55):
        _voice(song, rng, tonic)
    return song


def _drums(song: Song, rng: np.random.Generator, kicks: str) -> None:
    part = song.part("drums", pick(rng, (25, 25, 24, 0, 8, 16)), volume=int(rng.integers(110, 127)), reverb=12)
    snares = pick(rng, ((SNARE,), (SNARE, CLAP), (CLAP,), (SNARE2,), (SNARE, STICK)))
    hats, ghost = pick(rng, HATS), chance(rng, 0.5)
    shaker = chance(rng, 0.2)
    for index, start in song.bars():
        part.grid(start, kicks[16 * (index % 2) :][:16], KICK, 116)
        for drum in snares:
            part.grid(start, "....X.......X...", drum, 100)
        if ghost and index % 2:
            part.grid(start, ".......o.o.....o", SNARE, 80)
        if index % 8 != 7 or chance(rng, 0.6):  # at times the hats drop out before the loop turns
            part.grid(start, hats, HAT, 74)
        if index % 4 == 3:
            part.add(start + 3.5, 0.4, OPEN_HAT, 72)
        if shaker:
            part.grid(start, "x.xxx.xxx.xxx.xx", SHAKER, 60)


def _bass(song: Song, rng: np.random.Generator, chords: list[Chord], kicks: str) -> None:
    part = song.part("bass", pick(rng, (38, 39, 39, 33, 32, 35)), volume=int(rng.integers(110, 127)), reverb=5)
    length = pick(rng, (0.4, 0.9, 1.6))
    for index, start in song.bars():
        chord = chords[index % 2]
        root = nearest(chord.root, 31)
        for place, mark in enumerate(kicks[16 * (index % 2) :][:16]):
            if mark == "x":
                step = 0 if place == 0 else pick(rng, (0, 0, 0, 7, 10, 12))
                part.add(start + place * 0.25, length, root + step, 104)


def _loop(song: Song, rng: np.random.Generator, chords: list[Chord], tonic: int) -> None:
    """Two bars, chosen once and repeated without change, as a sampler would."""
    program = pick(rng, (4, 4, 5, 0, 0, 11, 48, 24, 27, 46, 16, 88, 61, 73))
    part = song.part("loop", program, volume=int(rng.integers(70, 100)), reverb=25, chorus=int(rng.integers(0, 40)))
    events: list[tuple[float, float, list[int], int]] = []
    style = pick(rng, ("chords", "chords", "riff", "both"))
    if style != "riff":
        onsets = pick(rng, ((0, 2.5), (0,), (0, 1.5), (0, 0.75, 2.5), (0.5, 1.5, 2.5, 3.5), (0, 3.5)))
        for bar in range(2):
            events += [(4 * bar + beat, 1.4, voicing(chords[bar], 60, size=5), 76) for beat in onsets]
    if style != "chords":
        pitches = scale_pitches(tonic, "minor pentatonic", 60, 79)
        for place in sorted(rng.choice(32, size=int(rng.integers(4, 9)), replace=False).tolist()):
            events.append((place * 0.25, 0.4, [pick(rng, pitches)], 84))
    absent = pick(rng, (99, 7, 5))  # the section of the form without the loop, if any
    for index, start in song.bars():
        if (index // 4) % 8 == absent:
            continue
        for beat, length, pitches_, velocity in events:
            if beat // 4 == index % 2:
                part.chord(start + beat % 4, length, pitches_, velocity)


def _voice(song: Song, rng: np.random.Generator, tonic: int) -> None:
    """Syllables in sixteenths on hardly more than one pitch: the rhythm of a rapper, not a tune."""
    part = song.part("voice", pick(rng, (53, 54, 85, 87, 80)), volume=int(rng.integers(55, 85)), reverb=10)
    pitch = nearest(tonic, int(rng.integers(50, 60)))
    density = uniform(rng, 0.45, 0.75)
    for index, start in song.bars():
        if (index // 4) % 4 == 3:
            continue
        for place in range(14):
            if chance(rng, density):
                part.add(start + place * 0.25, 0.18, pitch + pick(rng, (0, 0, 0, 0, -2, 3)), 82 + 12 * (place % 4 == 0))
