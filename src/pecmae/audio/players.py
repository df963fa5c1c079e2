"""Sounds that show themselves in a notebook as players."""

import html
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pecmae.audio.compression import compressed


@dataclass(frozen=True, eq=False, repr=False)
class Player:
    """A sound with a name."""

    title: str
    samples: np.ndarray  # (N,), as the model or the file has it
    sampling_rate: int

    def __repr__(self) -> str:
        seconds = len(self.samples) / self.sampling_rate
        return f"Player({self.title!r}, {seconds:.1f} s at {self.sampling_rate} Hz)"

    def _repr_html_(self) -> str:
        sound = compressed(self.samples, self.sampling_rate)
        source = f"data:{sound['type']};base64,{sound['data']}"
        return (
            '<figure style="display:inline-block;margin:0 1em 0.5em 0">'
            f'<figcaption style="font-size:smaller">{html.escape(self.title)}</figcaption>'
            f'<audio controls preload="none" src="{source}" style="height:2em;max-width:18em"></audio></figure>'
        )


class Players(tuple[Player, ...]):
    """Several of them, side by side."""

    __slots__ = ()

    def _repr_html_(self) -> str:
        return "".join(player._repr_html_() for player in self)


def players(titles: Sequence[str], sounds: Sequence[np.ndarray], sampling_rate: int) -> Players:
    """A player for each title and sound [shape=(N,)]."""
    return Players(Player(title, samples, sampling_rate) for title, samples in zip(titles, sounds, strict=True))
