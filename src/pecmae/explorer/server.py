"""The app's addresses: pages and JSON over HTTP, on this machine alone unless somebody asks for more."""

import ipaddress
import json
import mimetypes
import socket
from collections.abc import Awaitable, Callable, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from pecmae.core.files import without_nan
from pecmae.errors import PecmaeError
from pecmae.explorer.safety import Doorkeeper
from pecmae.explorer.session import EditRefused, ReadOnly, Session, Stale
from pecmae.explorer.uploads import Uploads

LOOPBACK = "127.0.0.1"
LARGEST_REQUEST = 1_000_000  # bytes of JSON
# Seconds that open requests have when the app ends.
PATIENCE = 2
_STATIC = files("pecmae") / "explorer" / "static"
_PAGES = files("pecmae") / "pages"
# All that a page may load; what it shares with the report and the gallery lies with those.
ASSETS = {path.name: path for path in _STATIC.iterdir() if path.name.endswith((".js", ".css", ".html"))}
ASSETS |= {name: _PAGES / name for name in ("common.css", "common.js")}

Work = Callable[[Session, Mapping[str, Any]], Any]
Endpoint = Callable[[Request], Awaitable[Response]]


def build_app(session: Session, uploads: Uploads, *, token: str | None, names: tuple[str, ...] | None = ()) -> ASGIApp:
    """Put the app together.

    Parameters
    ----------
    session : Session
    uploads : Uploads
    token, names
        As for `pecmae.explorer.safety.Doorkeeper`.
    """

    def looks(path: str, look: Callable[[Session, Request], Any]) -> Route:
        async def endpoint(request: Request) -> Response:
            return await _answer(lambda: look(session, request))

        return Route(path, endpoint, methods=["GET"])

    def does(path: str, work: Work) -> Route:
        async def endpoint(request: Request) -> Response:
            values = await _json(request)
            return await _answer(lambda: work(session, values))

        return Route(path, endpoint, methods=["POST"])

    async def upload(request: Request) -> Response:
        if session.read_only:
            return _problem(ReadOnly("Files cannot be dropped here; run pecmae explore on your own machine."))
        name = Path(request.query_params.get("name", "").replace("\\", "/")).name
        try:
            path = await uploads.take(name, request.stream())
        except (PecmaeError, OSError) as error:
            return _problem(error)
        return JSONResponse({"id": session.shelf.open(path, name)})

    routes = [
        looks("/state", lambda session, request: session.state()),
        looks("/model", lambda session, request: session.model()),
        looks("/prototypes/{id:int}", lambda session, request: session.prototype(request.path_params["id"])),
        looks("/tracks", lambda session, request: session.tracks()),
        looks("/tracks/{id}", lambda session, request: session.track(request.path_params["id"])),
        looks("/sounds", _sound_states),
        does("/sounds", Session.ask_sound),
        does("/walk", Session.walk),
        does("/preview", Session.preview),
        does("/pruning", Session.pruning),
        does("/apply", Session.apply),
        does("/undo", lambda session, values: session.step(values, "undo")),
        does("/redo", lambda session, values: session.step(values, "redo")),
        does("/export", Session.export),
        does("/recover", Session.recover),
        Route("/tracks", upload, methods=["POST"]),
        Route("/tracks/{id}/sound", _file(session, lambda values: session.shelf.sound(values["id"]))),
        Route("/sounds/{key}", _file(session, lambda values: session.sounds.file(values["key"]))),
        Route("/sounds/{key}/picture", _file(session, lambda values: session.sounds.file(values["key"], "picture"))),
        Route("/", _asset),
        Route("/{asset}", _asset),
    ]
    return Doorkeeper(Starlette(routes=routes), token=token, names=names)


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens; port 0 is one that is free.

    Raises
    ------
    OSError
        The port is taken, or the host is none of this machine.
    """
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        raise OSError(
            f"Nothing can listen on {host}, port {port} ({error.strerror or error}); choose another --port."
        ) from None


def address(bound: socket.socket, host: str, token: str) -> str:
    """What to open in a browser."""
    shown = f"[{host}]" if ":" in host else LOOPBACK if host == "0.0.0.0" else host
    return f"http://{shown}:{bound.getsockname()[1]}/{token}/"


def is_loopback(host: str) -> bool:
    """Whether only programs of this machine reach a host."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def serve(app: ASGIApp, bound: socket.socket) -> None:
    """Answer until the user or a signal ends it; returns then."""
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,  # the address holds the secret
        server_header=False,
        lifespan="off",
        timeout_graceful_shutdown=PATIENCE,
    )
    try:
        uvicorn.Server(config).run(sockets=[bound])
    except KeyboardInterrupt:  # uvicorn passes the signal on when all is closed
        return


async def _answer(work: Callable[[], Any]) -> Response:
    try:
        return JSONResponse(without_nan(await run_in_threadpool(work)))
    except (PecmaeError, OSError, ValueError) as error:
        return _problem(error)


def _problem(error: Exception) -> Response:
    """An error as a sentence, and what a page has to know of it."""
    status = 403 if isinstance(error, ReadOnly) else 409 if isinstance(error, EditRefused | Stale) else 400
    values: dict[str, Any] = {"error": " ".join(str(error).split()), "stale": isinstance(error, Stale)}
    if isinstance(error, EditRefused):
        values |= {"refused": True, "effect": error.effect.to_dict()}
    return JSONResponse(values, status)


async def _json(request: Request) -> Mapping[str, Any]:
    """The object that a request holds."""
    # No form of another site can be sent as this type.
    if request.headers.get("content-type", "").partition(";")[0] != "application/json":
        raise HTTPException(415, "Send JSON.")
    data = b""
    async for chunk in request.stream():
        data += chunk
        if len(data) > LARGEST_REQUEST:
            raise HTTPException(413, "The request is too long.")
    try:
        values = json.loads(data)
    except (ValueError, RecursionError):
        raise HTTPException(400, "This is no JSON.") from None
    if not isinstance(values, dict):
        raise HTTPException(400, "Send an object.")
    return values


def _sound_states(session: Session, request: Request) -> dict[str, Any]:
    """How far some sounds are: ?keys=a,b,c."""
    keys = [key for key in request.query_params.get("keys", "").split(",") if key]
    return {
        "waiting": session.sounds.waiting,
        "states": {key: session.sounds.state(key) for key in keys},
        "problems": {key: problem for key in keys if (problem := session.sounds.problem(key))},
    }


def _file(session: Session, find: Callable[[Mapping[str, Any]], Path | None]) -> Endpoint:
    """Send a file that the session itself made."""

    async def endpoint(request: Request) -> Response:
        try:
            path = await run_in_threadpool(find, request.path_params)
        except PecmaeError as error:
            return _problem(error)
        if path is None:
            raise HTTPException(404, "This sound is not there (yet).")
        return FileResponse(path, media_type=mimetypes.guess_type(path.name)[0])

    return endpoint


async def _asset(request: Request) -> Response:
    name = request.path_params.get("asset", "explore.html")
    if name not in ASSETS:
        raise HTTPException(404, "There is no such page.")
    kinds = {"html": "text/html", "js": "text/javascript", "css": "text/css"}
    return Response(ASSETS[name].read_bytes(), media_type=kinds[name.rpartition(".")[2]])
