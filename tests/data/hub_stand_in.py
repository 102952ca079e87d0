"""A small hub on loopback: serves datasets over the HTTP interface that `huggingface_hub` and `datasets` use.

The repositories are made in code, with each dataset's true columns. `hub_client` runs the real clients against it in a
process of their own, because they read ``HF_ENDPOINT`` when they are imported:

    with serving([repo("owner/name", {"default": {"train": rows}})]) as hub, hub_client(hub, tmp_path) as client:
        examples = client.examples("imdb", "eval", 2)
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Literal
from urllib.parse import parse_qs, unquote, urlsplit

from graft.tasks.dataset import HubSource
from graft.types import Example

REPOSITORY = Path(__file__).resolve().parents[2]
CONVERTED = "refs/convert/parquet"
TOKEN = "hf_" + "x" * 34
"""The token of a user whom the owners of gated datasets have let in."""

Row = Mapping[str, Any]
Splits = Mapping[str, Sequence[Row]]


@dataclass
class Repo:
    """One dataset repository.

    Attributes:
        name: ``owner/name``, or a name alone as the oldest datasets have.
        branches: files by path, by branch.
        gated: only `TOKEN` may read its files.
    """

    name: str
    branches: dict[str, dict[str, bytes]] = field(default_factory=dict)
    gated: bool = False

    def commit(self, branch: str) -> str:
        """The commit of a branch: 40 hex digits that change with its files."""
        files = sorted((path, hashlib.sha1(data).hexdigest()) for path, data in self.branches[branch].items())
        return hashlib.sha1(repr((self.name, branch, files)).encode()).hexdigest()

    def branch(self, revision: str) -> str | None:
        """The branch of a name or commit."""
        return next((name for name in self.branches if revision in (name, self.commit(name))), None)


def repo(
    name: str,
    configs: Mapping[str, Splits],
    *,
    features: Mapping[str, Any] | None = None,
    form: Literal["parquet", "jsonl", "csv"] = "parquet",
    script: bool = False,
    gated: bool = False,
    licence: str = "other",
) -> Repo:
    """Make a repository.

    Args:
        name: ``owner/name``.
        configs: rows by split, by configuration.
        features: `datasets.Features` by configuration, where they cannot be told from the values (class labels).
        form: form of the files.
        script: the main branch holds only a loading script, and the rows lie on the conversion branch.
        gated: only `TOKEN` may read it.
        licence: what its card says.
    """
    files: dict[str, bytes] = {}
    converted: dict[str, bytes] = {}
    card: list[str] = ["---", f"license: {licence}", "configs:"]
    for config, splits in configs.items():
        card += [f"- config_name: {config}", "  data_files:"]
        for split, rows in splits.items():
            path = f"{config}/{split}-00000-of-00001.{form}"
            files[path] = _file(rows, form, (features or {}).get(config))
            converted[f"{config}/{split}/0000.parquet"] = _file(rows, "parquet", (features or {}).get(config))
            card += [f"  - split: {split}", f"    path: {config}/{split}-*"]
    if script:
        short = name.rsplit("/", 1)[-1]
        files = {f"{short}.py": b"import datasets\n"}
        card = card[:2]
    files["README.md"] = "\n".join([*card, "---", f"# {name}", ""]).encode()
    return Repo(name, {"main": files, CONVERTED: converted}, gated)


def _file(rows: Sequence[Row], form: str, features: Any) -> bytes:
    import datasets

    datasets.disable_progress_bars()
    table = datasets.Dataset.from_list([dict(row) for row in rows], features=features)
    buffer = io.BytesIO()
    if form == "parquet":
        table.to_parquet(buffer)
    elif form == "csv":
        table.to_csv(buffer)
    else:
        buffer.write("".join(json.dumps(dict(row)) + "\n" for row in rows).encode())
    return buffer.getvalue()


@dataclass
class Hub:
    """A running stand-in.

    Attributes:
        url: its address, for ``HF_ENDPOINT``.
        repos: what it serves, by name; may be changed while it runs.
        asked: method and path of every request so far.
    """

    url: str
    repos: dict[str, Repo]
    asked: list[tuple[str, str]] = field(default_factory=list)


@contextmanager
def serving(repos: Sequence[Repo]) -> Iterator[Hub]:
    """Serve repositories on a free port of loopback until the block ends."""
    hub = Hub("", {repo.name: repo for repo in repos})
    handler = type("Handler", (_Handler,), {"hub": hub})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join(timeout=5)


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"
    timeout = 30

    def log_message(self, *args: Any) -> None:
        pass

    def handle_any(self) -> None:
        self.body = self.rfile.read(int(self.headers.get("content-length", 0)))
        self.hub.asked.append((self.command, self.path))
        parts = [unquote(part) for part in urlsplit(self.path).path.strip("/").split("/")]
        api = parts[:2] == ["api", "datasets"]
        if not api and parts[:1] != ["datasets"]:
            return self.fail(404, "EntryNotFound", "Not found")
        rest = parts[2:] if api else parts[1:]
        named = ("/".join(rest[:count]) for count in (2, 1))
        found = next((self.hub.repos[name] for name in named if name in self.hub.repos), None)
        if found is None:  # the hub does not tell an unknown repository from a private one
            status = 404 if "authorization" in self.headers else 401
            return self.fail(status, "RepoNotFound", "Repository not found")
        rest = rest[found.name.count("/") + 1 :]
        return self.interface(found, rest) if api else self.file(found, rest)

    do_GET = do_HEAD = do_POST = handle_any

    def interface(self, repo: Repo, rest: list[str]) -> None:
        """`/api/datasets/NAME…`: facts, access and listings."""
        if rest == ["auth-check"]:
            return None if self.refuse(repo) else self.json({})
        action, revision, path = (rest or ["revision"])[0], (rest[1:2] or ["main"])[0], "/".join(rest[2:])
        branch = repo.branch(revision)
        if branch is None:
            return self.fail(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        files = repo.branches[branch]
        if action == "revision":
            return self.json(_facts(repo, branch))
        if action == "tree":
            recursive = parse_qs(urlsplit(self.path).query).get("recursive", ["false"])[0].lower() == "true"
            entries = _entries(files, path, recursive)
            return self.json(entries) if entries or not path else self.fail(404, "EntryNotFound", f"{path} not found")
        if action == "paths-info":
            content = self.headers.get("content-type", "")
            form = json.loads(self.body) if "json" in content else parse_qs(self.body.decode())
            known = {entry["path"]: entry for entry in _entries(files, "", recursive=True)}
            return self.json([known[path] for path in form.get("paths", []) if path in known])
        return self.fail(404, "EntryNotFound", "Not found")

    def file(self, repo: Repo, rest: list[str]) -> None:
        """`/datasets/NAME/resolve/REVISION/PATH`: one file or a part of it."""
        if self.refuse(repo):
            return None
        branch = next((b for b in (repo.branch("/".join(rest[1:n])) for n in range(2, 5)) if b), None)
        if rest[:1] != ["resolve"] or branch is None:
            return self.fail(404, "RevisionNotFound", "Invalid rev id")
        used = 1 if rest[1] in (branch, repo.commit(branch)) else branch.count("/") + 1
        data = repo.branches[branch].get("/".join(rest[1 + used :]))
        commit = {"X-Repo-Commit": repo.commit(branch)}
        if data is None:
            return self.fail(404, "EntryNotFound", "Entry not found", commit)
        headers = {**commit, "ETag": f'"{hashlib.sha1(data).hexdigest()}"', "Accept-Ranges": "bytes"}
        wanted = self.headers.get("range", "")
        if wanted.startswith("bytes=") and self.command == "GET":
            first, _, last = wanted.removeprefix("bytes=").partition("-")
            start, end = int(first), min(int(last) if last else len(data) - 1, len(data) - 1)
            headers["Content-Range"] = f"bytes {start}-{end}/{len(data)}"
            return self.send(206, data[start : end + 1], headers)
        return self.send(200, data, headers)

    def refuse(self, repo: Repo) -> bool:
        """Answer as the hub does where a gated repository is asked for without access."""
        if not repo.gated or self.headers.get("authorization") == f"Bearer {TOKEN}":
            return False
        if "authorization" in self.headers:
            self.fail(403, "GatedRepo", f"Access to dataset {repo.name} is restricted and you are not in the list.")
        else:
            self.fail(401, "GatedRepo", f"Access to dataset {repo.name} is restricted. You must be authenticated.")
        return True

    def json(self, value: object) -> None:
        self.send(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def fail(self, status: int, code: str, message: str, headers: Mapping[str, str] | None = None) -> None:
        said = {"X-Error-Code": code, "X-Error-Message": message, "Content-Type": "application/json"}
        self.send(status, json.dumps({"error": message}).encode(), {**(headers or {}), **said})

    def send(self, status: int, data: bytes, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)


def _facts(repo: Repo, branch: str) -> dict[str, Any]:
    return {
        "_id": "0" * 24,
        "id": repo.name,
        "author": repo.name.split("/")[0],
        "sha": repo.commit(branch),
        "lastModified": "2024-01-01T00:00:00.000Z",
        "createdAt": "2024-01-01T00:00:00.000Z",
        "private": False,
        "gated": "auto" if repo.gated else False,
        "disabled": False,
        "downloads": 0,
        "likes": 0,
        "tags": [],
        "siblings": [{"rfilename": path} for path in sorted(repo.branches[branch])],
    }


def _entries(files: Mapping[str, bytes], folder: str, recursive: bool) -> list[dict[str, Any]]:
    """Files and folders below a folder as the hub lists them."""
    start = f"{folder}/" if folder else ""
    entries: dict[str, dict[str, Any]] = {}
    for path, data in sorted(files.items()):
        if not path.startswith(start):
            continue
        names = path.removeprefix(start).split("/")
        for depth in range(1, len(names)):
            above = start + "/".join(names[:depth])
            if recursive or depth == 1:
                entries[above] = {
                    "type": "directory",
                    "oid": hashlib.sha1(above.encode()).hexdigest(),
                    "size": 0,
                    "path": above,
                }
        if recursive or len(names) == 1:
            entries[path] = {"type": "file", "oid": hashlib.sha1(data).hexdigest(), "size": len(data), "path": path}
    return list(entries.values())


class ClientError(Exception):
    """What Graft raised in the client's process.

    Attributes:
        kind: name of the class.
    """

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class HubClient:
    """Graft with the real hub clients in a process of its own; see `hub_client`."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process

    def examples(self, task: str, split: str, limit: int | None = None, seed: int = 0) -> list[Example]:
        """The examples of a registered task, its rows read from the stand-in."""
        found = self._call("examples", task=task, split=split, limit=limit, seed=seed)
        return [Example(**{**one, "options": tuple(one["options"]), "history": ()}) for one in found]

    def rows(self, source: HubSource, part: str) -> list[dict[str, Any]]:
        """All rows of a part by `graft.data.hub.hub_rows`."""
        return list(self._call("rows", source=asdict(source), part=part))

    def stream(self, source: HubSource, part: str, limit: int) -> list[dict[str, Any]]:
        """The first rows of a part by `graft.data.hub.stream_rows`."""
        return list(self._call("stream", source=asdict(source), part=part, limit=limit))

    def _call(self, what: str, **arguments: Any) -> Any:
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write(json.dumps({"what": what, **arguments}) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"the client's process ended with code {self.process.wait()}")
        answer = json.loads(line)
        if "error" in answer:
            raise ClientError(answer["kind"], answer["error"])
        return answer["value"]


@contextmanager
def hub_client(hub: Hub, home: Path, **environment: str) -> Iterator[HubClient]:
    """Run a client against a stand-in.

    Args:
        hub: the stand-in.
        home: folder of the client's cache; a second client with the same one finds what the first has read.
        environment: further variables, such as ``HF_TOKEN`` or ``GRAFT_OFFLINE``.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "GRAFT_OFFLINE"))}
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.data.hub_worker"],
        cwd=REPOSITORY,
        env={
            **kept,
            "HF_ENDPOINT": hub.url,
            "HF_HOME": str(home),
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            **environment,
        },
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield HubClient(process)
    finally:
        assert process.stdin and process.stdout
        process.stdin.close()
        process.wait(timeout=20)
        process.stdout.close()
