"""Model folders in an object store: a real server of its protocol on loopback, with real interruptions."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from graft.errors import MissingExtra, ModelError, StorageError
from graft.models import remote
from graft.models.loading import load_model, load_tokenizer
from graft.models.remote import cached_copy, fetch
from graft.runs.cache import cache_folder

pytest.importorskip("s3fs", reason="needs the extra remote")
moto = pytest.importorskip("moto.server", reason="needs moto[server]")

URL = "s3://models/toy"
SIZE = 1_000_000
PIECE = 100_000

FETCH = f"""
import os, sys
from graft.models import remote
remote.CHUNK = {PIECE}
arrived, limit = 0, int(sys.argv[1])
def count(size):
    global arrived
    arrived += size
    if limit and arrived >= limit:
        os._exit(9)  # as by a power cut: nothing is closed, nothing is written any more
remote.fetch({URL!r}, on_bytes=count)
print(arrived)
"""


class Store:
    """A bucket on a server of this machine."""

    def __init__(self, endpoint: str) -> None:
        import boto3

        self.endpoint = endpoint
        self.client = boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1")

    def put(self, name: str, data: bytes) -> None:
        self.client.put_object(Bucket="models", Key=f"toy/{name}", Body=data)

    def require_credentials(self, on: bool) -> None:
        import requests

        requests.post(f"{self.endpoint}/moto-api/reset-auth", data=b"0" if on else b"inf", timeout=30)


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    _, port = server.get_host_and_port()
    yield f"http://127.0.0.1:{port}"
    server.stop()


@pytest.fixture
def store(endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    import requests

    settings = {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_CONFIG_FILE": str(tmp_path / "none"),
        "AWS_EC2_METADATA_DISABLED": "true",
        "GRAFT_CACHE": str(tmp_path / "cache"),
        "GRAFT_OFFLINE": "0",
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(remote, "CHUNK", PIECE)
    made = Store(endpoint)
    made.client.create_bucket(Bucket="models")
    made.put("config.json", b"{}")
    made.put("model.safetensors", bytes(range(250)) * (SIZE // 250))
    yield made
    requests.post(f"{endpoint}/moto-api/reset", timeout=30)


def counted(**options: bool) -> int:
    """Bytes that a copy transferred."""
    sizes: list[int] = []
    fetch(URL, on_bytes=sizes.append, **options)
    return sum(sizes)


def start(limit: int = 0) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", FETCH, str(limit)], stdout=subprocess.PIPE, text=True)


def test_a_folder_is_copied_once_and_recorded(store: Store) -> None:
    store.put("nested/notes.txt", b"read me")
    store.put("other.gguf", b"for another tool")
    assert counted() == SIZE + len(b"{}") + len(b"read me")
    folder = cached_copy(URL)
    assert (folder / "model.safetensors").read_bytes() == bytes(range(250)) * (SIZE // 250)
    assert (folder / "nested" / "notes.txt").read_text() == "read me"
    assert not (folder / "other.gguf").exists()
    manifest = json.loads((folder.parent / "manifest.json").read_text())
    assert set(manifest["files"]) == {"config.json", "model.safetensors", "nested/notes.txt"}
    assert len(manifest["files"]["model.safetensors"]["sha256"]) == 64
    assert counted() == 0


def test_pickled_weights_are_copied_only_when_asked(store: Store) -> None:
    store.put("pytorch_model.bin", b"pickled")
    fetch(URL)
    assert not (cached_copy(URL) / "pytorch_model.bin").exists()
    assert counted(allow_pickle=True) == len(b"pickled")
    fetch(URL)
    assert (cached_copy(URL) / "pytorch_model.bin").exists()  # another recipe may be using it


def test_a_model_behind_a_url_loads_like_its_folder(store: Store, toy_folder: Path) -> None:
    for path in toy_folder.iterdir():
        store.put(path.name, path.read_bytes())
    ids = torch.tensor([[5, 9, 12]])
    near, far = (load_model(place, device="cpu") for place in (str(toy_folder), URL))
    with torch.inference_mode():
        assert torch.equal(near(ids).logits, far(ids).logits)
    assert len(load_tokenizer(URL)) == len(load_tokenizer(str(toy_folder)))


def test_an_interrupted_copy_goes_on_where_it_stopped(store: Store) -> None:
    process = start(limit=4 * PIECE)
    process.communicate(timeout=120)
    assert process.returncode == 9
    assert not (cached_copy(URL) / "model.safetensors").exists()
    rest = counted()
    assert 0 < rest <= SIZE - 3 * PIECE
    assert (cached_copy(URL) / "model.safetensors").read_bytes() == bytes(range(250)) * (SIZE // 250)
    assert not list(cached_copy(URL).glob("*.part"))


def test_an_object_that_changed_after_an_interruption_is_copied_from_its_start(store: Store) -> None:
    start(limit=4 * PIECE).communicate(timeout=120)
    store.put("model.safetensors", b"x" * SIZE)
    assert counted() == SIZE
    assert (cached_copy(URL) / "model.safetensors").read_bytes() == b"x" * SIZE
    assert not list(cached_copy(URL).glob("*.part"))


def test_two_processes_at_once_copy_once(store: Store) -> None:
    processes = [start(), start()]
    arrived = sorted(int(process.communicate(timeout=120)[0]) for process in processes)
    assert arrived == [0, SIZE + len(b"{}")]
    assert (cached_copy(URL) / "model.safetensors").stat().st_size == SIZE


def test_only_a_changed_object_is_copied_again_and_a_deleted_one_goes(store: Store) -> None:
    store.put("extra.json", b"[]")
    fetch(URL)
    store.put("config.json", b'{"new": 1}')
    store.client.delete_object(Bucket="models", Key="toy/extra.json")
    assert counted() == len(b'{"new": 1}')
    assert (cached_copy(URL) / "config.json").read_bytes() == b'{"new": 1}'
    assert not (cached_copy(URL) / "extra.json").exists()


@pytest.mark.parametrize("damage", [b"x" * SIZE, b"short"])
def test_a_copy_that_was_damaged_here_is_replaced(damage: bytes, store: Store) -> None:
    fetch(URL)
    path = cached_copy(URL) / "model.safetensors"
    path.write_bytes(damage)
    os.utime(path, ns=(1, 1))
    assert counted() == SIZE
    assert path.read_bytes() != damage


def test_a_touched_but_whole_copy_is_kept(store: Store) -> None:
    fetch(URL)
    os.utime(cached_copy(URL) / "model.safetensors", ns=(1, 1))
    assert counted() == 0


def test_a_full_disk_is_told_before_anything_is_copied(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("graft.runs.space.shutil.disk_usage", lambda path: SimpleNamespace(free=SIZE // 2))
    with pytest.raises(StorageError, match=r"needs 1\.0 MB, but 500\.0 kB are free"):
        fetch(URL)
    assert not list(cached_copy(URL).iterdir())


@pytest.mark.parametrize("url", ["s3://models/nothing-here", "s3://no-such-bucket/toy"])
def test_a_missing_key_or_bucket_is_one_clear_error(url: str, store: Store) -> None:
    with pytest.raises(ModelError, match=r"there (are no files|is no such bucket)"):
        fetch(url)


def test_a_folder_without_a_model_is_told(store: Store) -> None:
    store.client.put_object(Bucket="models", Key="plain/readme.txt", Body=b"hello")
    with pytest.raises(ModelError, match=r"1 files but no config.json"):
        fetch("s3://models/plain")


def test_wrong_credentials_are_one_clear_error(store: Store) -> None:
    store.require_credentials(True)
    try:
        with pytest.raises(ModelError, match="credentials"):
            fetch(URL)
    finally:
        store.require_credentials(False)


def test_an_unreachable_store_is_one_clear_error(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with pytest.raises(ModelError, match=f"cannot read {URL}"):
        fetch(URL)


def test_offline_uses_the_copy_and_asks_nobody(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAFT_OFFLINE", "1")
    with pytest.raises(ModelError, match="offline and has no copy"):
        fetch(URL)
    monkeypatch.setenv("GRAFT_OFFLINE", "0")
    fetch(URL)
    monkeypatch.setenv("GRAFT_OFFLINE", "1")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    assert counted() == 0


def test_a_missing_client_library_names_the_command(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "s3fs", None)
    monkeypatch.delitem(sys.modules["fsspec.registry"]._registry, "s3", raising=False)
    with pytest.raises(MissingExtra, match=r"pip install 'graft-lm\[remote\]'"):
        fetch(URL)


def test_other_schemes_work_the_same(toy_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAFT_CACHE", str(tmp_path))
    monkeypatch.setenv("GRAFT_OFFLINE", "0")
    folder = fetch(f"file://{toy_folder}")
    assert {path.name for path in folder.iterdir()} == {path.name for path in toy_folder.iterdir()}


def test_the_cache_is_where_the_platform_keeps_such_things(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("GRAFT_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(sys, "platform", "linux")
    assert cache_folder() == tmp_path / "graft"
    monkeypatch.setattr(sys, "platform", "darwin")
    assert cache_folder() == Path.home() / "Library" / "Caches" / "graft"
