"""Audio files on disk: opening them, reading them block by block, and saying what is wrong with the broken ones.

Formats are libsndfile's. It keeps quiet about most damage, so this module compares what a file promises with what it gives.
Its mp3 decoder writes notes of its own ("Xing stream size off …") to standard error; nothing here depends on them.
"""

import os
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Any, BinaryIO, Self

import numpy as np
import soundfile

from pecmae.audio.arrays import checked_rate
from pecmae.audio.containers import StretchReader, stretches
from pecmae.audio.media import MediaFile, has_media
from pecmae.core.files import display_name, user_path
from pecmae.errors import AudioError

READABLE_EXTENSIONS = (
    *(".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3"),
    *(".aif", ".aiff", ".aifc", ".au", ".caf", ".rf64", ".w64"),
)
# What only the extra `media` decodes. A folder search lists it all the same: a song left out unsaid is worse than an error.
UNREADABLE_EXTENSIONS = (".m4a", ".m4b", ".aac", ".wma", ".ape", ".wv", ".mpc", ".spx", ".mp4", ".mkv", ".mka", ".webm")
READABLE_FORMATS = "WAV, FLAC, OGG, Opus, MP3, AIFF, AU, CAF, W64"

_BLOCK_FRAMES = 32768
_UNKNOWN_FRAMES = 2**62  # libsndfile's answer for a FLAC that was written to a pipe is 2**63 - 1
_UNKNOWN_BYTES = 0x7FFF0000  # and programs that write WAV to a pipe put some such number in place of the size
_SLACK_FRAMES = 64  # writers that count the header in a size are a few bytes off
_MP3_SLACK_SECONDS = 0.15  # encoder delay and padding: not all count them
_MP3_READ_AHEAD = 4096  # bytes that a decoder may have left unread before the end
_COUNTED_MP3 = r"bitrate mode\s*: (variable|average)"  # libsndfile only knows that from the header that holds the count
_STRETCH = 64
# PCM, ADPCM, float, A-law, mu-law, IMA ADPCM, G.721, GSM 6.10, mp3, extensible.
_WAV_CODECS = (0x1, 0x2, 0x3, 0x6, 0x7, 0x11, 0x31, 0x40, 0x50, 0x55, 0xFFFE)
_OGG_HEADER, _LARGEST_OGG_PAGE = 27, 65_307  # bytes; of a page: header, up to 255 lengths, as many times 255 bytes
_WIDE_FORMATS = ("RF64", "W64")  # sizes of 64 bits: none of them stands for "unknown"

# The line of libsndfile's log that gives the size of the samples, by format; the container's size stands in for it.
_SIZE_LINES = {
    "WAV": ("data", "RIFF"),
    "WAVEX": ("data", "RIFF"),
    "AIFF": ("SSND", "FORM"),
    "AU": ("Data Size",),
    "RF64": ("Riff size",),
    "W64": ("riff",),
}
_SIGNATURES = (
    (4, b"ftyp", "is MPEG-4 audio (m4a, AAC)"),
    (0, b"\xff\xf1", "is AAC audio"),
    (0, b"\xff\xf9", "is AAC audio"),
    (0, b"\x30\x26\xb2\x75", "is Windows Media audio"),
    (0, b"\x1a\x45\xdf\xa3", "is a Matroska or WebM file"),
    (0, b"MAC ", "is Monkey's Audio"),
    (0, b"wvpk", "is WavPack audio"),
    (28, b"\x7fFLAC", "is FLAC in an Ogg container"),
    (28, b"Speex", "is Speex audio"),
)
_READABLE_SIGNATURES = (
    *(b"RIFF", b"RF64", b"riff", b"FORM", b".snd", b"caff"),
    *(b"fLaC", b"OggS", b"ID3", b"\xff\xfb", b"\xff\xf3"),
)


