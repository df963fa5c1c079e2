"""The commands for whole archives: make a catalogue, go on with it, look into it, search it."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from pecmae.cli import console, support
from pecmae.cli.options import BatchSize, Device, Dtype, Model
from pecmae.core.files import user_path

if TYPE_CHECKING:
    from pecmae.catalogue.run import Progress

NAMED = 20  # errors that are named while working


def catalogue(
    sources: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="SOURCE",
            help="Files, folders, patterns, lists (.csv, .tsv, .jsonl, .parquet), addresses (s3://, https://).",
            show_default=False,
        ),
    ] = None,
    output: Annotated[
        Path,
        typer.Option("--output", "-o", metavar="DIR", parser=user_path, help="Folder of the catalogue.", show_default=False),
    ] = Path(),
    model: Model = None,
    what: Annotated[
        str, typer.Option(metavar="LIST", help="Of labels, reasons and embeddings, with commas between them.")
    ] = "labels",
    workers: Annotated[int, typer.Option(metavar="N", min=1, help="Processes, each with a model.")] = 1,
    time_limit: Annotated[
        float, typer.Option(metavar="SECONDS", min=0.1, help="For a track; one that takes longer is named and left.")
    ] = 600.0,
    refresh: Annotated[bool, typer.Option("--refresh", help="Also do again what has changed.")] = False,
    retry_errors: Annotated[bool, typer.Option("--retry-errors", help="Also do again what failed.")] = False,
    errors: Annotated[bool, typer.Option("--errors", help="List what failed, and do nothing.")] = False,
    summary: Annotated[bool, typer.Option("--summary", help="Say what the catalogue holds, and do nothing.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="With --errors or --summary: print JSON.")] = False,
    device: Device = None,
    dtype: Dtype = "auto",
    batch_size: BatchSize = None,
) -> None:
    """Label a whole archive into a Parquet data set.

    DIR/tracks holds a row a track, DIR/segments and DIR/embeddings a row a segment. The same command does what is missing:
    after a kill, or when there are new files. A track that fails is a row with its error.
    """
    support.require("pyarrow", "pecmae catalogue", "catalogue")
    support.require("pebble", "pecmae catalogue", "catalogue")
    if output == Path():
        support.refuse("catalogue: --output DIR names the folder of the catalogue; give it.")
    if errors or summary:
        _look(output, "errors" if errors else "summary", as_json=as_json)
        return
    if not sources:
        support.refuse("catalogue: what shall be labelled? Give files, folders, patterns, lists or addresses.")
    support.check_output_folder(output)
    from pecmae.catalogue.pool import PoolSettings
    from pecmae.catalogue.run import CatalogueSettings, build_catalogue

    settings = CatalogueSettings(
        model=model,
        what=tuple(dict.fromkeys(word.strip() for word in what.split(","))),
        device=device,
        dtype=dtype,
        batch_size=batch_size,
        pool=PoolSettings(workers=workers, time_limit=time_limit),
        refresh=refresh,
        retry_errors=retry_errors,
    )
    named = 0
    missing: list[str] = []

    def say(source: str, error: str) -> None:
        nonlocal named
        named += 1
        if source in sources:
            missing.append(source)
        if named <= NAMED:
            console.say(error if error.startswith(source) else f"{source}: {error}", "error")
        elif named == NAMED + 1:
            console.say(f"more failed; pecmae catalogue --errors --output {output} lists them all")

    try:
        with console.progress_bar("cataloguing", None) as advance:
            progress = build_catalogue(sources, output, settings, on_error=say, advance=lambda _: advance())
    except KeyboardInterrupt:
        console.say(f"stopped; what is done is in {output}, and the same command goes on")
        raise
    console.say(_in_words(progress))
    console.deliver_names([output])
    if progress.failed or missing:
        raise typer.Exit(1)


def similar(
    track: Annotated[str, typer.Argument(metavar="TRACK", help="An id or path of the catalogue, or any audio file.")],
    directory: Annotated[Path, typer.Option("--catalogue", metavar="DIR", parser=user_path, help="With embeddings.")],
    top: Annotated[int, typer.Option(metavar="N", min=1, help="Tracks to show.")] = 10,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON list.")] = False,
    device: Device = None,
) -> None:
    """Find the tracks of a catalogue that sound most alike.

    By z, of which what all tracks have in common is taken off: strangers have a similarity around 0.
    """
    support.require("pyarrow", "pecmae similar", "catalogue")
    from pecmae.catalogue.search import TrackEmbeddings
    from pecmae.catalogue.store import Catalogue

    found = Catalogue(directory)
    embeddings = TrackEmbeddings(found)
    vector = embeddings.of(track)
    if vector is None:
        path = user_path(track)
        if not path.is_file():
            support.refuse(f"{track}: neither a track of the catalogue nor a file; check the path.")
        model = support.load_model(None if found.facts.model == "pecmae-mini" else found.facts.model, device, "auto")
        embedded = model.embed_track(path)
        vector = embeddings.vector(embedded.z.numpy(), embedded.weights if embedded.weights.any() else None)
    nearest = embeddings.nearest(vector, top, but=track)
    rows = [
        {"path": item.path, "id": item.id, "label": item.label, "similarity": round(item.similarity, 4)} for item in nearest
    ]
    console.deliver(console.as_json(rows) if as_json else _as_text(rows), None)


def register(app: typer.Typer) -> None:
    """Add the commands to the console."""
    app.command()(catalogue)
    app.command()(similar)


def _look(directory: Path, what: Literal["errors", "summary"], *, as_json: bool) -> None:
    from pecmae.catalogue.store import Catalogue
    from pecmae.catalogue.summary import summarise

    found = Catalogue(directory)
    rows: Any = [{"path": path, "error": error} for path, error in found.errors()] if what == "errors" else summarise(found)
    if as_json:
        console.deliver(console.as_json(rows), None)
    elif what == "errors":
        console.deliver("".join(f"{console.harmless(row['error'])}\n" for row in rows), None)
    else:
        console.deliver(_summary_in_words(rows), None)


def _as_text(rows: list[dict[str, Any]]) -> str:
    return "".join(
        f"{row['similarity']:+.3f}  {console.harmless(row['label'] or '')}  {console.harmless(row['path'])}\n" for row in rows
    )


def _summary_in_words(found: dict[str, Any]) -> str:
    lines = [f"{'tracks':<14}{found['tracks']}, {found['hours']:.1f} hours", f"{'errors':<14}{found['errors']}"]
    for name in ("unsure", "unknown"):
        lines.append(f"{name:<14}{'not calibrated' if found[name] is None else found[name]}")
    lines += ["", "labels", *(f"  {console.harmless(label)}: {count}" for label, count in found["labels"].items())]
    if "prototypes" in found:
        closest = (f"  {console.harmless(name)}: {count} segments" for name, count in found["prototypes"].items())
        least = (f"  {console.harmless(path)}: similarity {value:.3f}" for path, value in found["unexplained"].items())
        lines += ["", "prototypes that explain it", *closest, "", "tracks that no prototype explains", *least]
    return "\n".join(lines) + "\n"


def _in_words(progress: "Progress") -> str:
    there = f", {progress.there} were there already" if progress.there else ""
    failed = f", {progress.failed} of them failed" if progress.failed else ""
    return f"{progress.found} tracks: {progress.done} done{failed}{there}"
