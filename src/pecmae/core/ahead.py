"""Work that is done before it is asked for, in a thread beside the one that asks."""

from collections import deque
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

Item = TypeVar("Item")


def ahead(items: Generator[Item], count: int) -> Generator[Item]:
    """Yield what a generator yields, which a thread runs up to `count` items ahead of the one who takes them.

    Errors of the generator come where its next item would. It is closed, in its thread, when the taking ends, however it ends.
    """
    end: Any = object()
    with ThreadPoolExecutor(1, "ahead") as thread:
        waiting = deque(thread.submit(next, items, end) for _ in range(count))
        try:
            while (item := waiting.popleft().result()) is not end:
                waiting.append(thread.submit(next, items, end))
                yield item
        finally:
            for future in waiting:
                future.cancel()
            thread.submit(items.close).result()
