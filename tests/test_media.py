"""The sound of files that only FFmpeg decodes."""

from pathlib import Path

import numpy as np
import pytest

from pecmae.audio import files, media
from pecmae.audio.segments import audio_duration, load_audio
from pecmae.errors import AudioError, AudioWarning

av = pytest.importorskip("av")
RATE = 24_000
SECONDS = 3


def tones(channels: int) -> np.ndarray:
    """A tone for each channel (channels, samples), float32."""
    t = np.arange(SECONDS * RATE) / RATE
    return np.stack([0.3 * np.sin(2 * np.pi * 220 * (n + 1) * t) for n in range(channels)]).astype(np.float32)


def write(path: Path, codec: str, samples: np.ndarray) -> Path:
    layout = {1: "mono", 2: "stereo"}[len(samples)]
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=RATE, layout=layout)
        stream.codec_context.bit_rate = 128_000
        stream.codec_context.open()
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples), format="fltp", layout=layout)
        frame.sample_rate = RATE
        taken = stream.codec_context.format
        resampler = av.AudioResampler(taken, layout, RATE, frame_size=stream.codec_context.frame_size)

        for part in [*resampler.resample(frame), *resampler.resample(None)]:
            part.pts = None
            container.mux(stream.encode(part))
        container.mux(stream.encode(None))
    return path


def loudest_frequency(wav: np.ndarray) -> float:
    """In Hz, of the middle second."""
    part = wav[RATE : 2 * RATE]
    return float(np.abs(np.fft.rfft(part)).argmax())


@pytest.mark.parametrize(("name", "codec"), [("a.m4a", "aac"), ("a.aac", "aac"), ("a.wma", "wmav2"), ("a.mkv", "aac")])
def test_what_was_recorded_is_heard(tmp_path: Path, name: str, codec: str) -> None:
    path = write(tmp_path / name, codec, tones(1))
    wav = load_audio(path, target_rate=RATE)
    assert len(wav) == pytest.approx(SECONDS * RATE, abs=0.2 * RATE)
    assert loudest_frequency(wav) == 220
    assert np.sqrt(np.square(wav[RATE : 2 * RATE]).mean()) == pytest.approx(0.3 / np.sqrt(2), rel=0.05)
    assert audio_duration(path) == pytest.approx(SECONDS, abs=0.2)


def test_channels_are_averaged(tmp_path: Path) -> None:
    wav = load_audio(write(tmp_path / "a.m4a", "aac", tones(2)), target_rate=RATE)[RATE : 2 * RATE]
    levels = np.abs(np.fft.rfft(wav))[[220, 440]] * 2 / len(wav)
    np.testing.assert_allclose(levels, 0.15, rtol=0.05)


def test_a_cut_off_file_is_used_as_far_as_it_goes_and_said(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mkv", "aac", tones(1))
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.warns(AudioWarning, match=r"a\.mkv: .*(cut off or damaged|damaged packets)"):
        wav = load_audio(path, target_rate=RATE)
    assert RATE < len(wav) < 2 * RATE


def test_damaged_packets_are_left_out_and_counted(tmp_path: Path) -> None:
    path = write(tmp_path / "a.aac", "aac", tones(1))
    data = bytearray(path.read_bytes())
    headers = [at for at in range(len(data) - 1) if data[at] == 0xFF and data[at + 1] & 0xF6 == 0xF0]
    for at in headers[20:24]:
        data[at + 7 : at + 60] = bytes([0x5A]) * 53
    path.write_bytes(data)
    with pytest.warns(AudioWarning, match=r"holds \d damaged packets, which were left out"):
        wav = load_audio(path, target_rate=RATE)
    assert len(wav) > 2 * RATE


def test_a_video_without_sound_says_so(tmp_path: Path) -> None:
    path = tmp_path / "silent.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width = stream.height = 32
        container.mux(stream.encode(av.VideoFrame(32, 32, "yuv420p")))
        container.mux(stream.encode(None))
    with pytest.raises(AudioError, match=r"silent\.mp4"):
        load_audio(path, target_rate=RATE)
    with pytest.raises(AudioError, match="holds no sound"):
        media.MediaFile(path, "silent.mp4")


def test_without_the_extra_the_sentence_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "a.m4a", "aac", tones(1))
    monkeypatch.setattr(files, "has_media", lambda: False)
    with pytest.raises(AudioError, match=r"a\.m4a: is MPEG-4 audio .*pip install 'pecmae\[media\]'"):
        load_audio(path, target_rate=RATE)


def test_a_file_object_is_read_and_left_where_it_was(tmp_path: Path) -> None:
    path = write(tmp_path / "a.m4a", "aac", tones(1))
    with path.open("rb") as file:
        found = load_audio(file, target_rate=RATE)
        assert file.tell() == 0
    np.testing.assert_array_equal(found, load_audio(path, target_rate=RATE))
