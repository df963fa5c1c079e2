"""Country: train beat, two-step or waltz; root and fifth in the bass, boom-chick guitar, fiddle, banjo rolls, sliding steel."""

from __future__ import annotations

import numpy as np

from ..patterns import CRASH, HAT, KICK, SNARE, STICK, Melody, chance, drum_fill, pick, uniform
from ..score import Song
from ..theory import Chord, progression, scale_pitches, voicing

FORMS = (
    "I I IV I I I V V I I IV IV I V I I", "I IV V I I IV V I", "I I IV IV V V I I", "I V IV I I V I I", "I vi IV V I vi V I",
    "IV I V I IV I V I", "I I II7 V7 I IV V I", "I I7 IV I I V7 I V7",
)  # fmt: skip
TUNES = ("xxxxx-x-", "x-xxx-x-", "x-x-x---", "xxx-xxx-", "x---x-xx", "x-xx-xx-", "xxxxxxxx")
WALTZ_TUNES = ("x---x-", "x-x-x-", "x-xxx-", "x-----", "xxx-x-")


def compose(rng: np.random.Generator, seconds: float) -> Song:
    """Compose a country song."""
    waltz = chance(rng, 0.15)
    swing = uniform(rng, 0.5, 0.64) if chance(rng, 0.5) else 0.5
    song = Song(
        rng, tempo=uniform(rng, 86, 140) if waltz else uniform(rng, 88, 152), seconds=seconds, beats=3 if waltz else 4,
        swing=swing, timing=0.009, touch=8, room=uniform(rng, 0.15, 0.5), wet=uniform(rng, 0.15, 0.5),
        balance={"drums": 4, "steel": 4},
    )  # fmt: skip
    tonic = pick(rng, (7, 2, 9, 0, 4, 5, 10))
    chords = progression(pick(rng, FORMS), tonic)
    electric = chance(rng, 0.3)
    if electric or chance(rng, 0.8):
        _drums(song, rng, waltz)
    _bass(song, rng, chords, waltz)
    _guitar(song, rng, chords, electric)
    if chance(rng, 0.45) and not waltz:
        _banjo(song, rng, chords)
    _steel(song, rng, chords)
    _tune(song, rng, chords, tonic, waltz)
    return song


def _drums(song: Song, rng: np.random.Generator, waltz: bool) -> None:
    part = song.part("drums", pick(rng, (0, 40, 40, 8)), volume=int(rng.integers(75, 100)), reverb=35)
    style = "waltz" if waltz else pick(rng, ("train", "train", "two-step", "backbeat"))
    for index, start in song.bars():
        if style == "waltz":
            part.grid(start, "x..", KICK, 88, step=1)
            part.grid(start, ".xx", STICK, 74, step=1)
            part.grid(start, "xxx", HAT, 60, step=1)
        elif style == "train":  # sixteenths on the snare with the accent after the beat
            part.grid(start, "ooXo" * 4, SNARE, 76)
            part.grid(start, "x.x.", KICK, 92, step=1)
        elif style == "two-step":
            part.grid(start, "x.x.", KICK, 92, step=1)
            part.grid(start, ".x.x", STICK, 84, step=1)
            part.grid(start, "xxxxxxxx", HAT, 62, step=0.5)
        else:
            part.grid(start, pick(rng, ("x...x...", "x..xx...")), KICK, 96, step=0.5)
            part.grid(start, "..X...X.", SNARE, 92, step=0.5)
            part.grid(start, "xxxxxxxx", HAT, 70, step=0.5)
        if index % 8 == 0 and style == "backbeat":
            part.add(start, 1, CRASH, 82)
        if index % 8 == 7 and not waltz and chance(rng, 0.4):
            drum_fill(part, rng, start + 4, 88)


def _bass(song: Song, rng: np.random.Generator, chords: list[Chord], waltz: bool) -> None:
    part = song.part("bass", pick(rng, (32, 33, 33, 34)), volume=int(rng.integers(92, 112)), reverb=15)
    for index, start in song.bars():
        chord, following = chords[index % len(chords)], chords[(index + 1) % len(chords)]
        root = 31 + (chord.root - 31) % 12
        fifth = root + 7 if root < 36 else root - 5
        if waltz:
            part.add(start, 0.9, fifth if index % 2 and following == chord else root, 92)
            continue
        part.add(start, 0.9, root, 94)
        part.add(start + 2, 0.9, fifth, 90)
        if following.root != chord.root and chance(rng, 0.5):  # walk up or down into the next chord
            target = 31 + (following.root - 31) % 12
            part.add(start + 3, 0.9, target - 2 if target > root else target + 2, 88)


