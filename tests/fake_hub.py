"""A model Hub on loopback: answers what huggingface_hub asks, from repositories held in memory, and fails on demand.

Two fixtures: `isolated_hub_cache` (automatic where imported) keeps every test away from the real Hub and the user's cache;
`hub` starts a server and points huggingface_hub at it.
"""

import base64
import hashlib
import json
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from huggingface_hub import constants, hf_api

TOKEN = "hf_token_of_the_tests"
OWNER = "tester"


@dataclass
class Repo:
    """One repository: every commit with all its files, and the branches and tags that name commits."""

    private: bool = False
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    refs: dict[str, str] = field(default_factory=dict)

    def commit(self, files: Mapping[str, bytes], branch: str) -> str:
        """Make `files` the content of a new commit and move `branch` to it."""
        content = json.dumps({name: git_oid(data) for name, data in sorted(files.items())})
        sha = hashlib.sha1(f"{len(self.commits)} {content}".encode()).hexdigest()
        self.commits[sha] = dict(files)
        self.refs[branch] = sha
        return sha

    def resolve(self, revision: str) -> str | None:
        return revision if revision in self.commits else self.refs.get(revision)


def git_oid(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


class FakeHub:
    """The server and its repositories; `url` is its address, `requests` what was asked of it as "METHOD path"."""

    # The token that opens private repositories and allows writing.
    token = TOKEN

    def __init__(self) -> None:
        self.repos: dict[str, Repo] = {}
        self.requests: list[str] = []
        self._failures: dict[str, str] = {}
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        self._server.daemon_threads = True
        self._server.hub = self  # type: ignore[attr-defined]
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self._thread.start()

    def add(
        self,
        repo_id: str,
        files: Mapping[str, bytes] | Path,
        *,
        branch: str = "main",
        tag: str | None = None,
        private: bool = False,
    ) -> str:
        """Commit `files` (contents by path, or a directory) as the whole content of a branch; return the commit."""
        if isinstance(files, Path):
            files = {path.relative_to(files).as_posix(): path.read_bytes() for path in files.rglob("*") if path.is_file()}
        repo = self.repos.setdefault(repo_id, Repo())
        repo.private = private
        sha = repo.commit(files, branch)
        if tag is not None:
            repo.refs[tag] = sha
        return sha

    def fail(self, mode: str, path: str = "") -> None:
        """Misbehave from now on for requests whose path ends in `path`.

        "503" (unavailable), "truncated" (half a body under the full Content-Length), "corrupted" (a body of the right size with
        flipped bits), "gone" (404 EntryNotFound for a file that the tree lists), "gated" (403 GatedRepo), "401".
        """
        self._failures[path] = mode

    def heal(self) -> None:
        self._failures.clear()

    def failure(self, path: str) -> str | None:
        return next((mode for ending, mode in self._failures.items() if path.endswith(ending)), None)

    def stop(self) -> None:
        """Go away: from now on connections are refused."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Handler(BaseHTTPRequestHandler):
    # Every reply closes its connection, so that a stopped server is gone at once.
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self._answer(self._get)

    def do_GET(self) -> None:
        self._answer(self._get)

    def do_POST(self) -> None:
        self._answer(self._post)

    def log_message(self, *_: Any) -> None:
        pass

    @property
    def hub(self) -> FakeHub:
        return self.server.hub  # type: ignore[attr-defined]

    def _answer(self, answer: Any) -> None:
        path = unquote(urlsplit(self.path).path)
        self.hub.requests.append(f"{self.command} {path}")
        match self.hub.failure(path):
            case "503":
                self._send(503, b"out of service")
            case "401":
                self._send(401, b"", {"X-Error-Message": "Invalid credentials in Authorization header"})
            case "gated":
                self._send(403, b"", {"X-Error-Code": "GatedRepo"})
            case mode:
                answer(path, mode)

    def _get(self, path: str, failure: str | None) -> None:
        match path.strip("/").split("/"):
            case ["api", "models", owner, name, "revision", revision]:
                if found := self._find(f"{owner}/{name}", revision):
                    self._send_json({"id": f"{owner}/{name}", "sha": found[1], "siblings": []})
            case ["api", "models", owner, name, "tree", revision, *_]:
                if found := self._find(f"{owner}/{name}", revision):
                    files = found[0].commits[found[1]]
                    self._send_json([{"type": "file", "path": p, "size": len(d), "oid": git_oid(d)} for p, d in files.items()])
            case [owner, name, "resolve", revision, *parts] if parts:
                if found := self._find(f"{owner}/{name}", revision):
                    self._send_file(*found, "/".join(parts), failure)
            case _:
                self._send(404, b"")

    def _post(self, path: str, _: str | None) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = path.strip("/").split("/")
        if self.headers.get("Authorization") != f"Bearer {TOKEN}" and parts != ["api", "validate-yaml"]:
            self._send(401, b"", {"X-Error-Message": "Invalid username or password."})
            return
        match parts:
            case ["api", "repos", "create"]:
                wanted = json.loads(body)
                repo_id = f"{wanted.get('organization') or OWNER}/{wanted['name']}"
                if repo_id in self.hub.repos:
                    self._send_json({"url": f"{self.hub.url}/{repo_id}", "error": "You already created this repo"}, 409)
                    return
                repo = self.hub.repos.setdefault(repo_id, Repo(private=wanted.get("visibility") == "private"))
                repo.commit({}, "main")
                self._send_json({"url": f"{self.hub.url}/{repo_id}", "name": repo_id, "id": repo_id})
            case ["api", "models", owner, name, "preupload", revision]:
                if self._find(f"{owner}/{name}", revision):
                    # "regular": the content travels in the commit itself, as for small files on the real Hub.
                    modes = [
                        {"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in json.loads(body)["files"]
                    ]
                    self._send_json({"files": modes})
            case ["api", "models", owner, name, "commit", branch]:
                if found := self._find(f"{owner}/{name}", branch):
                    self._commit(*found, branch, body, f"{owner}/{name}")
            case ["api", "models", owner, name, "tag", revision]:
                if found := self._find(f"{owner}/{name}", revision):
                    found[0].refs[json.loads(body)["tag"]] = found[1]
                    self._send_json({})
            case ["api", "models", owner, name, "branch", branch]:
                if found := self._find(f"{owner}/{name}", json.loads(body or b"{}").get("startingPoint", "main")):
                    found[0].refs[branch] = found[1]
                    self._send_json({})
            case ["api", "validate-yaml"]:
                self._send_json({"errors": [], "warnings": []})
            case _:
                self._send(404, b"")

    def _commit(self, repo: Repo, parent: str, branch: str, body: bytes, repo_id: str) -> None:
        files = dict(repo.commits[parent])
        for line in body.splitlines():
            operation = json.loads(line)
            value = operation["value"]
            match operation["key"]:
                case "file":
                    files[value["path"]] = base64.b64decode(value["content"])
                case "deletedFile":
                    files.pop(value["path"])
        sha = repo.commit(files, branch)
        self._send_json({"success": True, "commitOid": sha, "commitUrl": f"{self.hub.url}/{repo_id}/commit/{sha}"})

    def _find(self, repo_id: str, revision: str) -> tuple[Repo, str] | None:
        """The repository and the commit that `revision` names; when there is none, the error is already sent."""
        repo = self.hub.repos.get(repo_id)
        if repo is None or (repo.private and self.headers.get("Authorization") != f"Bearer {TOKEN}"):
            self._send(404, b"", {"X-Error-Code": "RepoNotFound"})
            return None
        sha = repo.resolve(revision)
        if sha is None:
            self._send(404, b"", {"X-Error-Code": "RevisionNotFound"})
            return None
        return repo, sha

    def _send_file(self, repo: Repo, sha: str, path: str, failure: str | None) -> None:
        data = repo.commits[sha].get(path)
        if data is None or failure == "gone":
            self._send(404, b"", {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": sha})
            return
        headers = {"X-Repo-Commit": sha, "ETag": f'"{git_oid(data)}"', "Content-Length": str(len(data))}
        if failure == "truncated":
            data = data[: len(data) // 2]
        elif failure == "corrupted":
            data = data[:-4] + bytes(byte ^ 0xFF for byte in data[-4:])
        self._send(200, data, headers)

    def _send_json(self, value: Any, status: int = 200) -> None:
        self._send(status, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _send(self, status: int, body: bytes, headers: Mapping[str, str] | None = None) -> None:
        self.close_connection = True
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), "Connection": "close", **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def _point_at(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    # huggingface_hub reads its environment when it is imported, so the constants themselves are changed. Without the template
    # API calls would go to `url` and file calls to the real Hub.
    monkeypatch.setattr(constants, "ENDPOINT", url)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", url + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(hf_api.api, "endpoint", url)


@pytest.fixture(autouse=True)
def isolated_hub_cache(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty Hub cache, no token, and an address that refuses connections; returns the cache folder."""
    home = tmp_path_factory.mktemp("hf_home")
    monkeypatch.setattr(constants, "HF_HOME", str(home))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(home / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_TELEMETRY", True)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(home / "token"))
    monkeypatch.setattr(constants, "HF_STORED_TOKENS_PATH", str(home / "stored_tokens"))
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    _point_at(monkeypatch, "http://127.0.0.1:9")  # the discard port, where nothing listens
    return home / "hub"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, isolated_hub_cache: Path) -> Iterator[FakeHub]:
    """A running `FakeHub` that huggingface_hub takes for the real one."""
    server = FakeHub()
    _point_at(monkeypatch, server.url)
    yield server
    server.stop()
