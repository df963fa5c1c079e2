"""Files that somebody dropped onto a page: few enough, small enough, and gone at the end."""

import secrets
from collections.abc import AsyncIterator
from pathlib import Path

from pecmae.audio.segments import AUDIO_EXTENSIONS
from pecmae.errors import AudioError

LARGEST_FILE = 500_000_000  # bytes
LARGEST_TOTAL = 2_000_000_000
MOST_FILES = 200


class Uploads:
    """A folder for dropped files.

    Parameters
    ----------
    folder : Path
        Removed by whoever made it.
    largest_file, largest_total : int
        In bytes.
    most_files : int
    """

    def __init__(
        self,
        folder: Path,
        *,
        largest_file: int = LARGEST_FILE,
        largest_total: int = LARGEST_TOTAL,
        most_files: int = MOST_FILES,
    ) -> None:
        self._folder = folder
        self._largest_file, self._largest_total, self._most_files = largest_file, largest_total, most_files
        self._total = self._count = 0

    async def take(self, name: str, chunks: AsyncIterator[bytes]) -> Path:
        """Keep a file; only the ending of its name reaches the disk.

        Parameters
        ----------
        name : str
            As the person who dropped it knows it.
        chunks : async iterator of bytes

        Raises
        ------
        AudioError
            It is no audio by its name, too large, or one too many.
        """
        suffix = Path(name).suffix.lower()
        if suffix not in AUDIO_EXTENSIONS:
            raise AudioError(f"{name}: this is no audio by its name; drop audio files.")
        if self._count >= self._most_files:
            raise AudioError(f"{name}: {self._most_files} files were dropped already; start the app with their folder instead.")
        self._count += 1
        path, size = self._folder / f"{secrets.token_hex(8)}{suffix}", 0
        try:
            with path.open("wb") as file:
                async for chunk in chunks:
                    size += len(chunk)
                    if size > self._largest_file or self._total + size > self._largest_total:
                        limit = min(self._largest_file, self._largest_total)
                        raise AudioError(f"{name}: more than {limit / 1e6:.0f} MB; start the app with its path instead.")
                    file.write(chunk)
        except BaseException:
            path.unlink(missing_ok=True)
            self._count -= 1
            raise
        self._total += size
        return path
