"""What the one door for audio promises, for sound and for unsound input."""

import os
import tracemalloc
import warnings
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr
import torch

from pecmae.audio.segments import audio_duration, find_audio_files, iter_segments, load_audio, write_audio
from pecmae.errors import AudioError, AudioWarning

RATE = 24_000


def music(seconds: float, rate: int, channels: int = 2) -> np.ndarray:
    """A gliding tone in noise (samples, channels): something that codecs spend bits on."""
    t = np.arange(round(seconds * rate)) / rate
    noise = np.random.default_rng(0).standard_normal((len(t), channels))
    return (0.3 * np.sin(2 * np.pi * (300 * t + 40 * t**2))[:, None] + 0.05 * noise).astype(np.float32)


def cut(path: Path, keep: float) -> Path:
    """The first part of a file, beside it."""
    data = path.read_bytes()
    shorter = path.with_name(f"cut-{path.name}")
    shorter.write_bytes(data[: int(keep * len(data))])
    return shorter


# Segments


@pytest.mark.parametrize(("rate", "channels"), [(8_000, 1), (24_000, 1), (24_000, 6), (44_100, 2), (48_000, 6), (192_000, 2)])
def test_file_equals_one_shot_resampling_of_the_mean_of_its_channels(tmp_path: Path, rate: int, channels: int) -> None:
    samples = music(1.7, rate, channels)
    soundfile.write(tmp_path / "a.wav", samples, rate, subtype="FLOAT")
    expected = soxr.resample(samples.mean(axis=1, dtype=np.float32), rate, RATE, quality="HQ")
    np.testing.assert_allclose(load_audio(tmp_path / "a.wav", target_rate=RATE), expected, atol=1e-6)
    assert audio_duration(tmp_path / "a.wav") == pytest.approx(1.7, abs=1e-4)


def test_segments_are_the_track_in_pieces_with_a_padded_tail(tone: np.ndarray) -> None:
    segments = list(iter_segments(tone, segment_samples=9_600, target_rate=RATE, sampling_rate=RATE))
    assert [(s.length, s.offset) for s in segments] == [(9_600, 0), (9_600, 9_600), (7_200, 19_200)]
    np.testing.assert_array_equal(np.concatenate([s.samples[: s.length] for s in segments]), tone)
    assert not segments[-1].samples[7_200:].any()
    assert all(s.samples.shape == (9_600,) and s.samples.dtype == np.float32 for s in segments)


@pytest.mark.parametrize(
    ("samples", "minimum", "lengths"), [(1_000, 300, [400, 400]), (1_100, 300, [400, 400, 300]), (50, 300, [50])]
)
def test_short_tail_is_dropped_unless_it_is_all_there_is(samples: int, minimum: int, lengths: list[int]) -> None:
    wav = np.full(samples, 0.1, np.float32)
    segments = iter_segments(wav, segment_samples=400, target_rate=RATE, sampling_rate=RATE, minimum_samples=minimum)
    assert [s.length for s in segments] == lengths


def test_kept_segments_are_not_overwritten(tone: np.ndarray) -> None:
    segments = list(iter_segments(tone, segment_samples=1_000, target_rate=RATE, sampling_rate=RATE))
    np.testing.assert_array_equal(segments[3].samples, tone[3_000:4_000])


def test_array_equals_file(tmp_path: Path) -> None:
    samples = music(0.8, 44_100)
    soundfile.write(tmp_path / "a.wav", samples, 44_100, subtype="FLOAT")
    from_array = load_audio(samples.T, target_rate=RATE, sampling_rate=44_100)
    np.testing.assert_array_equal(from_array, load_audio(tmp_path / "a.wav", target_rate=RATE))


@pytest.mark.parametrize("extension", ["wav", "flac", "ogg", "opus", "mp3", "aiff", "au", "caf", "w64"])
def test_every_format_is_read(tmp_path: Path, extension: str) -> None:
    path, samples = tmp_path / f"a.{extension}", music(1.0, 48_000)
    kind = {"format": "OGG", "subtype": "OPUS"} if extension == "opus" else {}
    soundfile.write(path, samples, 48_000, **kind)
    heard, meant = load_audio(path, target_rate=RATE), load_audio(samples.T, target_rate=RATE, sampling_rate=48_000)
    assert len(heard) == RATE
    assert np.corrcoef(heard, meant)[0, 1] > 0.95


