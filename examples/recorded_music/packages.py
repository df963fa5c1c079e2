"""Debian's and npm's packages as folders of files: fetched by their own clients, checked, unpacked, nothing installed."""

import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pecmae.core.files import file_sha256
from pecmae.errors import PecmaeError

from .catalogue import read_rows

__all__ = ["Fetch", "Package", "PackageError", "fetch_debian", "fetch_npm", "read_packages", "unpacked"]


PACKAGES = Path(__file__).with_name("packages.csv")


class PackageError(PecmaeError):
    """A package cannot be fetched or unpacked, or is another one than expected."""


@dataclass(frozen=True)
class Package:
    """An archive that clients of package managers know."""

    name: str
    version: str
    # Of the archive, 64 hexadecimal digits.
    sha256: str


Fetch = Callable[[Package, Path], Path]
"""Puts a package's archive into a folder and returns its path."""


def read_packages(path: Path = PACKAGES) -> dict[str, Package]:
    """Read the table of Debian packages, by name."""
    return {package.name: package for package in read_rows(Package, path)}


def fetch_debian(package: Package, folder: Path) -> Path:
    """Download a Debian package's archive with ``apt-get download``, which checks its signature.

    Raises
    ------
    PackageError
        apt cannot be run, or does not know the package in this version.
    """
    named = f"{package.name}={package.version}"
    _run(["apt-get", "download", "-q", "-o", "APT::Sandbox::User=", named], folder, f"{named} cannot be downloaded")
    return _only(folder, "*.deb", named)


def fetch_npm(package: Package, folder: Path) -> Path:
    """Download an npm package's archive with ``npm pack``, which checks its hash.

    Raises
    ------
    PackageError
        npm cannot be run, or does not know the package in this version.
    """
    named = f"{package.name}@{package.version}"
    _run(["npm", "pack", "--silent", named], folder, f"{named} cannot be downloaded")
    return _only(folder, "*.tgz", named)


@contextmanager
def unpacked(package: Package, fetch: Fetch) -> Iterator[Path]:
    """Yield a folder with the files of a package, which is removed when the block ends.

    Parameters
    ----------
    package : Package
    fetch : callable
        What downloads it: `fetch_debian` or `fetch_npm`.

    Raises
    ------
    PackageError
        It cannot be fetched or unpacked, or its archive has another hash.
    """
    with tempfile.TemporaryDirectory(prefix="package_") as temporary:
        folder, files = Path(temporary), Path(temporary, "files")
        archive = fetch(package, folder)
        if (found := file_sha256(archive)) != package.sha256:
            raise PackageError(
                f"{archive.name}: its hash is {found[:12]}…, not {package.sha256[:12]}…; it is another build of "
                f"{package.name}, whose tracks may differ. Update the table of packages after looking at it."
            )
        files.mkdir()
        command = ["dpkg", "-x", str(archive), str(files)]
        if archive.suffix != ".deb":
            command = ["tar", "-xzf", str(archive), "-C", str(files)]
        _run(command, folder, f"{archive.name} cannot be unpacked")
        archive.unlink()
        yield files


def _run(command: list[str], folder: Path, failure: str) -> None:
    try:
        result = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise PackageError(f"{failure}: the program {command[0]} is missing; this needs a Debian system.") from None
    if result.returncode:
        reason = result.stderr.strip().splitlines()[-1:] or ["no reason given"]
        raise PackageError(f"{failure}: {reason[0]}")


def _only(folder: Path, pattern: str, package: str) -> Path:
    if archive := next(folder.glob(pattern), None):
        return archive
    raise PackageError(f"{package}: the client left no archive; is the package part of this release?")
