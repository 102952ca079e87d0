"""An attacker at the store where the processes of a training meet: nothing he writes is obeyed, and nothing runs."""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from torch.distributed import TCPStore  # type: ignore[attr-defined]

from graft.config.schema import Recipe
from graft.errors import ConfigError, TrainError
from graft.pipeline.branches import Branch
from graft.pipeline.train.order import Order
from graft.train.board import SECRET, Board, shared_secret


class Payload:
    """Whoever unpickles it writes a file."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.file),)


@pytest.fixture
def server() -> Iterator[Any]:
    yield TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)


def client(server: Any) -> Any:
    return TCPStore("127.0.0.1", server.port, wait_for_workers=False, timeout=timedelta(seconds=20))


def meet(server: Any) -> tuple[Board, Board]:
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(lambda rank: Board(client(server), rank, 2), range(2))
    return first, second


def test_what_one_posts_the_other_reads(server: Any) -> None:
    first, second = meet(server)
    first.tell({"recipe": [1, None]})
    first.tell(None)
    assert [second.hear(0), second.hear(1)] == [{"recipe": [1, None]}, None]
    assert second.fail("no luck") and not first.fail("me too")
    assert (first.has_failed(), first.failure()) == (True, "no luck")


def forgeries(first: Board, attacker: Any, tmp_path: Path) -> dict[str, bytes]:
    first.tell("an order that was given")
    given = bytes(attacker.get("graft/order/0"))
    return {
        "a pickle": pickle.dumps(Payload(tmp_path / "ran")),
        "plain JSON": json.dumps("an order").encode(),
        "a pickle under a signature": given[:64] + pickle.dumps(Payload(tmp_path / "ran")),
        "an order that was given before": given,
        "nothing": b"",
    }


def test_nothing_that_an_attacker_writes_is_read(server: Any, tmp_path: Path) -> None:
    first, second = meet(server)
    attacker = client(server)
    for forged in forgeries(first, attacker, tmp_path).values():
        attacker.set("graft/order/1", forged)
        with pytest.raises(TrainError, match=r"order/1.*none of the processes wrote.*close the port"):
            second.hear(1)
    assert list(tmp_path.iterdir()) == []


def test_a_failure_that_an_attacker_invents_ends_nobody(server: Any) -> None:
    first, second = meet(server)
    attacker = client(server)
    attacker.add("graft/failed", 5)
    attacker.set("graft/failure", b"stop")
    assert not first.has_failed() and not second.has_failed()
    assert second.fail("a true one") and first.failure() == "a true one"


def test_an_order_of_another_launch_with_the_same_secret_counts_for_nothing(server: Any) -> None:
    first, _ = meet(server)
    first.tell("old")
    later = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    _, second = meet(later)
    client(later).set("graft/order/0", bytes(client(server).get("graft/order/0")))
    with pytest.raises(TrainError, match="none of the processes wrote"):
        second.hear(0)


def test_processes_with_different_secrets_say_what_to_set(server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    secrets = iter(("one", "other"))
    monkeypatch.setattr("graft.train.board.shared_secret", lambda: next(secrets).encode())
    with pytest.raises(ConfigError, match="same GRAFT_SECRET"):
        meet(server)


def test_without_a_launcher_the_secret_is_a_file_of_the_user_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(SECRET, raising=False)
    monkeypatch.setenv("GRAFT_CACHE", str(tmp_path / "cache"))
    with ThreadPoolExecutor(4) as pool:
        (drawn,) = set(pool.map(lambda _: shared_secret(), range(4)))
    path = tmp_path / "cache" / "secret"
    assert len(drawn) == 64 and path.stat().st_mode & 0o777 == 0o600
    assert list(path.parent.iterdir()) == [path]
    path.chmod(0o644)
    with pytest.raises(ConfigError, match="readable by you alone"):
        shared_secret()
    monkeypatch.setenv(SECRET, "given")
    assert shared_secret() == b"given"


def test_an_order_is_the_same_after_its_way_through_json() -> None:
    for order in (Order(Recipe()), Order(Recipe(), Path("runs/a b"), Branch("direct", 3, "glue/sst2"))):
        assert Order.from_json(json.loads(json.dumps(order.to_json()))) == order