@pytest.mark.parametrize("name", ["Música ~ 音.wav", "no extension", "wrong.xyz", "[1] a*b?.wav", " .wav"])
def test_content_decides_and_any_name_will_do(tmp_path: Path, name: str, tone: np.ndarray) -> None:
    soundfile.write(tmp_path / name, tone, RATE, format="WAV", subtype="FLOAT")
    np.testing.assert_array_equal(load_audio(str(tmp_path / name), target_rate=RATE), tone)


@pytest.mark.skipif(os.name == "nt" or os.uname().sysname == "Darwin", reason="file names there are Unicode")
def test_name_that_is_not_unicode_is_read_and_can_be_printed(tmp_path: Path, tone: np.ndarray) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.wav"))
    soundfile.write(os.fsencode(path), tone, RATE, format="WAV")
    assert len(load_audio(path, target_rate=RATE)) == len(tone)
    path.write_bytes(b"")
    with pytest.raises(AudioError, match="caf") as error:
        load_audio(path, target_rate=RATE)
    str(error.value).encode()


def test_memory_does_not_grow_with_duration(tmp_path: Path) -> None:
    def peak(seconds: int) -> int:
        path = tmp_path / f"{seconds}.flac"
        soundfile.write(path, np.tile(music(1.0, 16_000, 1), (seconds, 1)), 16_000)
        tracemalloc.start()
        count = sum(1 for _ in iter_segments(path, segment_samples=RATE, target_rate=RATE))
        size = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert count == seconds
        return size

    peak(5)  # imports and caches
    assert peak(200) < 1.2 * peak(20)


def test_file_is_closed_when_iteration_stops_early(tmp_path: Path, tone: np.ndarray) -> None:
    write_audio(tmp_path / "a.wav", tone, RATE)
    with warnings.catch_warnings():
        warnings.simplefilter("error", ResourceWarning)
        segments = iter_segments(tmp_path / "a.wav", segment_samples=100, target_rate=RATE)
        next(segments)
        segments.close()  # type: ignore[attr-defined]
    handles = Path("/proc/self/fd")
    if handles.is_dir():
        assert not [h for h in handles.iterdir() if h.is_symlink() and str(tmp_path) in str(h.readlink())]


# Arrays


@pytest.mark.parametrize(
    ("dtype", "full_scale", "centre"), [("int8", 128, 0), ("uint8", 128, 128), ("int16", 2**15, 0), ("int32", 2**31, 0)]
)
def test_integers_are_scaled_by_their_type(dtype: str, full_scale: int, centre: int) -> None:
    wav = np.array([-0.5, 0, 0.25, 0.5])
    integers = (wav * full_scale + centre).astype(dtype)
    before = integers.copy()
    np.testing.assert_allclose(load_audio(integers, target_rate=RATE, sampling_rate=RATE), wav, atol=1e-7)
    np.testing.assert_array_equal(integers, before)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_tensors_of_any_float_type_are_taken(dtype: torch.dtype) -> None:
    wav = torch.tensor([[0.5, -0.25], [0.0, 0.75]], dtype=dtype, requires_grad=True)
    np.testing.assert_array_equal(load_audio(wav, target_rate=RATE, sampling_rate=RATE), [0.25, 0.25])


