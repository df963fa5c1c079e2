"""Jazz: swing ride, walking bass, ii-V-I, rootless comping, an improvised line of eighths; at times a ballad or bossa nova."""

from __future__ import annotations

import numpy as np

from ..patterns import HAT, KICK, PEDAL_HAT, RIDE, SNARE, STICK, chance, pick, uniform, walking_bar
from ..score import Song
from ..theory import Chord, nearest, progression, scale_pitches, voicing

FORMS = (
    "ii9 V13 Imaj9 Imaj9 ii9 V13 Imaj9 VI7b9",
    "Imaj7 VI7b9 ii9 V13 iii7 VI7b9 ii9 V13",
    "ii9 V13 Imaj9 IVmaj7 iim7b5 V7b9 i6 i6",
    "i6 i6 iim7b5 V7b9 iv7 bVII7 bIIImaj7 V7b9",
    "I13 IV13 I13 I13 IV13 #ivdim7 I13 VI7b9 ii9 V13 I13 V13",
    "Imaj9 bIIImaj7 bVImaj7 V13 Imaj9 II9 ii9 V13",
    "i9 i9 i9 i9 bii9 bii9 i9 i9",
)
STABS = ((0, 1.5), (1.5, 3), (0.5, 2.5), (1, 2.5), (0, 2.5), (1.5,), (3.5,), (0, 1.5, 3.5))


def compose(rng: np.random.Generator, seconds: float) -> Song:
    """Compose a jazz piece."""
    style = pick(rng, ("swing", "swing", "swing", "swing", "swing", "ballad", "bossa"))
    tempo = {"swing": uniform(rng, 115, 235), "ballad": uniform(rng, 62, 90), "bossa": uniform(rng, 120, 150)}[style]
    # The faster, the straighter: from near a triplet at 115 to about 0.58 at 235.
    swing = 0.5 if style == "bossa" else 0.68 - 0.1 * max(0.0, tempo - 110) / 125
    song = Song(
        rng, tempo=tempo, seconds=seconds, swing=swing, timing=0.008, touch=9,
        room=uniform(rng, 0.2, 0.7), wet=uniform(rng, 0.2, 0.7), balance={"drums": 6, "comping": 4, "bass": -2},
    )  # fmt: skip
    chords = progression(pick(rng, FORMS), pick(rng, (5, 10, 3, 0, 8, 7, 1, 2)))
    if chance(rng, 0.92):
        _drums(song, rng, style)
    _bass(song, rng, chords, style)
    _comping(song, rng, chords, style)
    _solo(song, rng, chords, style)
    return song


def _drums(song: Song, rng: np.random.Generator, style: str) -> None:
    kit = 40 if style == "ballad" else pick(rng, (32, 32, 0, 40))
    part = song.part("drums", kit, volume=int(rng.integers(65, 95)), reverb=40)
    busy = uniform(rng, 0.1, 0.45)
    for _, start in song.bars():
        if style == "bossa":
            part.grid(start, "xxxxxxxx", HAT, 58, step=0.5)
            part.grid(start, "x..xx..x", KICK, 62, step=0.5)
            part.grid(start, pick(rng, ("x..x..x.", "..x..x..")), STICK, 66, step=0.5)
            continue
        for beat in (0, 1, 1.5, 2, 3, 3.5):  # ding, ding-a-ding
            part.add(start + beat, 0.4, RIDE, 84 if beat in (1, 3) else 70)
        part.grid(start, ".x.x", PEDAL_HAT, 70, step=1)
        part.grid(start, "oooo", KICK, 70, step=1)
        for half in range(8):
            if chance(rng, busy * 0.5):
                part.add(start + half * 0.5, 0.3, SNARE, int(rng.integers(35, 75)))


