"""Arguments and options that several commands share, each worded once."""

import math
from pathlib import Path
from typing import Annotated, Literal

import typer

from pecmae.core.files import user_path


def _finite(value: float | None) -> float | None:
    if value is not None and not math.isfinite(value):
        raise typer.BadParameter(f"{value} is no number to guide with; choose one such as 2.")
    return value


Paths = Annotated[
    list[str],
    typer.Argument(
        metavar="PATH", help="Audio files, folders (searched recursively), patterns in quotes, or - for standard input."
    ),
]
Model = Annotated[
    str | None,
    typer.Option(
        "--model", "-m", metavar="M", help="Directory or Hub id (default: the embedded pecmae-mini)", show_default=False
    ),
]
Page = Annotated[
    Path,
    typer.Option(
        "--output", "-o", metavar="FILE", parser=user_path, help="The page; an existing one is replaced, - is standard output."
    ),
]
Steps = Annotated[int | None, typer.Option(metavar="N", min=1, help="Denoising steps (default: the model's)")]
Guidance = Annotated[
    float | None,
    typer.Option(metavar="W", callback=_finite, help="Guidance scale; 1 is none, and faster (default: the model's)"),
]
Seed = Annotated[int, typer.Option(metavar="S", min=0, help="The same seed gives the same sound.")]
Cache = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR", parser=user_path, help="Where sounds are kept for the next run (default: beside the Hub's cache)"
    ),
]
Device = Annotated[str | None, typer.Option(metavar="D", help="cpu, cuda, cuda:1, … (default: a GPU if there is one)")]
Dtype = Annotated[str, typer.Option(metavar="T", help="float32, bfloat16, float16, or auto: bfloat16 where it is fast")]
BatchSize = Annotated[
    int | None, typer.Option(metavar="N", min=1, help="Segments that are encoded together (default: by the device)")
]
Data = Annotated[
    str,
    typer.Argument(metavar="DATA", help="Folder LABEL/… or SPLIT/LABEL/…, a table of labels and paths, or tables."),
]
Dataset = Annotated[Literal["gtzan", "medley-solos-db"] | None, typer.Option(help="DATA is this data set, as it was unpacked.")]
Root = Annotated[
    Path | None,
    typer.Option(metavar="DIR", parser=user_path, help="What a table's paths are relative to (default: its folder)"),
]
GroupBy = Annotated[
    str | None,
    typer.Option(
        metavar="HOW",
        help="Keep clips together in a split: subfolder, for LABEL/GROUP/…, or a pattern with one group.",
    ),
]
Layout = Annotated[
    Literal["splits", "classes"] | None,
    typer.Option(help="What folders are that can be read as both, such as a class 'train'."),
]
DataCache = Annotated[
    Path | None,
    typer.Option("--cache", metavar="DIR", parser=user_path, help="Where embeddings are kept (default: in the run)"),
]