def test_the_callers_array_is_never_changed_nor_shared() -> None:
    wav = music(0.5, RATE, 1)[:, 0]
    before = wav.copy()
    loaded = load_audio(wav, target_rate=RATE, sampling_rate=RATE)
    loaded[:] = 0
    for segment in iter_segments(wav, segment_samples=1_000, target_rate=RATE, sampling_rate=RATE):
        segment.samples[:] = 0
    np.testing.assert_array_equal(wav, before)


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.zeros((1, 2, 3), np.float32), r"shape \(1, 2, 3\)"),
        (np.zeros((), np.float32), r"shape \(\)"),
        (np.zeros((RATE, 2), np.float32), "24000 channels"),
        (np.zeros((0, 5), np.float32), "0 channels"),
        (np.zeros(0, np.float32), "0 audio frames"),
        (np.ones(5, np.int64), "int64"),
        (np.ones(5, np.uint16), "uint16"),
        (np.ones(5, bool), "bool"),
        (np.ones(5, complex), "complex128"),
        (np.array(["a"]), "U1"),
        (np.full(5, 1e300), "NaN or infinite"),
        ([0.1, 0.2], "list"),
        (b"abc", "bytes"),
        (None, "NoneType"),
    ],
)
def test_unusable_arrays_are_refused(array: object, words: str) -> None:
    with pytest.raises(AudioError, match=words):
        load_audio(array, target_rate=RATE, sampling_rate=RATE)


def test_array_without_a_rate_is_refused() -> None:
    with pytest.raises(ValueError, match="sampling_rate="):
        load_audio(np.ones(5, np.float32), target_rate=RATE)


@pytest.mark.parametrize("rate", [0, -1, 0.5, float("nan"), True])
def test_impossible_rates_are_refused(rate: float) -> None:
    with pytest.raises(AudioError, match="positive whole number"):
        load_audio(np.ones(5, np.float32), target_rate=RATE, sampling_rate=rate)  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_nan_and_infinity_are_refused_with_their_place(tmp_path: Path, value: float) -> None:
    samples = music(2.0, 44_100)
    samples[66_150, 1] = value
    soundfile.write(tmp_path / "nan.wav", samples, 44_100, subtype="FLOAT")
    for source, rate in ((tmp_path / "nan.wav", None), (samples.T, 44_100)):
        with pytest.raises(AudioError, match=r"at 1\.500 s"):
            load_audio(source, target_rate=RATE, sampling_rate=rate)


@pytest.mark.parametrize("source_rate", [8_000, 24_000, 44_100])
def test_one_sample_is_a_segment(source_rate: int) -> None:
    (segment,) = iter_segments(np.array([0.5], np.float32), segment_samples=10, target_rate=RATE, sampling_rate=source_rate)
    assert segment.length == max(1, round(RATE / source_rate))
    assert segment.offset == 0


def test_less_than_one_sample_at_the_target_rate_is_refused() -> None:
    with pytest.raises(AudioError, match=r"1 sample\(s\) at 192000 Hz"):
        load_audio(np.array([0.5], np.float32), target_rate=RATE, sampling_rate=192_000)


def test_silence_is_used_with_a_warning(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "silence.wav", np.zeros((RATE, 2)), RATE)
    with pytest.warns(AudioWarning, match=r"silence\.wav: is silent"):
        (segment,) = iter_segments(tmp_path / "silence.wav", segment_samples=RATE, target_rate=RATE)
    assert segment.length == RATE


def test_channels_that_cancel_each_other_are_said() -> None:
    wav = music(0.5, RATE, 1)[:, 0]
    with pytest.warns(AudioWarning, match="silent"), pytest.warns(AudioWarning, match="inverted against another in 100%"):
        load_audio(np.stack([wav, -wav]), target_rate=RATE, sampling_rate=RATE)


def test_float_array_on_the_scale_of_integers_is_warned_of() -> None:
    with pytest.warns(AudioWarning, match="within ±1"):
        load_audio(np.array([1000.0, -3000.0]), target_rate=RATE, sampling_rate=RATE)


# Broken files


