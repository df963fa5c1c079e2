"""What the composing and rendering of examples/rendered_music promise."""

from __future__ import annotations

import io
import shutil
from pathlib import Path

import mido
import numpy as np
import pytest
import soundfile as sf

import render_music
from rendered_music import patterns
from rendered_music.dataset import FAMILIES, SPLITS, Clip, compose, plan, render, write_index
from rendered_music.genres import GENRES, blues
from rendered_music.loudness import channel_volume
from rendered_music.render import SAMPLE_RATE, Chain, apply_chain, draw_chain
from rendered_music.score import DRUM_CHANNEL, Part, Song
from rendered_music.solos import INSTRUMENTS
from rendered_music.theory import power_chord, progression, scale_pitches, voicing

SEEDS = range(6)
EVERY_CLASS = [(family, label) for family, labels in FAMILIES.items() for label in labels]
needs_synthesiser = pytest.mark.skipif(
    shutil.which("fluidsynth") is None or not render_music.SOUND_FONT.exists(), reason="needs fluidsynth and its sound font"
)


def songs(label: str, family: str = "genres", seconds: float = 20.0) -> list[Song]:
    return [compose(Clip(family, "train", label, 0, seconds, seed))[0] for seed in SEEDS]


def hits(part: Part, *drums: int, beats: int = 4) -> list[float]:
    """Beats of the bar on which drums are struck."""
    return [note.start % beats for note in part.notes if note.pitch in drums]


def notes_of(song: Song) -> tuple[object, ...]:
    return (round(song.tempo, 6), *((part.program, tuple(part.notes)) for part in song.parts.values()))


# --- seeds and splits


@pytest.mark.parametrize(("family", "label"), EVERY_CLASS)
def test_same_seed_gives_the_same_midi(family: str, label: str) -> None:
    clip = Clip(family, "train", label, 3, 5.0, 0)
    assert compose(clip)[1] == compose(clip)[1]


@pytest.mark.parametrize(("family", "label"), EVERY_CLASS)
def test_splits_indices_and_seeds_share_no_composition(family: str, label: str) -> None:
    clips = [Clip(family, split, label, index, 5.0, seed) for split in SPLITS for index in range(2) for seed in range(2)]
    assert len({notes_of(compose(clip)[0]) for clip in clips}) == len(clips)


def test_plan_interleaves_the_classes_and_counts_each_split() -> None:
    clips = plan("genres", {"train": 3, "test": 1}, seconds=30, seed=0)
    assert [clip.label for clip in clips[:10]] == sorted(GENRES)
    assert len({clip.path for clip in clips}) == len(clips) == 40
    assert clips[-1].path == Path("genres", "test", "rock", "rock.00000.wav")


@pytest.mark.parametrize(("family", "label"), EVERY_CLASS)
def test_music_sounds_within_the_first_bar_of_a_clip_and_to_its_end(family: str, label: str) -> None:
    for song in songs(label, family):
        starts = [note.start for part in song.parts.values() for note in part.notes]
        assert any(song.beats <= start < 2 * song.beats for start in starts)
        end = song.beats + 20.0 * song.tempo / 60
        assert max(starts) >= end - song.beats


@pytest.mark.parametrize(("family", "label"), EVERY_CLASS)
def test_midi_is_valid_and_uses_one_channel_a_part(family: str, label: str) -> None:
    song, midi = compose(Clip(family, "train", label, 0, 8.0, 1))
    file = mido.MidiFile(file=io.BytesIO(midi))
    channels = [{message.channel for message in track if not message.is_meta} for track in file.tracks[1:]]
    assert all(len(used) == 1 for used in channels)
    assert len(set.union(*channels)) == len(song.parts)


# --- what makes a genre


def test_blues_has_twelve_bars_and_swings() -> None:
    assert {len(form.split()) for form in blues.FORMS} == {12}
    assert all(form.split()[4].lower().startswith("iv") for form in blues.FORMS)
    assert all(0.6 < song.swing < 0.7 for song in songs("blues"))


def test_classical_has_no_drums() -> None:
    for seed in SEEDS:
        _, midi = compose(Clip("genres", "train", "classical", 0, 10.0, seed))
        tracks = mido.MidiFile(file=io.BytesIO(midi)).tracks
        assert DRUM_CHANNEL not in {message.channel for track in tracks for message in track if not message.is_meta}


def test_country_bass_alternates_root_and_fifth() -> None:
    for song in songs("country"):
        if song.beats == 3:
            continue
        notes = {note.start: note.pitch for note in song.parts["bass"].notes}
        for _, start in song.bars():
            assert (notes[start + 2] - notes[start]) % 12 == 7


