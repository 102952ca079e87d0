"""`--push-to hub:owner/name`: the hub's real client against a stand-in at its protocol, in a process of its own."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from graft.errors import ConfigError
from graft.export.hub import check_target

SCRIPT = """
import sys
from pathlib import Path
from graft.errors import GraftError
from graft.export.hub import check_target, push
try:
    print(push(Path(sys.argv[1]), check_target("hub:me/tuned")))
except GraftError as error:
    sys.exit(f"error: {error}")
"""


class Hub:
    """A running stand-in: its address, the repositories that were made, and the files of each commit."""

    def __init__(self) -> None:
        self.url = ""
        self.made: list[dict[str, Any]] = []
        self.blobs: dict[str, bytes] = {}
        self.files: dict[str, bytes] = {}


@pytest.fixture
def hub() -> Iterator[Hub]:
    found = Hub()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *args: Any) -> None:
            pass

        def answer(self) -> None:
            data = self.rfile.read(int(self.headers.get("content-length", 0)))
            if self.command == "PUT":
                digest = self.path.rsplit("/", 1)[-1]
                assert hashlib.sha256(data).hexdigest() == digest
                found.blobs[digest] = data
                return self.send({})
            if self.headers.get("authorization") != "Bearer hf_right":
                return self.send({"error": "Invalid credentials"}, 401)
            if self.path == "/api/repos/create":
                found.made.append(json.loads(data))
                return self.send({"url": f"{found.url}/me/tuned", "id": "me/tuned"})
            if self.path == "/api/validate-yaml":
                return self.send({"errors": [], "warnings": []})
            if "/preupload/" in self.path:
                mode = {True: "lfs", False: "regular"}
                files = [
                    {
                        "path": one["path"],
                        "uploadMode": mode[one["path"].endswith(".safetensors")],
                        "shouldIgnore": False,
                    }
                    for one in json.loads(data)["files"]
                ]
                return self.send({"files": files})
            if self.path.endswith("/info/lfs/objects/batch"):
                objects = [
                    {**one, "actions": {"upload": {"href": f"{found.url}/blob/{one['oid']}"}}}
                    for one in json.loads(data)["objects"]
                ]
                return self.send({"transfer": "basic", "objects": objects})
            if "/commit/" in self.path:
                for line in data.decode().splitlines():
                    value = json.loads(line)
                    if value["key"] == "file":
                        found.files[value["value"]["path"]] = base64.b64decode(value["value"]["content"])
                    elif value["key"] == "lfsFile":
                        found.files[value["value"]["path"]] = found.blobs[value["value"]["oid"]]
                return self.send({"commitUrl": f"{found.url}/me/tuned/commit/1", "commitOid": "1" * 40})
            return self.send({"error": "not found"}, 404)

        do_POST = do_PUT = do_GET = answer

        def send(self, value: object, status: int = 200) -> None:
            body = json.dumps(value).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    found.url = f"http://127.0.0.1:{server.server_port}"
    yield found
    server.shutdown()
    server.server_close()


def pushed(folder: Path, hub: Hub, token: str) -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ, "HF_ENDPOINT": hub.url, "HF_TOKEN": token, "HF_HUB_OFFLINE": "0", "GRAFT_OFFLINE": "0",
        "HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "HF_HOME": str(folder.parent / "home"),
    }  # fmt: skip
    command = [sys.executable, "-c", SCRIPT, str(folder)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)


@pytest.mark.slow
def test_a_folder_is_uploaded_whole_into_a_private_repository(hub: Hub, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    files = {"README.md": b"---\ntags: [graft]\n---\n", "config.json": b"{}", "model.safetensors": b"w" * 5000}
    for name, data in files.items():
        (folder / name).write_bytes(data)
    done = pushed(folder, hub, "hf_right")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == f"{hub.url}/me/tuned/commit/1"
    assert hub.files == files
    assert hub.made[0]["name"] == "tuned" and hub.made[0]["visibility"] == "private"
    refused = pushed(folder, hub, "hf_wrong")
    assert refused.returncode == 1 and "could not be uploaded to me/tuned" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_a_target_is_written_with_owner_and_name_and_needs_a_network(monkeypatch: pytest.MonkeyPatch) -> None:
    for wrong in ("me/tuned", "hub:tuned", "hub:a/b/c", "s3:me/tuned"):
        with pytest.raises(ConfigError, match="must be written hub:owner/name"):
            check_target(wrong)
    monkeypatch.setenv("GRAFT_OFFLINE", "1")
    with pytest.raises(ConfigError, match="forbids it; unset them"):
        check_target("hub:me/tuned")