def test_missing_file_is_file_not_found(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nothing\.wav: no such file"):
        load_audio(tmp_path / "nothing.wav", target_rate=RATE)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("empty.wav", b"", "0 bytes"),
        ("text.wav", b"Dear diary,\nno music today.\n", "text, not audio"),
        ("caf\u00e9.wav", ("é" * 600).encode(), "text, not audio"),
        ("random.wav", bytes(range(128, 256)) * 10, "not audio that can be read; give one of WAV, FLAC"),
        (
            "song.m4a",
            b"\0\0\0\x1cftypM4A \0\0\2\0isom" + bytes(100),
            "is MPEG-4 audio .*convert it to one of WAV",
        ),
        ("song.mp3", b"\0\0\0\x1cftypM4A \0\0\2\0isom" + bytes(100), "MPEG-4 audio"),
        ("header.wav", b"RIFF\x24\0\0\0WAVEfmt ", "damaged or cut off"),
        ("header.flac", b"fLaC\0\0\0\x22", "damaged or cut off"),
        ("header.mp3", b"ID3\4\0\0\0\0\0\0", "damaged or cut off"),
        ("samples.raw", bytes(range(1, 255)), "without a header"),
    ],
)
def test_what_is_not_audio_is_named(tmp_path: Path, name: str, content: bytes, words: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(AudioError, match=words) as error:
        load_audio(path, target_rate=RATE)
    assert str(path) in str(error.value)
    with pytest.raises(AudioError):
        audio_duration(path)


def test_folder_is_not_a_file(tmp_path: Path) -> None:
    with pytest.raises(AudioError, match="is a folder"):
        load_audio(tmp_path, target_rate=RATE)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.wav")
    with pytest.raises(AudioError, match="not a regular file"):
        load_audio(tmp_path / "pipe.wav", target_rate=RATE)


@pytest.mark.parametrize("name", ["a\0b.wav", "x" * 5_000])
def test_impossible_names_are_sentences(name: str) -> None:
    with pytest.raises((AudioError, FileNotFoundError), match=r"cannot be opened|no such file"):
        load_audio(name, target_rate=RATE)


@pytest.mark.parametrize("extension", ["wav", "flac", "ogg", "mp3", "aiff", "au", "w64", "rf64"])
@pytest.mark.parametrize("keep", [0.3, 0.6])
def test_cut_off_file_is_used_as_far_as_it_goes_with_a_warning(tmp_path: Path, extension: str, keep: float) -> None:
    path = tmp_path / f"a.{extension}"
    soundfile.write(path, music(4.0, 44_100), 44_100)
    broken = cut(path, keep)
    with pytest.warns(AudioWarning, match=rf"cut-a\.{extension}: is cut off or damaged.* s.*readable part is used") as caught:
        samples = load_audio(broken, target_rate=RATE)
    assert len(caught) == 1
    if extension != "ogg":  # an Ogg file does not say how long it is
        assert "of 4.00 s" in str(caught[0].message)
    assert 0 < len(samples) < (keep + 0.1) * 4 * RATE
    whole = load_audio(path, target_rate=RATE)
    similar = len(samples) - 2_000
    np.testing.assert_allclose(samples[:similar], whole[:similar], atol=2e-2)


@pytest.mark.parametrize("extension", ["flac", "ogg", "mp3"])
def test_damage_in_the_middle_is_reported(tmp_path: Path, extension: str) -> None:
    path = tmp_path / f"a.{extension}"
    soundfile.write(path, music(4.0, 44_100), 44_100)
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 3_000] = np.random.default_rng(1).bytes(3_000)
    path.write_bytes(data)
    with pytest.warns(AudioWarning, match=r"cut off or damaged: \d\.\d\d s of 4\.00 s"):
        samples = load_audio(path, target_rate=RATE)
    assert len(samples) > 1.5 * RATE


@pytest.mark.parametrize("extension", ["wav", "aiff", "ogg"])
def test_header_without_samples_is_an_error(tmp_path: Path, extension: str) -> None:
    path = tmp_path / f"a.{extension}"
    soundfile.write(path, np.zeros((0, 1)), RATE)
    with pytest.raises(AudioError, match=r"0 audio frames|damaged or cut off"):
        load_audio(path, target_rate=RATE)


# Healthy files that look broken


