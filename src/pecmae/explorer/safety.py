"""Who may ask the app anything: pages that the app itself opened, on this machine, and nobody else.

A page of a stranger in the same browser can send requests to this machine, and can give its own name the address 127.0.0.1.
So every request has to carry the secret of the address that was opened, to name this machine, and to come from the app's own
pages.
"""

import ipaddress
import secrets
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse, RedirectResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; media-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'"
)
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    # The address holds the secret.
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


def new_token() -> str:
    """A secret for one run."""
    return secrets.token_urlsafe(24)


class Doorkeeper:
    """Lets only the app's own pages through to `app`.

    Parameters
    ----------
    app : ASGI application
    token : str, optional
        The first part of every path; None: the app is public.
    names : tuple of str, optional
        Names of this machine beside "localhost" and addresses in numbers, which nobody else can bend to it; None: all.
    """

    def __init__(self, app: ASGIApp, *, token: str | None, names: tuple[str, ...] | None = ()) -> None:
        self.app, self.token = app, token
        self.names = None if names is None else {"localhost", *map(str.lower, names)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or refuse with a sentence."""
        if scope["type"] != "http":
            return
        refusal = self._refusal(scope)
        if refusal is not None:
            await PlainTextResponse(refusal, 403)(scope, receive, self._guarded(send))
            return
        if self.token is not None and scope["path"] == f"/{self.token}":  # the page's addresses are relative to the slash
            await RedirectResponse(f"/{self.token}/")(scope, receive, self._guarded(send))
            return
        await self.app(self._inside(scope), receive, self._guarded(send))

    def _refusal(self, scope: Scope) -> str | None:
        """Why a request is refused; None: it is not."""
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if self.names is not None and not self._is_ours(host):
            return "This address is not that of the app; open the one that pecmae explore printed."
        origin = headers.get("origin")
        if origin is not None and urlsplit(origin).netloc.lower() != host.lower():
            return "Another site asked; only the app's own pages may."
        # Following a link to the app shows it and does nothing.
        opens = scope["method"] == "GET" and headers.get("sec-fetch-mode") == "navigate"
        if headers.get("sec-fetch-site", "none") not in ("none", "same-origin") and not opens:
            return "Another site asked; only the app's own pages may."
        if self.token is not None and not secrets.compare_digest(_first_part(scope["path"]).encode(), self.token.encode()):
            return "The secret of the address is missing or wrong; open the address that pecmae explore printed."
        return None

    def _is_ours(self, host: str) -> bool:
        try:
            name = urlsplit(f"//{host}").hostname or ""
            _ = urlsplit(f"//{host}").port
        except ValueError:
            return False
        if self.names is not None and name in self.names:
            return True
        try:
            ipaddress.ip_address(name.partition("%")[0])
        except ValueError:
            return False
        return True

    def _inside(self, scope: Scope) -> Scope:
        """The request as the app sees it, without the secret."""
        if self.token is None:
            return scope
        path = scope["path"].removeprefix(f"/{self.token}")
        return {**scope, "path": path, "raw_path": path.encode("utf-8", "surrogateescape")}

    def _guarded(self, send: Send) -> Send:
        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
                # A public app may be shown inside the page of its host.
                framed = "" if self.token is None else "; frame-ancestors 'none'"
                headers.setdefault("Content-Security-Policy", POLICY + framed)
            await send(message)

        return guarded


def _first_part(path: str) -> str:
    return path.removeprefix("/").partition("/")[0]
