"""Making a catalogue, or going on with one: only what is missing is done."""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path

from pecmae.catalogue.pool import PoolSettings, work_on
from pecmae.catalogue.schema import Rows, SourceTrack, failed_row
from pecmae.catalogue.sources import find_tracks
from pecmae.catalogue.store import WHAT, CatalogueFacts, CatalogueWriter, Known, merged
from pecmae.catalogue.work import WorkSettings, prepare, work
from pecmae.core.configs import model_sha256
from pecmae.core.locks import locked_folder
from pecmae.errors import ConfigError

# A part is written when it holds this many tracks, or after this many seconds: a kill loses what came since.
PART_TRACKS = 2000
PART_SECONDS = 20.0


@dataclass(frozen=True, kw_only=True)
class CatalogueSettings:
    """What to make, and how."""

    model: str | None = None
    # Of "labels", "reasons" and "embeddings"; labels are always made.
    what: tuple[str, ...] = ("labels",)
    device: str | None = None
    dtype: str = "auto"
    batch_size: int | None = None
    pool: PoolSettings = field(default_factory=PoolSettings)
    # Do what changed again (size or time of change), and what failed.
    refresh: bool = False
    retry_errors: bool = False

    def __post_init__(self) -> None:
        if unknown := [name for name in self.what if name not in WHAT]:
            raise ConfigError(f"what: {unknown[0]!r} is none of {', '.join(WHAT)}.")
        if self.pool.workers < 1:
            raise ConfigError(f"workers={self.pool.workers}; at least one has to do the work.")


@dataclass(frozen=True)
class Progress:
    """How far a run is."""

    found: int = 0  # tracks of the sources
    there: int = 0  # of those, tracks that the catalogue held already
    done: int = 0
    failed: int = 0


def build_catalogue(
    sources: Sequence[str] | str,
    output: str | os.PathLike[str],
    settings: CatalogueSettings | None = None,
    *,
    on_error: Callable[[str, str], None] = lambda source, error: None,
    advance: Callable[[Progress], None] = lambda progress: None,
) -> Progress:
    """Add the tracks of some sources to a catalogue; those that it holds are left alone.

    Parameters
    ----------
    sources : sequence of str, or one str
        See `pecmae.catalogue.sources.find_tracks`.
    output : path
        Folder of the catalogue; made.
    settings : CatalogueSettings, optional
    on_error : callable
        Called with a source, or a track that failed, and what is wrong with it.
    advance : callable
        Called after each group of tracks.

    Returns
    -------
    Progress

    Raises
    ------
    ConfigError
        The folder holds a catalogue of another model or of other settings, or another run is writing it.
    """
    settings = settings or CatalogueSettings()
    facts = _facts(settings)
    output = Path(output)
    output.mkdir(parents=True, exist_ok=True)
    with locked_folder(output):
        run = _Run(settings, CatalogueWriter(output, facts), on_error, advance)
        return run.go([sources] if isinstance(sources, str) else sources)


def _facts(settings: CatalogueSettings) -> CatalogueFacts:
    """What the rows will share, known before a worker has loaded the model."""
    from pecmae import __version__
    from pecmae.hub.resolve import resolve_model
    from pecmae.model_files import read_model

    directory = resolve_model(settings.model)
    config, _ = read_model(directory)
    return CatalogueFacts(
        model=settings.model or "pecmae-mini",
        model_sha256=model_sha256(directory),
        labels=config.labels,
        what=tuple(sorted({"labels", *settings.what}, key=WHAT.index)),
        embedding_dim=config.head.embedding_dim,
        version=__version__,
    )


class _Run:
    def __init__(
        self,
        settings: CatalogueSettings,
        writer: CatalogueWriter,
        on_error: Callable[[str, str], None],
        advance: Callable[[Progress], None],
    ) -> None:
        self.settings, self.writer, self.on_error, self.advance = settings, writer, on_error, advance
        self.progress = Progress()

    def go(self, sources: Sequence[str]) -> Progress:
        known = self.writer.known()
        missing = self._missing(sources, known)
        facts = self.writer.facts
        job = WorkSettings(
            model=self.settings.model,
            what=facts.what,
            device=self.settings.device,
            dtype=self.settings.dtype,
            batch_size=self.settings.batch_size,
            threads=max(1, (os.cpu_count() or 1) // self.settings.pool.workers),
        )
        first = next(missing, None)
        if first is None:
            return self.progress
        pending: list[Rows] = []
        since = time.monotonic()
        found = work_on(
            _with(first, missing),
            self.settings.pool,
            work=work,
            prepare=prepare,
            arguments=(job,),
            failed=lambda track, error: failed_row(track, f"{track.path}: {error}", facts.model_sha256),
        )
        try:
            # The processes end with the loop, whatever ends it.
            with closing(found):
                for group in found:
                    pending += group
                    self._count(group)
                    if len(pending) >= PART_TRACKS or time.monotonic() - since >= PART_SECONDS:
                        self.writer.write(merged(pending))
                        pending, since = [], time.monotonic()
        finally:  # what is done is kept when the user stops it
            self.writer.write(merged(pending))
        return self.progress

    def _missing(self, sources: Sequence[str], known: dict[str, Known]) -> Iterator[SourceTrack]:
        """Tracks that are not there, or are to be done again; those are taken out first."""
        again: list[SourceTrack] = []
        for track in find_tracks(sources, self.on_error):
            before = known.get(track.id)
            self.progress = replace(self.progress, found=self.progress.found + 1)
            if before is None:
                yield track
            elif self._is_old(track, before):
                again.append(track)
            else:
                self.progress = replace(self.progress, there=self.progress.there + 1)
        # Rows go when their tracks are about to be done, and all together: parts are written anew for it.
        self.writer.remove(track.id for track in again)
        yield from again

    def _is_old(self, track: SourceTrack, before: Known) -> bool:
        changed = (track.size, track.modified) != (before.size, before.modified)
        return (self.settings.refresh and changed) or (self.settings.retry_errors and before.failed)

    def _count(self, group: list[Rows]) -> None:
        errors = [row for rows in group for row in rows["tracks"] if row["error"] is not None]
        for row in errors:
            self.on_error(row["path"], row["error"])
        done, failed = self.progress.done + len(group), self.progress.failed + len(errors)
        self.progress = replace(self.progress, done=done, failed=failed)
        self.advance(self.progress)


def _with(first: SourceTrack, rest: Iterator[SourceTrack]) -> Iterator[SourceTrack]:
    yield first
    yield from rest