def _guitar(song: Song, rng: np.random.Generator, chords: list[Chord], electric: bool) -> None:
    part = song.part("guitar", pick(rng, (25, 25, 24, 25)), volume=int(rng.integers(80, 105)), pan=int(rng.integers(25, 55)))
    second = song.part("electric", pick(rng, (27, 29, 26)), volume=int(rng.integers(65, 88)), pan=90) if electric else None
    picked = chance(rng, 0.3)
    for index, start in song.bars():
        chord = chords[index % len(chords)]
        shape = voicing(chord, 59)
        low = 40 + (chord.root - 40) % 12
        for beat in range(song.beats):
            if picked:  # Travis picking: thumb on the beats, fingers between
                part.add(start + beat, 0.9, low if beat % 2 == 0 else low + 7, 84)
                part.add(start + beat + 0.5, 0.8, shape[(beat + 1) % len(shape)] + 12 * (beat % 2), 80)
            elif (beat % 2 == 0 and song.beats == 4) or beat == 0:
                part.add(start + beat, 0.8, low, 82)
            else:
                part.chord(start + beat, 0.5, shape, 84, strum=0.02)
                part.chord(start + beat + 0.5, 0.3, shape[1:], 58, strum=0.01)
        if second is not None:
            second.chord(start, 1.8, (low, low + 7, low + 12), 76, strum=0.03)
            second.chord(start + 2, song.beats - 2.1, (low, low + 7, low + 12), 70, strum=0.03)


def _banjo(song: Song, rng: np.random.Generator, chords: list[Chord]) -> None:
    part = song.part("banjo", 105, volume=int(rng.integers(72, 98)), pan=int(rng.integers(75, 105)))
    roll = pick(rng, ((0, 1, 2, 3, 1, 2, 0, 3), (2, 1, 0, 3, 2, 1, 0, 3), (0, 2, 1, 3, 0, 2, 1, 3)))
    step = 0.25 if song.tempo < 125 else 0.5
    for index, start in song.bars():
        shape = voicing(chords[index % len(chords)], 62)
        tones = [*shape, shape[0] + 12][:4]
        for place in range(int(4 / step)):
            part.add(start + place * step, step * 1.2, tones[roll[place % 8] % len(tones)], 80)


def _steel(song: Song, rng: np.random.Generator, chords: list[Chord]) -> None:
    """Chords that slide into place, as on a pedal steel."""
    if chance(rng, 0.35):
        return
    part = song.part("steel", pick(rng, (26, 27, 26)), volume=int(rng.integers(72, 95)), pan=85, reverb=80, chorus=20)
    for index, start in song.bars():
        if chance(rng, 0.7):
            part.slide(start, pick(rng, (-2.0, -1.0, 1.0)), 0.5)
            part.chord(start, song.beats - 0.2, voicing(chords[index % len(chords)], 70)[:3], 76)


def _tune(song: Song, rng: np.random.Generator, chords: list[Chord], tonic: int, waltz: bool) -> None:
    program = pick(rng, (110, 110, 40, 22, 26, 27, 53, 54, 105, 21))
    part = song.part("tune", program, volume=int(rng.integers(82, 108)), reverb=50)
    scale = pick(rng, ("major", "major pentatonic", "major blues"))
    pitches = scale_pitches(tonic, scale, 58, 81)
    rhythms = WALTZ_TUNES if waltz else TUNES
    line = Melody(rng, pitches, rhythms, order=pick(rng, ("abac", "aabc", "ab.c", "abab")))
    double_stops = program in (110, 40) and chance(rng, 0.5)
    for index, start in song.bars():
        for beat, length, pitch in line.bar(index, chords[index % len(chords)]):
            part.add(start + beat, length * 0.93, pitch, 92)
            if double_stops and length >= 1:
                below = [p for p in pitches if p <= pitch - 3]
                part.add(start + beat, length * 0.93, below[-1] if below else pitch, 80)
            if program in (26, 110) and chance(rng, 0.3):
                part.slide(start + beat, -1.0, 0.15)
