"""Where the sound of a file lies, when libsndfile would read only a part of it or look for it in the wrong place.

Ogg files may be chained and mp3 files joined (radio captures, `cat`); the 32-bit sizes of a WAV wrap beyond 4 GiB, or stay 0
when a recorder loses power; taggers put ID3 before anything. Each is answered with stretches of the file, to be read in turn.
"""

import io
import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

_OGG_PAGE = struct.Struct("<4sBBqIIIB")
_FIRST_PAGE = 2  # flag of an Ogg page that begins a stream
_ID3_HEADER, _ID3V1, _APE_HEADER = 10, 128, 32  # bytes
_LEAST_MP3 = 16_384  # bytes behind the counted ones from which on they are another recording even if no frame stands first
_SAMPLE_CHUNKS = (b"LIST", b"id3 ", b"ID3 ", b"bext", b"cue ", b"smpl", b"iXML", b"JUNK", b"_PMX", b"PEAK", b"fact")


@dataclass(frozen=True)
class Stretch:
    """A part of a file that is a file of its own."""

    start: int  # byte
    stop: int | None = None  # byte; None: the end of the file
    header: bytes = b""  # what stands in for the file's own header

    @property
    def is_whole(self) -> bool:
        """Whether it is the file as it is."""
        return self.start == 0 and self.stop is None and not self.header


class StretchReader(io.RawIOBase):
    """A stretch of a file, as a file."""

    def __init__(self, path: Path, stretch: Stretch) -> None:
        self._file, self._stretch = path.open("rb"), stretch
        size = path.stat().st_size if stretch.stop is None else stretch.stop
        self._length = len(stretch.header) + size - stretch.start
        self._place = 0

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a place; beyond the end there is nothing to read."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._place, os.SEEK_END: self._length}[whence]
        self._place = max(0, base + offset)
        return self._place

    def tell(self) -> int:
        """The place that is read next."""
        return self._place

    def readinto(self, buffer: Any) -> int:
        """Fill the buffer as far as there is something; returns how far."""
        data = self._read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def _read(self, size: int) -> bytes:
        size = max(0, min(size, self._length - self._place))
        header = self._stretch.header
        from_header = header[self._place : self._place + size]
        rest = size - len(from_header)
        self._place += len(from_header)
        if not rest:
            return from_header
        self._file.seek(self._stretch.start + self._place - len(header))
        data = self._file.read(rest)
        self._place += len(data)
        return from_header + data

    def close(self) -> None:
        """Close the file."""
        self._file.close()
        super().close()


def stretches(path: Path) -> list[Stretch]:
    """What to read of a file, in order: as a rule, all of it as it is."""
    size = path.stat().st_size
    with path.open("rb") as file:
        start = _after_id3(file)
        file.seek(start)
        kind = file.read(4)
        if kind == b"OggS":
            return _ogg_links(file, start, size)
        if kind == b"fLaC":
            return [Stretch(start)]
        if kind == b"RIFF" and start == 0:
            return [_wav(file, size)]
        if start or kind[:1] == b"\xff":
            return _joined_mp3s(file, start, size)
    return [Stretch(0)]


def _after_id3(file: BinaryIO, start: int = 0) -> int:
    """Where a file goes on after the ID3v2 tags at a place."""
    while True:
        file.seek(start)
        head = file.read(_ID3_HEADER)
        if len(head) < _ID3_HEADER or head[:3] != b"ID3" or any(byte & 0x80 for byte in head[6:10]):
            return start
        footer = _ID3_HEADER if head[5] & 0x10 else 0
        start += _ID3_HEADER + (head[6] << 21 | head[7] << 14 | head[8] << 7 | head[9]) + footer


