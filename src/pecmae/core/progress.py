"""One progress bar for all loops."""

from collections.abc import Iterable, Sequence
from typing import TypeVar

from tqdm.auto import tqdm

Item = TypeVar("Item")


def progress_bar(items: Sequence[Item], text: str, shown: bool) -> Iterable[Item]:
    """The items, with a progress bar on standard error if `shown`."""
    return tqdm(items, text, disable=not shown, mininterval=2)