def test_disco_kicks_on_every_beat_and_opens_the_hat_between() -> None:
    for song in songs("disco"):
        drums = song.parts["drums"]
        assert set(hits(drums, patterns.KICK)) == {0, 1, 2, 3}
        assert len(hits(drums, patterns.KICK)) == 4 * song.num_bars
        assert set(hits(drums, patterns.OPEN_HAT)) == {0.5, 1.5, 2.5, 3.5}


def test_hiphop_is_slow_and_repeats_a_loop_of_two_bars() -> None:
    for song in songs("hiphop", seconds=10):
        assert 75 < song.tempo < 110
        assert song.swing_unit == 0.25
        bars: dict[int, set[tuple[float, int]]] = {}
        for index, start in song.bars():
            inside = {(note.start - start, note.pitch) for note in song.parts["loop"].notes if start <= note.start < start + 4}
            if inside:
                assert bars.setdefault(index % 2, inside) == inside


def test_jazz_ride_swings_over_a_walking_bass() -> None:
    swinging = [song for song in songs("jazz") if song.swing > 0.5 and song.tempo > 100]
    assert swinging
    for song in swinging:
        assert 0.56 < song.swing < 0.69
        assert song.swung(1.5) == pytest.approx(1 + song.swing)
        assert [note.start for note in song.parts["bass"].notes] == list(range(4 * song.num_bars))
        if "drums" in song.parts:
            assert set(hits(song.parts["drums"], patterns.RIDE)) == {0, 1, 1.5, 2, 3, 3.5}


def test_metal_guitars_play_low_fifths_only() -> None:
    for song in songs("metal"):
        strikes: dict[float, set[int]] = {}
        for note in song.parts["guitar left"].notes:
            strikes.setdefault(note.start, set()).add(note.pitch)
        for pitches in strikes.values():
            assert sorted(pitch - min(pitches) for pitch in pitches) in ([0, 7], [0, 7, 12])
        assert min(map(min, strikes.values())) <= 45


def test_pop_repeats_its_four_chords() -> None:
    for song in songs("pop"):
        chords: dict[int, set[int]] = {}
        for index, start in song.bars():
            chord = {note.pitch for note in song.parts["pad"].notes if note.start == start}
            assert chords.setdefault(index % 4, chord) == chord


def test_reggae_kick_never_falls_on_beat_one_and_the_skank_is_off_the_beat() -> None:
    for song in songs("reggae"):
        assert set(hits(song.parts["drums"], patterns.KICK)) == {1, 3}
        assert {note.start % 1 >= 0.5 for note in song.parts["skank"].notes} == {True}


def test_rock_has_a_backbeat() -> None:
    for song in songs("rock"):
        struck = hits(song.parts["drums"], patterns.SNARE)
        assert struck.count(1.0) >= song.num_bars
        assert struck.count(3.0) >= song.num_bars


@pytest.mark.parametrize("name", sorted(INSTRUMENTS))
def test_a_solo_is_one_instrument_in_its_register(name: str) -> None:
    for song in songs(name, "solos", seconds=3.0):
        (part,) = song.parts.values()
        assert part.program in INSTRUMENTS[name].programs
        floor = 26 if name == "piano" else INSTRUMENTS[name].low
        assert floor <= min(note.pitch for note in part.notes)
        assert max(note.pitch for note in part.notes) <= INSTRUMENTS[name].high + 1


# --- theory and feel


def test_roman_numerals_become_chords() -> None:
    two, five, one = progression("ii7 V7 Imaj7", tonic=0)
    assert (two.root, two.intervals) == (2, (0, 3, 7, 10))
    assert (five.root, five.intervals) == (7, (0, 4, 7, 10))
    assert one.pitch_classes == (0, 4, 7, 11)
    assert progression("bVII", tonic=2)[0].root == 0
    assert voicing(one, 60) == [55, 59, 60, 64]
    assert power_chord(progression("V", tonic=9)[0], 40) == [40, 47, 52]
    assert scale_pitches(9, "minor pentatonic", 57, 69) == [57, 60, 62, 64, 67, 69]


@pytest.mark.parametrize("numeral", ["H", "Iwrong"])
def test_a_wrong_numeral_is_named(numeral: str) -> None:
    with pytest.raises(ValueError, match=numeral):
        progression(f"I {numeral}", tonic=0)