def as_written_to_a_pipe(path: Path) -> None:
    """Take the length out of a header, as a program does that cannot go back to write it."""
    data = bytearray(path.read_bytes())
    if path.suffix == ".wav":
        data[4:8] = data[40:44] = b"\xff\xff\xff\xff"
    else:  # FLAC: 36 bits of STREAMINFO
        data[21] &= 0xF0
        data[22:26] = bytes(4)
    path.write_bytes(data)


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
@pytest.mark.parametrize("seconds", [0.1, 1, 3])
def test_a_short_ogg_file_is_whole(tmp_path: Path, subtype: str, seconds: float) -> None:
    # In its last pages libsndfile overlooks the mark of the end; a warning fails this test.
    tone = 0.3 * np.sin(np.arange(round(seconds * RATE)) / 9)
    soundfile.write(tmp_path / "a.ogg", tone, RATE, format="OGG", subtype=subtype)
    assert len(load_audio(tmp_path / "a.ogg", target_rate=RATE)) == len(tone)
    with pytest.raises((AudioError, AudioWarning), match="cut off"):
        load_audio(cut(tmp_path / "a.ogg", 0.999), target_rate=RATE)


def without_frame_count(data: bytes) -> bytes:
    """An mp3 (MPEG-1 layer III) without its first frame, the one that holds the count."""
    rates = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
    assert b"Xing" in data[:200] or b"Info" in data[:200]
    return data[144_000 * rates[data[2] >> 4] // 44_100 + (data[2] >> 1 & 1) :]


@pytest.mark.parametrize("extension", ["wav", "flac"])
def test_file_of_unstated_length_is_read_whole_without_a_warning(tmp_path: Path, extension: str) -> None:
    path = tmp_path / f"a.{extension}"
    soundfile.write(path, music(2.0, 44_100), 44_100)
    as_written_to_a_pipe(path)
    assert len(load_audio(path, target_rate=RATE)) == 2 * RATE
    assert audio_duration(path) == pytest.approx(2.0)


@pytest.mark.parametrize("loud_first", [True, False])
def test_variable_rate_mp3_without_a_frame_count_is_read_whole(tmp_path: Path, loud_first: bool) -> None:
    """libsndfile guesses its length from the first frame's rate: far too short when that is high, too long when low."""
    loudness = np.repeat([1.0, 0.0] if loud_first else [0.0, 1.0], 5 * 44_100)[:, None]
    path = tmp_path / "a.mp3"
    soundfile.write(path, music(10.0, 44_100) * loudness, 44_100, bitrate_mode="VARIABLE", compression_level=0.0)
    path.write_bytes(without_frame_count(path.read_bytes()))
    assert len(load_audio(path, target_rate=RATE)) / RATE == pytest.approx(10.0, abs=0.1)
    assert audio_duration(path) == pytest.approx(10.0, abs=0.1)


@pytest.mark.parametrize("extension", ["wav", "flac", "ogg", "mp3", "aiff"])
def test_a_tag_after_the_audio_is_no_damage(tmp_path: Path, extension: str) -> None:
    path = tmp_path / f"a.{extension}"
    soundfile.write(path, music(2.0, 44_100), 44_100)
    path.write_bytes(path.read_bytes() + b"TAG" + bytes(125))
    assert len(load_audio(path, target_rate=RATE)) == 2 * RATE


# Searching


@pytest.fixture
def library(tmp_path: Path, tone: np.ndarray) -> Path:
    for name in ("b.wav", "a.FLAC", "sub/deep/c.Mp3", "sub/[x] d.ogg", "._b.wav", ".cache/e.wav", "cover.jpg", "sub/f.m4a"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return tmp_path


def names(found: list[Path], root: Path) -> list[str]:
    return [path.relative_to(root).as_posix() for path in found]


def test_folder_is_searched_recursively_without_hidden_files(library: Path) -> None:
    assert names(find_audio_files([library]), library) == ["a.FLAC", "b.wav", "sub/[x] d.ogg", "sub/deep/c.Mp3", "sub/f.m4a"]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*.wav", ["b.wav"]),
        ("*", ["a.FLAC", "b.wav", "sub/[x] d.ogg", "sub/deep/c.Mp3", "sub/f.m4a"]),
        ("**/*.[mM]p3", ["sub/deep/c.Mp3"]),
        ("sub/**", ["sub/[x] d.ogg", "sub/deep/c.Mp3", "sub/f.m4a"]),
        ("*.jpg", ["cover.jpg"]),
        ("sub/[x] d.ogg", ["sub/[x] d.ogg"]),
        ("cover.jpg", ["cover.jpg"]),
        (".cache", [".cache/e.wav"]),
    ],
)
def test_patterns_and_names(library: Path, pattern: str, expected: list[str]) -> None:
    assert names(find_audio_files([str(library / pattern)]), library) == expected