class _ForwardReader(soundfile.SoundFile):
    """A file read from front to back: soundfile seeks after every block where it can, which breaks FLAC of unknown length."""

    def seekable(self) -> bool:
        return False


class _StretchedFile:
    """A binary file that says it is many times as long as it is.

    For an mp3 without a frame count libsndfile works out the length from the size and the first frame's bit rate, and reads no
    further. With a variable bit rate that can lose most of the music. With this, reading ends where the file does.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb")
        self._length = _STRETCH * path.stat().st_size
        self._at_end = False

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._at_end = whence == os.SEEK_END and offset == 0
        self._file.seek(offset, whence)
        return self.tell()

    def tell(self) -> int:
        return self._length if self._at_end else self._file.tell()

    def read(self, size: int = -1) -> bytes:
        self._at_end = False
        return self._file.read(size)

    def readinto(self, buffer: Any) -> int:
        self._at_end = False
        return self._file.readinto(buffer)

    def remaining(self) -> int:
        return os.fstat(self._file.fileno()).st_size - self._file.tell()

    def close(self) -> None:
        self._file.close()


class AudioFile:
    """An open audio file.

    Parameters
    ----------
    path : path
        A file in one of `READABLE_FORMATS`; what it is is read from its content, not from its name.
    name : str, optional
        What messages call it; the path by default.

    Attributes
    ----------
    name : str
        The path, for messages.
    sampling_rate : int
        In Hz.
    expected_frames : float or None
        How many sample frames the header promises; None where it does not say.
    damage : str or None
        After `blocks`: what is wrong with the file, as part of a sentence.

    Raises
    ------
    FileNotFoundError
        When there is no such file.
    AudioError
        When it is not audio that can be read.
    """

    def __init__(self, path: str | os.PathLike[str], name: str | None = None) -> None:
        self.name = display_name(path) if name is None else name
        self.damage: str | None = None
        self._path = _checked_path(path)
        self._stretched: _StretchedFile | None = None
        self._stretch, *self._following = stretches(self._path)
        self._file = self._open_stretch()
        if self._is_plain and self._file.format == "MP3" and not re.search(_COUNTED_MP3, self._file.extra_info):
            self._replace_estimated_mp3()
        self.sampling_rate = checked_rate(self._file.samplerate, self.name)
        # Of a file in several parts the first alone says how long it is.
        self.expected_frames = None if self._following else self._expected_frames()

    @property
    def _is_plain(self) -> bool:
        return self._stretch.is_whole and not self._following

    def _open_stretch(self) -> soundfile.SoundFile:
        whole = self._stretch.is_whole
        return _open(self._path, _system_path(self._path) if whole else StretchReader(self._path, self._stretch))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; a second time does nothing."""
        self._file.close()
        if self._stretched is not None:
            self._stretched.close()

    def blocks(self) -> Iterator[np.ndarray]:
        """Yield the samples (n, channels), float32, up to the end or to the first place that cannot be decoded."""
        parts = 1 + len(self._following)
        yield from self._blocks_of_stretch()
        for number, stretch in enumerate(self._following, start=2):
            if self.damage is not None:
                return
            self._file.close()
            self._stretch = stretch
            try:
                self._file = self._open_stretch()
            except AudioError:
                self.damage = f"consists of {parts} parts, of which part {number} cannot be read"
                return
            if self._file.samplerate != self.sampling_rate:
                self.damage = f"consists of {parts} parts, of which part {number} has another sampling rate and is not read"
                return
            yield from self._blocks_of_stretch()

    def _blocks_of_stretch(self) -> Iterator[np.ndarray]:
        read, failed = 0, False
        while (rest := self._file.frames - read) > 0:
            wanted = min(_BLOCK_FRAMES, rest)
            # soundfile forgets how much was read when the decoder fails; NaN marks what was not.
            block = np.full((wanted, self._file.channels), np.nan, np.float32)
            try:
                block = self._file.read(out=block)
            except soundfile.SoundFileError:
                failed = True
                block = block[: int(np.isnan(block[:, 0]).argmax())] if np.isnan(block[-1, 0]) else block
            if len(block):
                read += len(block)
                yield block
            if failed or len(block) < wanted:
                break
        self.damage = self._damage(read, failed)

    def _replace_estimated_mp3(self) -> None:
        stretched = _StretchedFile(self._path)
        file = _open(self._path, stretched)
        if file.frames == self._file.frames:  # the count is written in the file and does not follow the size
            file.close()
            stretched.close()
        else:
            self._file.close()
            self._file, self._stretched = file, stretched

    def _expected_frames(self) -> float | None:
        if self._stretched is not None or self._file.frames >= _UNKNOWN_FRAMES:
            return None
        frames = float(self._file.frames)
        for name in _SIZE_LINES.get(self._file.format, ()):
            line = re.search(rf"^\s*{name}\s*: (\d+)\b(?: \(should be (\d+)\))?", self._file.extra_info, re.MULTILINE)
            if line is None:
                continue
            promised, held = int(line[1]), int(line[2] or 0)
            if held and (promised < _UNKNOWN_BYTES or self._file.format in _WIDE_FORMATS):
                promised_frames = frames * promised / held
                return promised_frames if promised_frames > frames + _SLACK_FRAMES else frames
            break
        return frames

    def _damage(self, read: int, failed: bool) -> str | None:
        rate = self.sampling_rate
        if self.expected_frames is not None:
            slack = _MP3_SLACK_SECONDS * rate if self._file.format == "MP3" else 0.0
            if read < self.expected_frames - slack:
                return f"is cut off or damaged: {read / rate:.2f} s of {self.expected_frames / rate:.2f} s could be read"
            failed = False  # what follows the promised samples is not audio: a tag, as a rule
        elif self._stretched is not None:
            # The last, incomplete frame of a recorded stream is no damage; an error far from the end is.
            failed = failed and self._stretched.remaining() > _MP3_READ_AHEAD
        if failed or (self._file.format == "OGG" and not _has_last_ogg_page(self._path, self._stretch.stop)):
            return f"is cut off or damaged: only the first {read / rate:.2f} s could be read"
        return None