def _bass(song: Song, rng: np.random.Generator, chords: list[Chord], style: str) -> None:
    part = song.part("bass", 32 if chance(rng, 0.9) else 35, volume=int(rng.integers(95, 120)), reverb=25)
    last = 38
    for index, start in song.bars():
        chord, following = chords[index % len(chords)], chords[(index + 1) % len(chords)]
        if style == "swing":
            for beat, pitch in enumerate(walking_bar(rng, chord, following, last)):
                part.add(start + beat, 0.92, pitch, 92)
                last = pitch
        else:
            root = nearest(chord.root, 38)
            onsets = ((0, 1.4, 0), (1.5, 0.5, 7), (2, 1.4, 7), (3.5, 0.5, 0))
            for onset, length, step in onsets if style == "bossa" else onsets[::2]:
                part.add(start + onset, length, root + step, 84)


def _comping(song: Song, rng: np.random.Generator, chords: list[Chord], style: str) -> None:
    program = 24 if style == "bossa" else pick(rng, (0, 0, 0, 26, 26, 11, 4))
    part = song.part("comping", program, volume=int(rng.integers(65, 95)), pan=int(rng.integers(30, 70)))
    density = uniform(rng, 0.6, 1.0)
    for index, start in song.bars():
        shape = voicing(chords[index % len(chords)], 60, size=5, rootless=True)
        if style == "ballad":
            part.chord(start, 3.6, shape, 62, strum=0.03)
            continue
        if style == "bossa":
            for beat in (0, 1.5, 2.5, 3.5) if index % 2 else (0, 1, 2.5):
                part.chord(start + beat, 0.6, shape, 70, strum=0.01)
        elif program == 26 and density > 0.85:  # four to the bar
            for beat in range(4):
                part.chord(start + beat, 0.5, shape, 60)
        elif chance(rng, density):
            for beat in pick(rng, STABS):
                part.chord(start + beat, pick(rng, (0.3, 0.45, 1.2)), shape, int(rng.integers(60, 82)))


def _solo(song: Song, rng: np.random.Generator, chords: list[Chord], style: str) -> None:
    program = pick(rng, (56, 56, 66, 66, 65, 59, 71, 0, 0, 11, 26, 57, 73))
    part = song.part("solo", program, volume=int(rng.integers(95, 118)), pan=int(rng.integers(55, 85)), reverb=50)
    low = {66: 50, 57: 46, 26: 55, 65: 54}.get(program, 58)
    long_notes = 0.5 if style != "swing" else uniform(rng, 0.1, 0.3)
    pitch, playing, direction = low + 12, True, 1
    for index, start in song.bars():
        chord = chords[index % len(chords)]
        scale = scale_pitches(chord.root, _scale(chord), low, low + 26)
        if chance(rng, 0.25):
            playing = not playing
        position = 0.0 if playing else pick(rng, (2.5, 4.0, 4.0))
        while position < 4:
            if pitch >= low + 24 or pitch <= low + 2 or chance(rng, 0.2):
                direction = 1 if pitch < low + 13 else -1
            length = pick(rng, (1.0, 1.5, 2.0)) if chance(rng, long_notes) else 0.5
            if position % 1 == 0:  # chord tones on the beat
                wanted = [p for p in scale if p % 12 in chord.pitch_classes and 0 < (p - pitch) * direction <= 5]
                pitch = pick(rng, wanted) if wanted else min(scale, key=lambda p: abs(p - pitch))
            else:  # between beats a scale step, at times a chromatic approach
                steps = [p for p in scale if 0 < (p - pitch) * direction <= 4]
                pitch = pitch + direction if chance(rng, 0.2) or not steps else steps[0 if direction > 0 else -1]
            if not chance(rng, 0.08):
                part.add(start + position, min(length, 4 - position) * 0.95, pitch, 88 + 10 * (position % 1 != 0))
            position += length
        if chance(rng, 0.1):
            direction = -direction


def _scale(chord: Chord) -> str:
    if chord.third == 3:
        return "dorian" if 7 in chord.intervals else "phrygian"
    return "mixolydian" if 10 in chord.intervals else "major"
