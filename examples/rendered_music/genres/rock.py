"""Rock: a backbeat, power chords and pentatonic riffs on overdriven guitars, a picked bass in eighths; at times softer."""

from __future__ import annotations

import numpy as np

from ..patterns import CRASH, HAT, KICK, OPEN_HAT, RIDE, SNARE, Melody, chance, drum_fill, pick, rhythm, uniform
from ..score import Song
from ..theory import Chord, nearest, power_chord, progression, scale_pitches, voicing

FORMS = (
    "I bVII IV I", "i bVI bVII i", "I IV V IV", "I V vi IV", "i bVII bVI bVII", "I I IV IV", "i bIII bVII IV", "vi IV I V",
    "I bIII IV I", "I I bVII IV",
)  # fmt: skip
KICKS = ("x...x...", "x..xx...", "x...xx..", "x.x.x..x", "x..x.x..", "xx..x...")
STRUMS = ("xxxxxxxx", "x-xxx-xx", "x---x-x-", "x--x--x-", "x-------", "x-x-xxx-")
LEADS = ("x-x-xxx-", "xxx-x---", "x---x-x-", "..xxx-x-", "xxxxxx--", "x-------")


def compose(rng: np.random.Generator, seconds: float) -> Song:
    """Compose a rock song."""
    song = Song(
        rng, tempo=uniform(rng, 92, 168), seconds=seconds, timing=0.008, touch=7,
        room=uniform(rng, 0.2, 0.6), wet=uniform(rng, 0.15, 0.5), balance={"drums": -4, "solo": 3},
    )  # fmt: skip
    tonic = pick(rng, (4, 9, 7, 2, 0, 5, 11, 6))
    form = pick(rng, FORMS)
    verse, chorus = progression(form, tonic), progression(pick(rng, FORMS), tonic)
    chords = [*verse, *verse, *chorus, *chorus]  # eight bars each
    _drums(song, rng)
    _bass(song, rng, chords)
    soft = chance(rng, 0.3)
    _guitars(song, rng, chords, tonic, soft)
    if chance(rng, 0.35):
        _keys(song, rng, chords)
    _lead(song, rng, chords, tonic, minor=form[0] in "iv")
    return song


def _drums(song: Song, rng: np.random.Generator) -> None:
    part = song.part("drums", pick(rng, (0, 8, 16, 16, 8)), volume=int(rng.integers(95, 118)), reverb=40)
    kick = pick(rng, KICKS)
    verse, chorus = pick(rng, ((HAT, RIDE), (HAT, OPEN_HAT), (HAT, CRASH), (OPEN_HAT, RIDE), (HAT, HAT)))
    for index, start in song.bars():
        loud = index % 16 >= 8
        cymbal = chorus if loud else verse
        part.grid(start, "XxXxXxXx" if cymbal != CRASH else "x.x.x.x.", cymbal, 80, step=0.5)
        part.grid(start, kick, KICK, 108, step=0.5)
        part.grid(start, "..X...X.", SNARE, 102, step=0.5)
        if index % 8 == 0:
            part.add(start, 1, CRASH, 105)
        if index % 4 == 3 and chance(rng, 0.5):
            drum_fill(part, rng, start + 4, 104, beats=pick(rng, (1.0, 1.0, 2.0)))


def _bass(song: Song, rng: np.random.Generator, chords: list[Chord]) -> None:
    part = song.part("bass", pick(rng, (34, 34, 33)), volume=int(rng.integers(95, 115)), reverb=12)
    moving = chance(rng, 0.35)
    for index, start in song.bars():
        chord, following = chords[index % 16 % len(chords)], chords[(index + 1) % 16 % len(chords)]
        root = 28 + (chord.root - 28) % 12
        for half in range(8):
            pitch = root
            if moving and half in (3, 5):
                pitch = root + pick(rng, (7, 12, 0))
            if half == 7 and chance(rng, 0.4):
                pitch = max(28, nearest(following.root, root) - 2)
            part.add(start + half * 0.5, 0.46, pitch, 98)


def _guitars(song: Song, rng: np.random.Generator, chords: list[Chord], tonic: int, soft: bool) -> None:
    dirty = pick(rng, (29, 29, 30))
    left = song.part("guitar left", pick(rng, (25, 27)) if soft else dirty, volume=int(rng.integers(80, 102)), pan=20)
    right = song.part("guitar right", pick(rng, (27, 29, 30)), volume=int(rng.integers(75, 98)), pan=108)
    strums = (rhythm(pick(rng, STRUMS)), rhythm(pick(rng, STRUMS)))
    riff = [(beat, length, int(rng.integers(0, 5))) for beat, length in rhythm(pick(rng, STRUMS[1:]))]
    low = scale_pitches(tonic, "minor pentatonic", 40, 60)
    riffing = chance(rng, 0.4)
    for index, start in song.bars():
        loud = index % 16 >= 8
        chord = chords[index % 16 % len(chords)]
        if riffing and not loud:
            for beat, length, place in riff:
                for part in (left, right):
                    part.chord(start + beat, length * 0.9, (low[place], low[place] + 7), 98)
            continue
        for beat, length in strums[loud]:
            full = sorted({40 + (chord.root - 40) % 12, *voicing(chord, 57)})
            left.chord(start + beat, length * 0.95, full if soft else power_chord(chord, 40), 92, strum=0.015)
            if loud or not soft:
                right.chord(start + beat, length * 0.95, power_chord(chord, 40), 92)


def _keys(song: Song, rng: np.random.Generator, chords: list[Chord]) -> None:
    program = pick(rng, (18, 16, 0, 1))
    part = song.part("keys", program, volume=int(rng.integers(55, 82)), pan=75)
    for index, start in song.bars():
        shape = voicing(chords[index % 16 % len(chords)], 62)
        for half in range(1 if program in (16, 18) else 8):
            part.chord(start + half * 0.5, 3.9 if program in (16, 18) else 0.45, shape, 78)


def _lead(song: Song, rng: np.random.Generator, chords: list[Chord], tonic: int, minor: bool) -> None:
    """Sing a line in the verse (on a soft lead sound); play a guitar solo in some choruses."""
    singer = song.part("singer", pick(rng, (53, 54, 85, 27, 29)), volume=int(rng.integers(80, 105)), reverb=60)
    solo = song.part("solo", pick(rng, (29, 30, 29)), volume=int(rng.integers(85, 108)), pan=70, reverb=60)
    scale = "minor pentatonic" if minor else "major pentatonic"
    tune = Melody(rng, scale_pitches(tonic, scale, 57, 74), LEADS, order=pick(rng, ("abac", "aab.", "ab..")))
    lick = Melody(rng, scale_pitches(tonic, pick(rng, (scale, "blues")), 62, 86), LEADS, leap=2, order="abcb")
    soloist = chance(rng, 0.4)
    for index, start in song.bars():
        chord = chords[index % 16 % len(chords)]
        part, line = (solo, lick) if soloist and index % 16 >= 8 else (singer, tune)
        for beat, length, pitch in line.bar(index, chord):
            part.add(start + beat, length * 0.93, pitch, 96)
            if part is solo and length >= 1 and chance(rng, 0.5):
                part.slide(start + beat, -2.0, 0.25)
