"""Processes that work on groups of tracks, of which one may die or hang without harm to the others.

A group whose process dies, or that takes too long, is worked on again track by track: the one that does it alone is named.
"""

import multiprocessing
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, wait
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass
from itertools import islice
from typing import Any

from pecmae.catalogue.schema import Rows, SourceTrack
from pecmae.errors import PecmaeError

# Groups that wait for each worker: enough to keep it busy, and no more in memory.
AHEAD = 2

Work = Callable[[Sequence[SourceTrack]], list[Rows]]
Failed = Callable[[SourceTrack, str], Rows]


@dataclass(frozen=True, kw_only=True)
class PoolSettings:
    """How many processes, and how long they may take."""

    workers: int = 1
    group: int = 16  # tracks that are handed over together, so that short ones share batches
    time_limit: float = 600.0  # seconds for a group, or for a track alone


def work_on(
    tracks: Iterable[SourceTrack],
    settings: PoolSettings,
    *,
    work: Work,
    prepare: Callable[..., None],
    arguments: tuple[Any, ...],
    failed: Failed,
) -> Generator[list[Rows]]:
    """Have processes work on tracks.

    Parameters
    ----------
    tracks : iterable of SourceTrack
        Taken as they are needed: there may be millions.
    settings : PoolSettings
    work : callable
        Rows of some tracks; runs in a worker, so it has to be importable.
    prepare : callable
        Called in each process first, with `arguments`.
    failed : callable
        Rows of a track that killed its worker or took too long, from the track and what is wrong.

    Yields
    ------
    list of Rows
        Of a group, in whatever order they are done.
    """
    from pebble import ProcessPool

    source = iter(tracks)
    groups = iter(lambda: list(islice(source, settings.group)), [])
    spawn = multiprocessing.get_context("spawn")  # a forked process would share torch's locks
    pool = ProcessPool(max_workers=settings.workers, context=spawn, initializer=prepare, initargs=arguments)
    waiting: dict[Any, list[SourceTrack]] = {}

    def hand_over(group: list[SourceTrack]) -> None:
        waiting[pool.schedule(work, args=(group,), timeout=settings.time_limit)] = group

    try:
        while True:
            while len(waiting) < AHEAD * settings.workers and (group := next(groups, None)):
                hand_over(group)
            if not waiting:
                break
            done, _ = wait(waiting, return_when=FIRST_COMPLETED)
            for future in done:
                group = waiting.pop(future)
                wrong = _what_went_wrong(future, settings.time_limit)
                if wrong is None:
                    yield future.result()
                elif len(group) == 1:
                    yield [failed(group[0], wrong)]
                else:
                    for track in group:
                        hand_over([track])
        pool.close()
        pool.join()
    finally:
        pool.stop()
        pool.join()


def _what_went_wrong(future: Any, limit: float) -> str | None:
    """Why a group has no rows, in words for its track; what is wrong with all of them is raised."""
    from pebble import ProcessExpired

    error = future.exception()
    if error is None:
        return None
    if isinstance(error, FutureTimeoutError):
        return f"took longer than {limit:g} s; give it more time (--time-limit), or repair it."
    if isinstance(error, ProcessExpired):
        return f"ended the process that read it (status {error.exitcode}); the file is probably damaged."
    if isinstance(error, BrokenExecutor):
        raise PecmaeError(
            "The worker processes cannot start; a script that makes a catalogue does it below if __name__ == '__main__'."
        ) from None
    raise error
