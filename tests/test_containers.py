"""Files that are several recordings in one, or whose header does not know how much follows it, are read whole."""

import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from pecmae.audio.containers import Stretch, StretchReader, stretches
from pecmae.audio.segments import load_audio, write_audio
from pecmae.errors import AudioWarning

RATE = 24_000


def tone(frequency: float, seconds: float = 2.0) -> np.ndarray:
    return (0.3 * np.sin(2 * np.pi * frequency * np.arange(round(seconds * RATE)) / RATE)).astype(np.float32)


def encoded(folder: Path, extension: str, frequency: float, *, rate: int = RATE) -> bytes:
    path = folder / f"one{extension}"
    write_audio(path, tone(frequency), rate)
    data = path.read_bytes()
    path.unlink()
    return data


def frequencies(wav: np.ndarray, count: int) -> list[int]:
    """The loudest frequency in the middle second of each of `count` parts of two seconds, in Hz."""
    middles = [part[RATE // 2 : RATE // 2 + RATE] for part in np.array_split(wav, count)]
    return [int(np.abs(np.fft.rfft(middle)).argmax()) for middle in middles]


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, bytes], Path]:
    def write(name: str, data: bytes) -> Path:
        (tmp_path / name).write_bytes(data)
        return tmp_path / name

    return write


@pytest.mark.parametrize("extension", [".ogg", ".opus", ".mp3"])
def test_recordings_in_one_file_are_read_one_after_the_other(tmp_path, write, extension: str) -> None:
    data = b"".join(encoded(tmp_path, extension, frequency) for frequency in (200, 500, 900))
    wav = load_audio(write(f"joined{extension}", data), target_rate=RATE)
    assert len(wav) == pytest.approx(6 * RATE, abs=0.3 * RATE)
    assert frequencies(wav, 3) == [200, 500, 900]


def test_a_part_at_another_rate_is_said_not_sped_up(tmp_path, write) -> None:
    path = write("joined.ogg", encoded(tmp_path, ".ogg", 200) + encoded(tmp_path, ".ogg", 200, rate=16_000))
    with pytest.warns(AudioWarning, match="2 parts, of which part 2 has another sampling rate and is not read"):
        assert len(load_audio(path, target_rate=RATE)) == 2 * RATE


def test_a_part_that_cannot_be_read_is_said(tmp_path, write) -> None:
    second = bytearray(encoded(tmp_path, ".ogg", 500))
    place = second.find(b"vorbis")
    second[place : place + 6] = b"nothin"
    path = write("joined.ogg", encoded(tmp_path, ".ogg", 200) + bytes(second))
    with pytest.warns(AudioWarning, match="of which part 2 cannot be read"):
        assert len(load_audio(path, target_rate=RATE)) == 2 * RATE