def open_audio(source: str | os.PathLike[str] | BinaryIO, name: str | None = None) -> "AudioFile | MediaFile":
    """Open a path, or a binary file object, which is copied and left as it was, with whatever can read it.

    Raises
    ------
    FileNotFoundError, AudioError
        As `AudioFile`.
    """
    if not isinstance(source, str | os.PathLike):
        return _open_copy(source, name)
    try:
        return AudioFile(source, name)
    except AudioError:
        path = user_path(source)
        if not has_media() or not os.path.isfile(path) or not path.stat().st_size:  # noqa: PTH113  # is_file raises for some names
            raise
        try:
            return MediaFile(path, display_name(source) if name is None else name)
        except AudioError:
            pass
        raise


class _Copied(AudioFile):
    """A file object's sound, from a copy on disk that goes with it."""

    def __init__(self, folder: TemporaryDirectory[str], path: Path, name: str) -> None:
        self._folder = folder
        super().__init__(path, name)

    def close(self) -> None:
        super().close()
        self._folder.cleanup()


def _open_copy(file: BinaryIO, name: str | None) -> "AudioFile | MediaFile":
    named = getattr(file, "name", None)
    name = name or (display_name(named) if isinstance(named, str) and named else "file object")
    folder = TemporaryDirectory(prefix="pecmae-")
    path = Path(folder.name) / "sound"
    try:
        place = file.tell() if file.seekable() else None
        with path.open("wb") as copy:
            shutil.copyfileobj(file, copy)
        if place is not None:
            file.seek(place)
        try:
            return _Copied(folder, path, name)
        except AudioError as error:
            if has_media() and path.stat().st_size:
                found = MediaFile(path, name)
                found.keep = folder
                return found
            raise AudioError(str(error).replace(display_name(path), name)) from None
    except BaseException:
        if sys.exc_info()[1] is not None:
            folder.cleanup()
        raise


