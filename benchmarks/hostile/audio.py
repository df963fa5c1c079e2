"""Audio that is damaged, and audio whose headers lie."""

import io
import itertools
import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soundfile

from hostile.cases import Case, mutated

SECONDS = 0.6
# Format, subtype, extension, rate, channels.
_SOUND = (
    ("WAV", "PCM_16", "wav", 44_100, 2), ("WAV", "PCM_24", "wav", 24_000, 1), ("WAV", "PCM_U8", "wav", 8_000, 1),
    ("WAV", "FLOAT", "wav", 48_000, 2), ("WAV", "DOUBLE", "wav", 22_050, 1), ("WAV", "ULAW", "wav", 8_000, 1),
    ("WAV", "MS_ADPCM", "wav", 22_050, 1), ("WAV", "IMA_ADPCM", "wav", 22_050, 2), ("WAVEX", "PCM_16", "wav", 44_100, 6),
    ("RF64", "PCM_16", "rf64", 44_100, 2), ("W64", "PCM_16", "w64", 44_100, 1), ("AIFF", "PCM_16", "aiff", 44_100, 2),
    ("AIFF", "FLOAT", "aifc", 44_100, 1), ("AU", "PCM_16", "au", 16_000, 1), ("CAF", "PCM_16", "caf", 44_100, 2),
    ("CAF", "ALAC_16", "caf", 44_100, 2), ("FLAC", "PCM_16", "flac", 44_100, 2), ("FLAC", "PCM_24", "flac", 96_000, 1),
    ("OGG", "VORBIS", "ogg", 44_100, 2), ("OGG", "OPUS", "opus", 48_000, 1), ("MP3", "MPEG_LAYER_III", "mp3", 44_100, 2),
    ("MP3", "MPEG_LAYER_III", "mp3", 16_000, 1),
)  # fmt: skip
RATES = (0, 1, 50, 99, 999, 1000, 1_000_000, 1_000_001, 10_000_000, 2**31 - 1, 2**31, 2**32 - 1)
CHANNELS = (0, 3, 64, 255, 256, 1023, 1024, 1025, 65_535)
BITS = (0, 1, 7, 12, 20, 31, 33, 64, 128, 65_535)
SIZES = (0, 1, 43, 2**31 - 1, 2**31, 2**32 - 2, 2**32 - 1)
TAGS = (0, 2, 3, 6, 7, 0x11, 0x31, 0x50, 0x55, 0x92, 0x2000, 0xFFFE, 0xFFFF)
SAMPLES = (np.nan, np.inf, -np.inf, 1e20, 1e38, -3.4e38, 1e-45, 1e30)


def whole_files(draws: np.random.Generator) -> list[tuple[str, bytes]]:
    """Good files to damage: extension and content, in every format that is read."""
    found = []
    for kind, subtype, extension, rate, channels in _SOUND:
        time = np.arange(round(SECONDS * rate))[:, None] / rate
        tones = 0.3 * np.sin(2 * np.pi * 220 * np.arange(1, channels + 1) * time)
        file = io.BytesIO()
        soundfile.write(file, tones + draws.normal(0, 0.02, tones.shape), rate, format=kind, subtype=subtype)
        found.append((extension, file.getvalue()))
    return found


def wav(
    rate: int = 24_000,
    channels: int = 1,
    bits: int = 16,
    tag: int = 1,
    *,
    samples: bytes = bytes(9600),
    riff_size: int | None = None,
    data_size: int | None = None,
    block: int | None = None,
    before: bytes = b"",
    after: bytes = b"",
) -> bytes:
    """Write a WAV file whose header says what it is told to; sizes that are not given are right."""
    block = channels * bits // 8 % 65_536 if block is None else block
    form = struct.pack("<HHIIHH", tag, channels, rate, rate * block % 2**32, block, bits)
    data = struct.pack("<I", len(samples) if data_size is None else data_size)
    body = b"WAVE" + before + b"fmt " + struct.pack("<I", len(form)) + form + b"data" + data + samples + after
    return b"RIFF" + struct.pack("<I", len(body) if riff_size is None else riff_size) + body