def test_a_cut_off_last_part_is_said(tmp_path, write) -> None:
    noise = 0.1 * np.random.default_rng(0).standard_normal(2 * RATE)
    write_audio(tmp_path / "noise.ogg", noise, RATE)
    second = (tmp_path / "noise.ogg").read_bytes()
    path = write("joined.ogg", encoded(tmp_path, ".ogg", 200) + second[: len(second) // 2])
    with pytest.warns(AudioWarning, match="cut off or damaged"):
        wav = load_audio(path, target_rate=RATE)
    assert 2 * RATE < len(wav) < 4 * RATE


@pytest.mark.parametrize("extension", [".ogg", ".flac", ".mp3", ".wav"])
def test_one_recording_is_one_stretch(tmp_path, write, extension: str) -> None:
    assert stretches(write(f"a{extension}", encoded(tmp_path, extension, 200))) == [Stretch(0)]


def test_a_tag_behind_an_mp3_is_no_recording(tmp_path, write) -> None:
    data = encoded(tmp_path, ".mp3", 200)
    cover = b"ID3\x04\0\0" + bytes([0, 2, 0, 0]) + bytes(2 << 14)  # 32 KB, as covers are
    assert stretches(write("a.mp3", data + cover)) == [Stretch(0)]
    assert stretches(write("b.mp3", data + b"TAG" + bytes(125))) == [Stretch(0)]
    ape = b"APETAGEX" + struct.pack("<IIII", 2000, 1000, 3, 0xA0000000) + bytes(8) + bytes(1000)
    assert stretches(write("c.mp3", data + ape + b"TAG" + bytes(125))) == [Stretch(0)]


def test_recordings_with_tags_between_them_are_found(tmp_path, write) -> None:
    one, other = (encoded(tmp_path, ".mp3", frequency) for frequency in (200, 500))
    ape = b"APETAGEX" + struct.pack("<IIII", 2000, 1000, 3, 0xA0000000) + bytes(8) + bytes(1000)
    between = ape + b"TAG" + bytes(125) + b"ID3\x03\0\0" + bytes([0, 0, 1, 0]) + bytes(128)
    wav = load_audio(write("a.mp3", one + between + other), target_rate=RATE)
    assert frequencies(wav, 2) == [200, 500]


@pytest.mark.parametrize("extension", [".flac", ".ogg"])
def test_a_tag_before_any_format_is_stepped_over(tmp_path, write, extension: str) -> None:
    tag = b"ID3\x03\0\0" + bytes([0, 0, 1, 0]) + bytes(128)
    wav = load_audio(write(f"a{extension}", tag + encoded(tmp_path, extension, 200)), target_rate=RATE)
    assert len(wav) == 2 * RATE
    assert frequencies(wav, 1) == [200]


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "FLOAT", "PCM_U8"])
def test_a_wav_whose_sizes_were_never_filled_in_is_read_whole(tmp_path, subtype: str) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, tone(200), RATE, subtype=subtype)
    whole = load_audio(path, target_rate=RATE)
    data = bytearray(path.read_bytes())
    place = data.find(b"data") + 4
    data[4:8] = data[place : place + 4] = bytes(4)
    path.write_bytes(data)
    np.testing.assert_array_equal(load_audio(path, target_rate=RATE), whole)


def test_a_wav_with_nothing_behind_its_sizes_of_0_stays_empty(tmp_path) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, np.zeros(0, np.float32), RATE)
    assert stretches(path) == [Stretch(0)]
    path.write_bytes(path.read_bytes() + b"LIST" + struct.pack("<I", 4) + b"INFO")
    assert stretches(path) == [Stretch(0)]


def test_sizes_that_wrapped_beyond_4_gib_are_unwrapped(tmp_path) -> None:
    """As recorders leave them: the number of bytes modulo 2^32. The samples are a hole in the file."""
    path, length = tmp_path / "long.wav", (1 << 32) + 2 * RATE * 2
    soundfile.write(path, np.zeros(0, np.float32), RATE)
    header = bytearray(path.read_bytes())
    place = header.find(b"data") + 4
    header[place : place + 4] = struct.pack("<I", length % (1 << 32))
    with path.open("wb") as file:
        file.write(header)
        file.truncate(len(header) + length)
    (found,) = stretches(path)
    assert (found.start, found.stop) == (len(header), len(header) + length)
    with StretchReader(path, found) as file, soundfile.SoundFile(file) as audio:
        assert (audio.frames, audio.samplerate) == (length // 2, RATE)


def test_a_stretch_reads_as_a_file(tmp_path) -> None:
    path = tmp_path / "bytes"
    path.write_bytes(b"0123456789")
    with StretchReader(path, Stretch(3, 8, b"AB")) as file:
        assert file.read() == b"AB34567"
        assert (file.seek(1), file.read(3)) == (1, b"B34")
        assert (file.seek(-2, 2), file.read(), file.read()) == (5, b"67", b"")
        assert (file.seek(-1, 1), file.tell()) == (6, 6)
        assert file.seek(100) == 100
        assert file.read() == b""