def _ogg_links(file: BinaryIO, start: int, size: int) -> list[Stretch]:
    """The links of a chained Ogg file, each of which begins with pages that are marked as first ones."""
    begins, place, in_front = [start], start, True
    while place + _OGG_PAGE.size <= size:
        file.seek(place)
        mark, _, flags, _, _, _, _, segments = _OGG_PAGE.unpack(file.read(_OGG_PAGE.size))
        if mark != b"OggS":
            break  # damage; what follows is libsndfile's to find
        first = bool(flags & _FIRST_PAGE)
        if first and not in_front:
            begins.append(place)
        in_front = first
        place += _OGG_PAGE.size + segments + sum(file.read(segments))
    if len(begins) == 1:
        return [Stretch(start)]
    return [Stretch(begin, end) for begin, end in zip(begins, [*begins[1:], size], strict=True)]


def _joined_mp3s(file: BinaryIO, start: int, size: int) -> list[Stretch]:
    """An mp3 with a byte count (Xing, Info), and what follows the counted bytes, if that is another recording."""
    found: list[Stretch] = []
    begin = 0
    while counted := _counted_bytes(file, start):
        following = start + counted
        start = _after_tags(file, following)
        if size - start < _LEAST_MP3 and not _is_mp3_frame(file, start):
            break
        found.append(Stretch(begin, following))
        begin = start
    return [*found, Stretch(begin)]


def _after_tags(file: BinaryIO, place: int) -> int:
    """Where tags that stand between or behind recordings end: ID3v1, ID3v2 and APE."""
    while True:
        file.seek(place)
        head = file.read(_APE_HEADER)
        if head[:3] == b"TAG":
            place += _ID3V1
        elif head[:8] == b"APETAGEX" and len(head) == _APE_HEADER:
            is_header = bool(head[23] & 0x20)
            place += _APE_HEADER + (int.from_bytes(head[12:16], "little") if is_header else 0)
        elif (after := _after_id3(file, place)) > place:
            place = after
        else:
            return place


def _is_mp3_frame(file: BinaryIO, place: int) -> bool:
    """Whether the header of a frame of layer III stands there."""
    file.seek(place)
    head = file.read(4)
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE6 != 0xE2:
        return False
    return head[1] & 0x18 != 0x08 and 0x10 <= head[2] & 0xF0 < 0xF0 and head[2] & 0x0C != 0x0C


def _counted_bytes(file: BinaryIO, start: int) -> int:
    """Bytes of an mp3 as its first frame counts them; 0 where it does not."""
    file.seek(start)
    frame = file.read(256)
    for mark in (b"Xing", b"Info"):
        place = frame.find(mark)
        if place >= 0 and len(frame) >= place + 16:
            flags = int.from_bytes(frame[place + 4 : place + 8], "big")
            # The number of frames comes first, where there is one; then that of bytes.
            at = place + 8 + (4 if flags & 1 else 0)
            return int.from_bytes(frame[at : at + 4], "big") if flags & 2 else 0
    return 0


def _wav(file: BinaryIO, size: int) -> Stretch:
    """A WAV file; with a header of 64-bit sizes where its own wrapped or was never filled in."""
    file.seek(12)
    form = b""
    while len(head := file.read(8)) == 8:
        name, length = head[:4], int.from_bytes(head[4:], "little")
        if name == b"fmt ":
            form = file.read(length)
            file.seek(length & 1, os.SEEK_CUR)
        elif name != b"data":
            file.seek(length + (length & 1), os.SEEK_CUR)
        else:
            start = file.tell()
            held = size - start
            wrapped = held - length >= 1 << 32
            unfilled = length == 0 and held > 0 and file.read(4) not in _SAMPLE_CHUNKS
            if form and (wrapped or unfilled):
                true = length + (held - length >> 32 << 32) if wrapped else held
                return Stretch(start, start + true, _rf64_header(form, true))
            break
    return Stretch(0)


def _rf64_header(form: bytes, length: int) -> bytes:
    """The front of an RF64 file (EBU Tech 3306) with `length` bytes of samples."""
    block = int.from_bytes(form[12:14], "little") or 1
    chunk = b"fmt " + struct.pack("<I", len(form)) + form + b"\0" * (len(form) & 1)
    sizes = struct.pack("<QQQI", 4 + 36 + len(chunk) + 8 + length, length, length // block, 0)
    return b"RF64\xff\xff\xff\xffWAVEds64" + struct.pack("<I", 28) + sizes + chunk + b"data\xff\xff\xff\xff"