def _flac(fields: int, minimum: int = 4096, maximum: int = 4096, tail: bytes = bytes(500)) -> bytes:
    """Write a FLAC header alone: rate, channels, bits and length are the 64 bits of `fields`."""
    info = struct.pack(">HH", minimum, maximum) + bytes(6) + fields.to_bytes(8, "big") + bytes(16)
    return b"fLaC\x80\x00\x00\x22" + info + tail


def _aiff(rate: bytes, channels: int = 1, bits: int = 16) -> bytes:
    """Write an AIFF file; its rate is a float of 80 bits."""
    common = b"COMM" + struct.pack(">IhIh", 18, channels, 4800, bits) + rate
    body = b"AIFF" + common + b"SSND" + struct.pack(">III", 9608, 0, 0) + bytes(9600)
    return b"FORM" + struct.pack(">I", len(body)) + body


def _caf(rate: float, channels: int = 1, bits: int = 16, packet: int = 2) -> bytes:
    described = struct.pack(">d4sIIIII", rate, b"lpcm", 0, packet, 1, channels, bits)
    return b"caff\x00\x01\x00\x00desc" + struct.pack(">q", 32) + described + b"data" + struct.pack(">q", -1) + bytes(9604)


def crafted_files(draws: np.random.Generator) -> Iterator[tuple[str, str, bytes]]:
    """Headers that lie, and files that are something else: extension, what is wrong, content."""
    noise = draws.normal(0, 0.1, 24_000).astype(np.float32)
    for rate in RATES:
        yield "wav", f"rate {rate}", wav(rate, samples=bytes(24_000))
        yield "au", f"rate {rate}", b".snd" + struct.pack(">IIIII", 24, 2**32 - 1, 3, rate, 1) + bytes(9600)
        yield "caf", f"rate {rate}", _caf(float(rate))
    for channels, bits in itertools.product(CHANNELS, (16, 32)):
        yield "wav", f"{channels} channels of {bits} bits", wav(channels=channels, bits=bits)
    for bits in BITS:
        yield "wav", f"{bits} bits", wav(bits=bits)
        yield "aiff", f"{bits} bits", _aiff(b"\x40\x0d\xbb\x80" + bytes(6), bits=bits - 2**16 if bits > 2**15 else bits)
        yield "caf", f"{bits} bits", _caf(24_000.0, bits=bits, packet=bits // 8)
    for riff_size, data_size in itertools.product(SIZES, SIZES):
        yield "wav", f"sizes {riff_size} and {data_size}", wav(riff_size=riff_size, data_size=data_size)
    for tag in TAGS:
        yield "wav", f"format tag {tag:#x}", wav(tag=tag, bits=32 if tag == 3 else 16)
    for block in (0, 1, 3, 65_535):
        yield "wav", f"block of {block} bytes", wav(block=block)
    for value in SAMPLES:
        samples = noise.copy()
        samples[1000::5000] = value
        yield "wav", f"samples of {value}", wav(bits=32, tag=3, samples=samples.tobytes())
        yield "wav", f"nothing but {value}", wav(bits=32, tag=3, samples=np.full(24_000, value, np.float32).tobytes())
    for exponent in (0, 1, 0x3FFE, 0x4000, 0x4005, 0x401E, 0x403E, 0x7FFE, 0x7FFF, 0xC00D, 0xFFFF):
        yield "aiff", f"rate with the exponent {exponent:#x}", _aiff(struct.pack(">HQ", exponent, 0xBB80 << 48))
    for rate in (float("nan"), float("inf"), -24_000.0, 1e-300, 1e300):
        yield "caf", f"rate {rate}", _caf(rate)
    for rate, length in itertools.product((0, 1, 655_350), (0, 2**36 - 1)):
        yield "flac", f"rate {rate}, {length} samples", _flac(rate << 44 | 15 << 36 | length)
    for minimum, maximum in ((0, 0), (16, 15), (65_535, 65_535)):
        yield "flac", f"blocks from {minimum} to {maximum}", _flac(24_000 << 44 | 15 << 36, minimum, maximum)
    yield from _chunks(noise)
    yield from _not_audio(draws)


def _chunks(noise: np.ndarray) -> Iterator[tuple[str, str, bytes]]:
    """WAV with more in it than sound, mp3 and Ogg that are all headers."""
    samples = (noise * 32_767).astype(np.int16).tobytes()
    yield "wav", "ten thousand chunks", wav(samples=samples, before=b"junk\x00\x00\x00\x00" * 10_000)
    yield "wav", "a chunk longer than the file", wav(samples=samples, before=b"LIST\xff\xff\xff\x7f")
    yield "wav", "a chunk of an odd size", wav(samples=samples, before=b"LIST\x03\x00\x00\x00abc")
    yield "wav", "two chunks of samples", wav(samples=samples, after=b"data\x04\x00\x00\x00\x01\x02\x03\x04")
    yield "wav", "an endless list of cues", wav(samples=samples, before=b"cue \x04\x00\x00\x00\xff\xff\xff\xff")
    yield "wav", "no samples", wav(samples=b"")
    yield "wav", "one sample", wav(samples=b"\x01\x02")
    yield "wav", "half a sample", wav(samples=b"\x01")
    tag = b"ID3\x04\x00\x00\x7f\x7f\x7f\x7f"
    yield "mp3", "a tag longer than the file", tag + bytes(1000)
    yield "mp3", "a thousand tags", b"ID3\x04\x00\x00\x00\x00\x00\x00" * 1000
    yield "mp3", "frames without content", b"\xff\xfb\x90\x00" * 3000
    yield "mp3", "frames of a free bit rate", (b"\xff\xfb\x00\x00" + bytes(100)) * 100
    yield "ogg", "pages without content", (b"OggS\x00\x02" + bytes(20) + b"\x00") * 500
    yield "ogg", "a page of 255 empty packets", b"OggS\x00\x02" + bytes(20) + b"\xff" + bytes(255)


def _not_audio(draws: np.random.Generator) -> Iterator[tuple[str, str, bytes]]:
    """Other things under the names of audio."""
    for extension in ("wav", "mp3", "flac", "ogg", "m4a", "aac", "wma"):
        yield extension, "nothing", b""
        yield extension, "noise", draws.bytes(5000)
        yield extension, "zeros", bytes(5000)
        yield extension, "text", "Bitte später noch einmal versuchen.\n".encode() * 20
        yield extension, "a page of the web", b"<!DOCTYPE html><html><body>404</body></html>"
        yield extension, "a pointer of git-lfs", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"
        yield extension, "a picture", b"\x89PNG\r\n\x1a\n" + draws.bytes(500)
        yield extension, "an archive", b"PK\x03\x04" + draws.bytes(500)
        yield extension, "MPEG-4 without content", b"\x00\x00\x00\x20ftypM4A \x00\x00\x00\x00M4A mp42isom" + bytes(500)


def audio_cases(folder: Path, count: int, seed: int) -> Iterator[Case]:
    """Write `count` files into a folder, the crafted ones first; alike for the same seed but for the times libsndfile notes."""
    draws = np.random.default_rng(seed)
    crafted = list(crafted_files(draws))
    if count < len(crafted):
        crafted = [crafted[index] for index in sorted(draws.permutation(len(crafted))[: count // 3].tolist())]
    whole = whole_files(draws)
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        if number < len(crafted):
            extension, how, content = crafted[number]
        else:
            extension, content = whole[number % len(whole)]
            content, how = mutated(content, draws)
        path = folder / f"{number:04d}.{extension}"
        path.write_bytes(content)
        yield Case("audio", path, how)