def test_each_file_is_listed_once(library: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(library)
    assert len(find_audio_files(["b.wav", "./b.wav", str(library / "b.wav"), "*.wav", "."])) == 5


@pytest.mark.parametrize("missing", ["nothing.wav", "*.aiff", "none/**/*.wav", "nofolder/"])
def test_what_matches_nothing_is_an_error(library: Path, missing: str) -> None:
    with pytest.raises(FileNotFoundError, match="no such file or folder"):
        find_audio_files([str(library / "b.wav"), str(library / missing)])


def test_an_empty_path_is_not_the_current_folder(library: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(library)
    with pytest.raises(FileNotFoundError, match="is no path"):
        find_audio_files([""])


def test_folder_without_audio_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no music")
    with pytest.raises(FileNotFoundError, match="holds no audio files"):
        find_audio_files([tmp_path])


# Writing


@pytest.mark.parametrize("extension", ["wav", "flac", "aiff"])
def test_what_is_written_is_read_back(tmp_path: Path, extension: str, tone: np.ndarray) -> None:
    path = tmp_path / f"a.{extension}"
    write_audio(path, tone, RATE)
    np.testing.assert_allclose(load_audio(path, target_rate=RATE), tone, atol=1 / 2**15)
    assert soundfile.info(path).subtype == "PCM_16"
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize(
    ("name", "samples", "words"),
    [
        ("a.wav", [0.5, 1.01], "would be clipped"),
        ("a.wav", [np.nan], "NaN or infinite in places"),
        ("a.wav", [], "expected samples of shape"),
        ("a.wav", [[0.1], [0.2]], r"shape \(2, 1\)"),
        ("a.m4a", [0.5], r"cannot write this extension; use one of \.wav"),
        ("a", [0.5], "cannot write this extension"),
    ],
)
def test_refused_writing_leaves_nothing_behind(tmp_path: Path, name: str, samples: list[float], words: str) -> None:
    with pytest.raises(AudioError, match=words):
        write_audio(tmp_path / name, np.array(samples, np.float32), RATE)
    assert not list(tmp_path.iterdir())


def test_writing_at_a_rate_the_format_has_not_is_refused_and_keeps_the_old_file(tmp_path: Path) -> None:
    (tmp_path / "a.opus").write_bytes(b"old")
    with pytest.raises(AudioError, match="at 22050 Hz"):
        write_audio(tmp_path / "a.opus", np.array([0.5], np.float32), 22_050)
    assert [p.read_bytes() for p in tmp_path.iterdir()] == [b"old"]


def test_a_name_of_any_length_that_the_system_takes_can_be_written(tmp_path: Path) -> None:
    write_audio(tmp_path / f"{'a' * 251}.wav", np.array([0.5], np.float32), RATE)
    assert [len(path.name) for path in tmp_path.iterdir()] == [255]


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="no folder that refuses files to everybody")
def test_writing_where_nothing_can_be_written_names_the_file() -> None:
    with pytest.raises(OSError, match=r"a\.wav") as caught:
        write_audio("/proc/a.wav", np.array([0.5], np.float32), RATE)
    assert caught.value.filename == "/proc/a.wav"


def test_writing_into_a_missing_folder_names_the_folder(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere does not exist"):
        write_audio(tmp_path / "nowhere" / "a.wav", np.array([0.5], np.float32), RATE)
