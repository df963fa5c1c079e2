"""The commands that write pages: explanations of tracks, and the gallery of a model's prototypes."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pecmae.cli import console, support
from pecmae.cli.options import BatchSize, Cache, Device, Dtype, Guidance, Model, Page, Paths, Seed, Steps
from pecmae.errors import CheckpointError

if TYPE_CHECKING:
    from pecmae.explain.report import TrackReport
    from pecmae.explain.sounds import PrototypeSounds
    from pecmae.model import PECMAE
    from pecmae.prototypes.neighbours import Neighbours

PAGES = (".html", ".htm")
LARGE_PAGE = 20_000_000  # bytes


def explain(
    paths: Paths,
    output: Page = Path("report.html"),
    model: Model = None,
    sounds: Annotated[int, typer.Option(metavar="N", min=0, help="Prototypes to sonify for each track, at most.")] = 24,
    counterfactual: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Tell what would have to be different for another class, and how that sounds."),
    ] = None,
    seed: Seed = 0,
    steps: Steps = None,
    guidance: Guidance = None,
    cache: Cache = None,
    device: Device = None,
    dtype: Dtype = "auto",
    batch_size: BatchSize = None,
) -> None:
    """Write a page of reasons to read and to hear.

    One file that opens in any browser, without a network. Files that fail are named, on the page too.
    """
    support.check_output_file(output)
    support.check_ending(output, PAGES)
    files, failures = support.find(paths)
    done = support.Done()
    if files:
        classifier, neighbours = _load(model, device, dtype)
        from pecmae.explain.report import build_report, describe_track

        if counterfactual is not None and counterfactual not in classifier.labels:
            support.refuse(f"{counterfactual!r} is no class of the model; choose from {', '.join(classifier.labels)}.")
        tracks: list[TrackReport] = []

        def work(path: Path) -> dict[str, Any]:
            tracks.append(describe_track(classifier, path, batch_size=batch_size, counterfactual=counterfactual, seed=seed))
            return {}

        def show(row: dict[str, Any]) -> None:
            if "error" in row:
                failures.append(row)

        missing = len(failures)
        done = support.each(files, "explaining", support.attempts(files, work), show).after(missing)
        if tracks and not done.interrupted:
            source = _sounds(classifier, cache, steps, guidance)
            with _counted("sonifying") as progress:
                report = build_report(
                    classifier,
                    tracks,
                    name=title_of(model),
                    neighbours=neighbours,
                    sounds=source,
                    sounds_per_track=sounds,
                    seed=seed,
                    failures=failures,
                    progress=progress,
                )
            _deliver(report.to_html(), output)
    support.finish(done if files else done.after(len(failures)))


def gallery(
    output: Page = Path("gallery.html"),
    model: Model = None,
    seeds: Annotated[int, typer.Option(metavar="N", min=1, help="Sounds of each prototype.")] = 4,
    steps: Steps = None,
    guidance: Guidance = None,
    cache: Cache = None,
    device: Device = None,
    dtype: Dtype = "auto",
) -> None:
    """Write a page of all prototypes, as sound.

    Each with its sounds, its health, and where it stands among the others.

    One file that opens in any browser, without a network. An interrupted run continues where it stopped.
    """
    support.check_output_file(output)
    support.check_ending(output, PAGES)
    subject, neighbours = _load(model, device, dtype)
    from pecmae.explain.gallery import build_gallery

    source = _sounds(subject, cache, steps, guidance)
    with _counted("sonifying") as progress:
        page = build_gallery(
            subject, name=title_of(model), neighbours=neighbours, sounds=source, seeds=range(seeds), progress=progress
        )
    _deliver(page.to_html(), output)


def register(app: typer.Typer) -> None:
    """Add the commands to the console."""
    app.command()(explain)
    app.command()(gallery)


def _deliver(page: str, output: Path) -> None:
    """Write the page; sound is most of it, and an hour of sound is much for a browser."""
    console.deliver(page, output)
    if len(page) > LARGE_PAGE:
        console.say(
            f"{output}: {len(page) / 1e6:.0f} MB; browsers open it slowly. Shorter or fewer tracks make a smaller page.",
            "warning",
        )


def _load(name: str | None, device: str | None, dtype: str) -> "tuple[PECMAE, Neighbours | None]":
    """Load a model and what its directory holds beside it."""
    model = support.load_model(name, device, dtype)
    from pecmae.hub.resolve import resolve_model
    from pecmae.prototypes.neighbours import Neighbours

    try:
        return model, Neighbours.load(resolve_model(name))
    except CheckpointError as error:
        console.say(f"{console.sentence(error)} The page does without it.", "warning")
        return model, None


def title_of(model: str | None) -> str:
    """What people call the model: the last part of a directory's path, a Hub id as it is."""
    if model is None:
        return "pecmae-mini"
    return Path(model).resolve().name if Path(model).is_dir() else model


def _sounds(model: "PECMAE", cache: Path | None, steps: int | None, guidance: float | None) -> "PrototypeSounds":
    from pecmae.explain.sounds import PrototypeSounds

    if cache is not None and cache.exists() and not cache.is_dir():
        support.refuse(f"{cache}: this is a file; give a folder for --cache.")
    return PrototypeSounds(model, cache, num_inference_steps=steps, guidance_scale=guidance)


@contextmanager
def _counted(verb: str) -> Iterator[Callable[[int], Callable[[], None]]]:
    """Yield what opens a progress bar once the number of steps is known."""
    from contextlib import ExitStack

    with ExitStack() as stack:
        yield lambda total: stack.enter_context(console.progress_bar(verb, total))