def test_swing_moves_off_beats_alone() -> None:
    song = Song(np.random.default_rng(0), tempo=100, seconds=4, swing=2 / 3)
    assert [song.swung(beat) for beat in (0, 0.5, 1, 1.5)] == pytest.approx([0, 2 / 3, 1, 5 / 3])


def test_a_pitch_struck_again_ends_first() -> None:
    song = Song(np.random.default_rng(0), tempo=100, seconds=2, timing=0, touch=0)
    part = song.part("piano", 0)
    part.add(0, 4, 60, 90)
    part.add(1, 1, 60, 90)
    track = mido.MidiFile(file=io.BytesIO(song.midi(np.random.default_rng(0)))).tracks[1]
    assert [message.type for message in track if "note" in message.type] == ["note_on", "note_off"] * 2


def test_quiet_presets_are_turned_up() -> None:
    assert channel_volume(12, 80) > channel_volume(29, 80)
    assert channel_volume(0, 80, balance_db=6) > channel_volume(0, 80)
    assert channel_volume(29, 100, drums=True) == 100


# --- effects


def test_chain_sets_the_peak_and_keeps_the_length() -> None:
    wave = np.random.default_rng(0).standard_normal(SAMPLE_RATE)
    chain = Chain(peak_db=-6.0, tilt_db=0.8, source_rate=8_000, noise_db=-40, drive=1.0, echo=0.3, echo_seconds=0.5)
    out = apply_chain(wave, chain, np.random.default_rng(1))
    assert out.shape == wave.shape
    assert 20 * np.log10(np.abs(out).max()) == pytest.approx(-6.0, abs=0.01)


def test_an_old_source_has_no_treble() -> None:
    wave = np.random.default_rng(0).standard_normal(SAMPLE_RATE)
    out = apply_chain(wave, Chain(peak_db=-3.0, source_rate=8_000), np.random.default_rng(1))
    power = np.abs(np.fft.rfft(out)) ** 2
    assert power[5_000:].sum() < 1e-4 * power[:3_500].sum()


def test_only_the_other_split_saturates_and_echoes() -> None:
    seen = [draw_chain(np.random.default_rng(seed), unseen=False) for seed in range(100)]
    unseen = [draw_chain(np.random.default_rng(seed), unseen=True) for seed in range(100)]
    assert all(chain.drive == chain.echo == 0 for chain in seen)
    assert any(chain.drive > 0 for chain in unseen)
    assert any(chain.echo > 0 for chain in unseen)
    assert 0.15 < np.mean([chain.source_rate is not None for chain in seen]) < 0.35
    assert all(-20 <= chain.peak_db <= -1 for chain in seen + unseen)


# --- files


@needs_synthesiser
def test_rendering_makes_sound_resumes_and_indexes(tmp_path: Path) -> None:
    clips = plan("solos", {"train": 1}, seconds=1.0, seed=0, labels=["piano", "violin"])
    assert [new for _, new in render(clips, tmp_path, render_music.SOUND_FONT, keep_midi=True)] == [True, True]
    first = (tmp_path / clips[0].path).read_bytes()
    (tmp_path / clips[1].path).unlink()
    assert [new for _, new in render(clips, tmp_path, render_music.SOUND_FONT)] == [False, True]
    (tmp_path / clips[0].path).unlink()
    list(render(clips, tmp_path, render_music.SOUND_FONT))
    assert (tmp_path / clips[0].path).read_bytes() == first

    samples, rate = sf.read(tmp_path / clips[0].path)
    assert (rate, samples.shape) == (SAMPLE_RATE, (SAMPLE_RATE,))
    assert 0.09 < np.abs(samples).max() < 0.9
    assert (tmp_path / clips[0].path).with_suffix(".mid").read_bytes() == compose(clips[0])[1]
    lines = write_index(clips, tmp_path).read_text().splitlines()
    assert lines[0] == "label,path,split,seed"
    assert lines[1:] == [f"{name},train/{name}/{name}.00000.wav,train,0" for name in ("piano", "violin")]


def test_a_missing_sound_font_is_wrong_usage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        render_music.main(["--output", str(tmp_path), "--soundfont", str(tmp_path / "none.sf2")])
    assert stop.value.code == 2
    assert "none.sf2 does not exist" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("arguments", [["--seconds", "0"], ["--clips-per-class", "1", "2"], ["--label", "polka"]])
def test_wrong_numbers_and_names_are_wrong_usage(arguments: list[str], tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as stop:
        render_music.main(["--output", str(tmp_path), *arguments])
    assert stop.value.code == 2