def _has_last_ogg_page(path: Path, stop: int | None) -> bool:
    """Whether an Ogg stream ends with a whole page that is marked as the last; libsndfile overlooks the mark of short files."""
    end = path.stat().st_size if stop is None else stop
    with path.open("rb") as file:
        file.seek(max(0, end - _LARGEST_OGG_PAGE))
        tail = file.read(end - file.tell())
    page = tail[tail.rfind(b"OggS") :]
    if len(page) < _OGG_HEADER:
        return False
    flags, segments = page[5], page[26]
    body = sum(page[_OGG_HEADER : _OGG_HEADER + segments])
    return bool(flags & 4) and len(page) >= _OGG_HEADER + segments + body


def _system_path(path: Path) -> str | bytes:
    return str(path) if sys.platform == "win32" else os.fsencode(path)  # soundfile cannot encode a name that is not UTF-8


def _checked_path(path: str | os.PathLike[str]) -> Path:
    name, checked = display_name(path), user_path(path)
    try:
        if checked.is_dir():
            raise AudioError(f"{name}: is a folder; give an audio file.")
        if not checked.exists():
            raise FileNotFoundError(f"{name}: no such file; check the path.")
        if not checked.is_file():
            raise AudioError(f"{name}: is not a regular file; save the audio to disk first.")
        with checked.open("rb") as file:
            if not file.read(1):
                raise AudioError(f"{name}: is empty (0 bytes); remove it or fetch it again.")
    except (AudioError, FileNotFoundError):
        raise
    except (OSError, ValueError) as error:  # no permission, a name too long, a zero byte in the name
        raise AudioError(f"{name}: cannot be opened ({getattr(error, 'strerror', None) or error}).") from error
    return checked


def _open(path: Path, file: Any) -> soundfile.SoundFile:
    try:
        return _ForwardReader(file)
    except (soundfile.SoundFileError, TypeError) as error:
        raise AudioError(_unreadable(path)) from error


def _unreadable(path: Path) -> str:
    """Why a file that libsndfile refuses is refused; its own messages often name another reason."""
    name = display_name(path)
    with path.open("rb") as file:
        head = file.read(512)
    for_media = next((what for offset, signature, what in _SIGNATURES if head[offset:].startswith(signature)), None)
    if head.startswith(b"RIFF") and not _soundfile_knows(head):
        for_media = "is WAV with an uncommon codec"
    if for_media:
        if has_media():  # which was tried, or is about to be
            return f"{name}: {for_media}, and damaged or coded in an unknown way; convert it to one of {READABLE_FORMATS}."
        return f"{name}: {for_media}; to read it, pip install 'pecmae[media]', or convert it to one of {READABLE_FORMATS}."
    if head.startswith(_READABLE_SIGNATURES):
        return f"{name}: is damaged or cut off so early that no audio can be read; fetch it again or remove it."
    if path.suffix.lower() in (".raw", ".pcm"):
        return f"{name}: holds samples without a header, which cannot be read; convert it to one of {READABLE_FORMATS}."
    kind = "is text, not audio" if _is_text(head) else "is not audio that can be read"
    return f"{name}: {kind}; give one of {READABLE_FORMATS}."


def _soundfile_knows(head: bytes) -> bool:
    """Whether the codec of a WAV, by the number in its header, is one of libsndfile's."""
    place = head.find(b"fmt ")
    return not 0 <= place <= len(head) - 10 or int.from_bytes(head[place + 8 : place + 10], "little") in _WAV_CODECS


def _is_text(head: bytes) -> bool:
    try:
        text = head.decode("utf-8")
    except UnicodeDecodeError as error:
        text = head[: error.start].decode() if error.start > len(head) - 4 else "\0"
    return all(c.isprintable() or c.isspace() for c in text)
