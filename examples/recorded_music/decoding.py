"""From packages to a folder of sound: every track mono, 24 kHz, 16 bit."""

import zipfile
from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from pathlib import Path

import numpy as np

from pecmae.audio.segments import load_audio, write_audio
from pecmae.core.files import atomic_write

from .catalogue import Track
from .packages import Fetch, Package, PackageError, fetch_debian, unpacked

__all__ = ["SAMPLING_RATE", "collect", "keep_copyright", "write_sound"]

SAMPLING_RATE = 24_000  # Hz


def collect(
    tracks: Iterable[Track], packages: Mapping[str, Package], output: Path, *, fetch: Fetch = fetch_debian
) -> Iterator[Track]:
    """Decode the tracks that are not there yet, package by package; the rest of a package is thrown away.

    Parameters
    ----------
    tracks : iterable of Track
        Those of one package must follow one another.
    packages : mapping
        Name → package.
    output : path
        Sound goes to ``output/SPLIT/PACKAGE``, each package's copyright file to ``output/copyright/PACKAGE``.
    fetch : callable
        What downloads a package.

    Yields
    ------
    Track
        Each track when its sound is complete.

    Raises
    ------
    PackageError
        A package cannot be had, is another one, or lacks a track.
    """
    for name, group in groupby(tracks, key=lambda track: track.package):
        wanted = list(group)
        missing = [track for track in wanted if not (output / track.path).exists()]
        yield from (track for track in wanted if track not in missing)
        if not missing:
            continue
        if name not in packages:
            raise PackageError(f"{name}: the table of packages does not know it; add its version and hash.")
        with unpacked(packages[name], fetch) as files:
            keep_copyright(files, name, output)
            for track in missing:
                _decode(files, track, output)
                yield track


def keep_copyright(files: Path, package: str, output: Path) -> None:
    """Copy what says whose the sound is and what one may do with it."""
    source = files / "usr/share/doc" / package / "copyright"
    if not source.is_file():
        raise PackageError(f"{package}: it has no copyright file, so nothing says whether its sound may be used.")
    target = output / "copyright" / package
    target.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(target) as temporary:
        temporary.write_bytes(source.read_bytes())


def write_sound(target: Path, samples: np.ndarray) -> None:
    """Write mono samples at `SAMPLING_RATE`; what a lossy decoder made louder than full scale is turned down, not clipped."""
    target.parent.mkdir(parents=True, exist_ok=True)
    write_audio(target, samples / max(1.0, float(np.abs(samples).max(initial=0.0))), SAMPLING_RATE)


def _decode(files: Path, track: Track, output: Path) -> None:
    source = _extracted(files, track.source)
    if not source.is_file():
        raise PackageError(f"{track.package}: it holds no {track.source}; correct the catalogue.")
    write_sound(output / track.path, load_audio(source, target_rate=SAMPLING_RATE))


def _extracted(files: Path, source: str) -> Path:
    """Where a file of a package lies, taken out of the zip archive it may be in."""
    archive, separator, member = source.partition("!/")
    if not separator or not zipfile.is_zipfile(files / archive):
        return files / source
    with zipfile.ZipFile(files / archive) as opened:
        if member not in opened.namelist():
            return files / source
        return Path(opened.extract(member, files / f"{archive}.unzipped"))
