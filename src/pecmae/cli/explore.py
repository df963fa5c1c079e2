"""`pecmae explore`: a model in the browser, to hear, question and edit."""

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pecmae.cli import console, support
from pecmae.cli.options import Cache, Device, Dtype, Model, Steps
from pecmae.cli.pages import title_of
from pecmae.core.files import user_path

if TYPE_CHECKING:
    from pecmae.editing.sources import Tracks
    from pecmae.model import PECMAE


def explore(
    tracks: Annotated[
        list[str] | None, typer.Argument(metavar="[TRACK]...", help="Audio files and folders to look at; more can be dropped.")
    ] = None,
    model: Model = None,
    data: Annotated[
        str | None,
        typer.Option(
            metavar="DATA",
            help="Labelled audio to measure edits on, as for `pecmae fit` (default: what the model keeps of its training data)",
        ),
    ] = None,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="DIR", parser=user_path, help="Folder that edited models are put into.")
    ] = Path(),
    port: Annotated[int, typer.Option(metavar="N", min=0, max=65535, help="Port; 0: one that is free.")] = 0,
    host: Annotated[
        str, typer.Option(metavar="H", help="Address to listen on; another one opens the app to other machines.")
    ] = "127.0.0.1",
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Only print the address.")] = False,
    steps: Steps = None,
    cache: Cache = None,
    device: Device = None,
    dtype: Dtype = "auto",
) -> None:
    """Hear, question and edit a model in the browser.

    Runs on this machine until Ctrl-C; needs no network. Edits that were not exported are offered again at the next start.
    """
    support.require("starlette", "pecmae explore", "app")
    support.require("uvicorn", "pecmae explore", "app")
    support.check_output_folder(output)
    files, missing = support.find(tracks) if tracks else ([], [])
    loaded = support.load_model(model, device, dtype)
    from pecmae.explorer.safety import new_token
    from pecmae.explorer.server import address, build_app, is_loopback, listen, serve
    from pecmae.explorer.session import Places, Session
    from pecmae.explorer.uploads import Uploads

    labelled = _labelled(loaded, data)
    with (
        tempfile.TemporaryDirectory(prefix="pecmae-explore-", ignore_cleanup_errors=True) as folder,
        listen(host, port) as bound,
    ):
        places = Places(temporary=Path(folder), exports=output.absolute(), sounds=cache)
        session = Session(loaded, labelled, name=title_of(model), places=places, num_inference_steps=steps)
        try:
            for path in files:
                session.shelf.open(path)
            token = new_token()
            url = address(bound, host, token)
            if not is_loopback(host):
                console.say(
                    f"other machines can reach this; whoever knows the address hears and edits what you do ({host}).", "warning"
                )
            app = build_app(session, Uploads(Path(folder)), token=token, names=(host,))
            console.deliver(f"{url}\n", None)
            console.say("Ctrl-C ends it.")
            if not no_browser:
                import webbrowser

                webbrowser.open(url)
            serve(app, bound)
            if session.editor.history and not session.model()["saved"]:
                console.say("edits that were not exported are offered at the next start.")
        finally:
            session.close()
    support.finish(support.Done().after(len(missing)))


def _labelled(model: "PECMAE", data: str | None) -> "Tracks":
    """Tracks that edits are measured on."""
    from pecmae.editing.sources import Tracks

    if data is None:
        return Tracks.of_model(model)
    from pecmae.data.load import load_collection

    found = Tracks.of_collection(model, load_collection(data), progress=True)
    for problem in (found.failed or {}).values():
        console.say(problem, "warning")
    return found
