"""What a worker does: a model, loaded once, and the rows of some tracks, one after the other."""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import torch

from pecmae.audio.segments import AudioSource
from pecmae.catalogue.schema import Rows, SourceTrack, failed_row, rows_of
from pecmae.catalogue.sources import opened
from pecmae.core.configs import model_sha256
from pecmae.errors import AudioWarning, PecmaeError
from pecmae.model import PECMAE


@dataclass(frozen=True)
class WorkSettings:
    """What a worker needs to know."""

    model: str | None
    what: tuple[str, ...]
    device: str | None = None
    dtype: str = "auto"
    batch_size: int | None = None
    threads: int | None = None


class Worker:
    """A model and what is wanted of it.

    Parameters
    ----------
    settings : WorkSettings

    Raises
    ------
    FileNotFoundError, PecmaeError
        The model cannot be loaded.
    """

    def __init__(self, settings: WorkSettings) -> None:
        if settings.threads is not None:
            torch.set_num_threads(settings.threads)
        self.settings = settings
        self.model = PECMAE.from_pretrained(settings.model, device=settings.device, dtype=settings.dtype)
        assert self.model.directory is not None
        self.model_sha256 = model_sha256(self.model.directory)

    def rows(self, tracks: Sequence[SourceTrack]) -> Iterator[Rows]:
        """Rows of each track, in order, as soon as they are known; short tracks share batches."""
        with ExitStack() as stack:
            sources = [_opened(track, stack) for track in tracks]
            usable = [source for source in sources if not isinstance(source, Exception)]
            found = self.model.embed_many(usable, batch_size=self.settings.batch_size)
            for track, source in zip(tracks, sources, strict=True):
                embedded = source if isinstance(source, Exception) else next(found)
                if isinstance(embedded, Exception):
                    yield failed_row(track, str(embedded), self.model_sha256)
                else:
                    yield rows_of(self.model, track, embedded, self.settings.what, self.model_sha256)


def _opened(track: SourceTrack, stack: ExitStack) -> "AudioSource | PecmaeError | OSError":
    try:
        return opened(track, stack)
    except (PecmaeError, OSError) as error:
        return error


_worker: Worker | None = None


def prepare(settings: WorkSettings) -> None:
    """Load the model of this process."""
    global _worker  # a process has one model
    warnings.simplefilter("ignore", AudioWarning)  # the rows say it, in notes
    _worker = Worker(settings)


def work(tracks: Sequence[SourceTrack]) -> list[Rows]:
    """Rows of some tracks, by the model of this process."""
    assert _worker is not None
    return list(_worker.rows(tracks))
