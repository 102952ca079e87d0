"""Many processes train one model: who is who, what they agree on, and what becomes of all when one fails.

Processes are started by `torchrun`, `srun` or `graft train --multi-gpu`; accelerate opens the group, by NCCL on GPUs
and gloo elsewhere. The first one writes; the others do what it orders. Orders and failures go over the store that the
processes met at, not over the group: waiting for an order may take hours, and a failure must reach processes that stand
in a collective operation. This file imports nothing heavy: a command asks it first who it is.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from graft.errors import ConfigError, TrainError

if TYPE_CHECKING:
    import torch

    from graft.train.board import Board
    from graft.types import TokenRow

LONGEST_WAIT = timedelta(minutes=30)
"""A collective operation that some process does not reach in this time is an error."""

BUCKET_BYTES = 2**26
"""Gradients are summed in pieces of this size, so that many small ones travel together."""

LAUNCHED = "GRAFT_LAUNCHED"
"""Environment variable: whoever started the processes says which one was killed."""

LISTENER = "GRAFT_LISTENER"
"""Environment variable of the first process: the open socket, on this machine alone, at which all meet."""

_GRACE_SECONDS = 20.0
_EXIT_AFTER_ANOTHER = 2


class PeerError(TrainError):
    """Another process failed, and says why itself."""


def rank() -> int:
    """Number of this process, from 0."""
    return int(os.environ.get("RANK", "0"))


def count() -> int:
    """Number of processes that train together."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def can_spread(optimizer: str) -> bool:
    """Whether an optimizer works on parts of tensors: Muon needs whole matrices, bitsandbytes its own tensors."""
    return (
        optimizer != "muon"
        and not optimizer.startswith("paged_")
        and not any(part in optimizer for part in ("8bit", "bnb"))
    )


def gpu_count() -> int:
    """CUDA GPUs that this machine offers."""
    import torch

    return torch.cuda.device_count()


def is_distributed() -> bool:
    """Whether this process is one of a group."""
    import torch

    return torch.distributed.is_available() and torch.distributed.is_initialized()


def is_first() -> bool:
    """Whether this process is the one that writes."""
    return not is_distributed() or bool(_group().get_rank() == 0)


def from_first(value: Any) -> Any:
    """The JSON value that the first process has, so that all processes decide alike."""
    return all_of(value)[0]


def all_of(value: Any) -> list[Any]:
    """The JSON values of all processes, in their order; what others send is never unpickled."""
    import torch

    if not is_distributed():
        return [value]
    own = torch.frombuffer(bytearray(json.dumps(value).encode()), dtype=torch.uint8)
    held = torch.zeros(most(len(own)), dtype=torch.uint8)
    held[: len(own)] = own
    gathered = [torch.empty_like(held, device=_device()) for _ in range(_group().get_world_size())]
    _group().all_gather(gathered, held.to(_device()))
    return [json.loads(bytes(one.tolist()).rstrip(b"\0")) for one in gathered]


def any_process(flag: bool) -> bool:
    """Whether the flag is up in any process; they all must leave the loop at the same step."""
    return most(int(flag)) > 0


def most(number: int) -> int:
    """The largest of the numbers of all processes."""
    return _reduced(number, "MAX")


def least(number: int) -> int:
    """The smallest of the numbers of all processes."""
    return _reduced(number, "MIN")


def wait_for_all() -> None:
    """Go on when all processes are here."""
    most(0)


def share_of(rows: Sequence[TokenRow], index: int, processes: int) -> list[TokenRow]:
    """The rows of a step that one process takes: the longest first, each to whom has the fewest tokens.

    Args:
        rows: all rows of the step, the same in every process.
        index: the process.
        processes: their number; with more of them than rows, some take none.

    Source: Graham 1969, "Bounds on Multiprocessing Timing Anomalies" (longest processing time first).
    """
    if processes == 1:
        return list(rows)
    held = [0] * processes
    mine = []
    for row in sorted(rows, key=len, reverse=True):
        taker = held.index(min(held))
        held[taker] += len(row)
        if taker == index:
            mine.append(row)
    return mine


def sum_gradients(parameters: Iterable[torch.nn.Parameter]) -> None:
    """Add the gradients of all processes up, in place; a process without one adds zero.

    Nothing is sent before the last micro-batch has gone back, so processes may have different numbers of them, and a
    process without memory for its share holds nobody up in the middle of a pass.
    """
    import torch

    held: dict[torch.dtype, list[torch.Tensor]] = {}
    for parameter in parameters:
        if parameter.requires_grad:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            held.setdefault(parameter.grad.dtype, []).append(parameter.grad)
    for gradients in held.values():
        for bucket in _buckets(gradients):
            flat = torch.cat([gradient.reshape(-1) for gradient in bucket])
            sum_up(flat)
            parts = torch.split(flat, [gradient.numel() for gradient in bucket])
            for gradient, part in zip(bucket, parts, strict=True):
                gradient.copy_(part.view_as(gradient))


def sum_up(tensor: torch.Tensor) -> None:
    """Add a tensor up over all processes, in place."""
    _group().all_reduce(tensor)


def same_weights(parameters: Iterable[torch.nn.Parameter]) -> None:
    """Give all processes the trained parameters of the first."""
    for parameter in parameters:
        if parameter.requires_grad:
            _group().broadcast(parameter.data, src=0)


def join() -> None:
    """Enter the group that the environment describes (RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR, MASTER_PORT).

    Raises:
        ConfigError: the environment lacks one of them, or the others are not there.
    """
    global _board
    missing = [name for name in ("RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT") if name not in os.environ]
    if missing:
        raise ConfigError(
            f"WORLD_SIZE is {count()}, but {', '.join(missing)} is not set; start the processes with torchrun, or use "
            "--multi-gpu"
        )
    from accelerate import PartialState  # type: ignore[import-untyped]
    from torch.distributed import DistNetworkError, DistStoreError

    from graft.train.board import Board

    try:
        PartialState(cpu=os.environ.get("ACCELERATE_USE_CPU") == "1", timeout=LONGEST_WAIT, **_meeting())
        if _board is None:
            _board = Board(_store(), rank(), count())
            threading.Thread(target=_watch, args=(_board,), daemon=True).start()
    except (DistNetworkError, DistStoreError) as error:
        where = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
        raise ConfigError(f"{count()} processes cannot meet at {where}: {str(error).splitlines()[0]}") from error


def _meeting() -> dict[str, Any]:
    """How the group opens: where `graft` started the processes, at a port that only this machine reaches."""
    if LAUNCHED not in os.environ:
        return {}
    listener = os.environ.get(LISTENER)
    first = {} if listener is None else {"is_master": True, "master_listen_fd": int(listener)}
    return {"store": _store(**first), "rank": rank(), "world_size": count()}


def _store(**first: Any) -> Any:
    """A client of the store at which the processes meet; in the first process, with what makes it listen."""
    from torch.distributed import TCPStore  # type: ignore[attr-defined]

    address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    return TCPStore(address, port, wait_for_workers=False, timeout=LONGEST_WAIT, **first)


@contextmanager
def leading() -> Iterator[None]:
    """In the first of many processes: enter the group, and let the others go at the end, whatever comes.

    Raises:
        PeerError: another process failed.
    """
    if count() == 1:
        yield
        return
    join()
    try:
        with failing_together():
            yield
    finally:
        with suppress(RuntimeError):  # the store may have gone with a process
            tell(None)
        leave()


@contextmanager
def failing_together() -> Iterator[None]:
    """Let the other processes know of an error inside; one that only follows from another process's is a `PeerError`.

    Raises:
        PeerError: another process failed first, and tells why itself.
        TrainError: the connection to another process is lost.
    """
    try:
        yield
    except Exception as error:
        board = _board
        if board is None or isinstance(error, PeerError) or error is board.reported:
            raise
        lost = _is_lost(error)
        try:
            if lost:
                board.wait_for_failure(2.0)  # a lost connection is noticed before its reason arrives
            told = _lost(error) if lost else error
            if not board.fail(str(told)):
                told = PeerError(f"another process failed: {board.failure()}")
        except TrainError as forged:
            told = forged
        except RuntimeError:
            told = PeerError("the first process is gone")
        board.reported = told
        if told is error:
            raise
        raise told from error


def _is_lost(error: Exception) -> bool:
    """Whether an error may come from a process that is no longer there."""
    from torch.distributed import DistError

    words = str(error).lower()
    return isinstance(error, DistError) or (
        isinstance(error, RuntimeError) and any(word in words for word in ("connection", "gloo", "nccl"))
    )


def _lost(error: Exception) -> Exception:
    first = next(iter(str(error).splitlines()), "")
    told = f"the connection to another process is lost ({first}); go on with --resume latest"
    return PeerError(told) if LAUNCHED in os.environ else TrainError(told)


def on_gpus() -> bool:
    """Whether the group talks between GPUs."""
    return bool(_group().get_backend() == "nccl")


def tell(order: Any) -> None:
    """In the first process: what the others do next, as JSON; ``None`` lets them go."""
    if _board is not None:
        _board.tell(order)


def orders() -> Iterator[Any]:
    """In all processes but the first: what it tells, one after the other, until it lets go."""
    assert _board is not None
    number = 0
    while (order := _board.hear(number)) is not None:
        yield order
        number += 1


def leave() -> None:
    """Leave the group and the store that `join` entered."""
    global _board
    if _board is None:
        return
    board, _board = _board, None
    with suppress(RuntimeError):
        board.leave()
    if is_distributed() and board.reported is None:  # after a failure the others may not come
        _group().destroy_process_group()


@contextmanager
def first_goes_first(name: str) -> Iterator[None]:
    """Let the first process do a piece of work, however long it takes, before the others do the same.

    Args:
        name: of the work, another one each time.
    """
    if _board is None or is_first():
        yield
        if _board is not None:
            _board.post(f"done/{name}", True)
        return
    _board.read(f"done/{name}")
    yield


_board: Board | None = None


def _watch(board: Board) -> None:
    """End this process after another failed, or whoever started it; the first one gets time to end in order."""
    from torch.distributed import DistError

    parent = os.getppid()
    try:
        while not board.ended.wait(1.0):
            if os.getppid() != parent:
                break
            if board.has_failed():
                board.ended.wait(_GRACE_SECONDS if rank() == 0 else 2.0)
                break
    except (DistError, RuntimeError):
        board.ended.wait(2.0)  # the store went with the process that held it
    if not board.ended.is_set():
        os._exit(_EXIT_AFTER_ANOTHER)


def _reduced(number: int, operation: str) -> int:
    import torch

    if not is_distributed():
        return number
    tensor = torch.tensor(number, device=_device())
    _group().all_reduce(tensor, getattr(torch.distributed.ReduceOp, operation))
    return int(tensor)


def _device() -> torch.device:
    """Where tensors must be to travel."""
    import torch

    return torch.device("cuda", torch.cuda.current_device()) if on_gpus() else torch.device("cpu")


def _buckets(tensors: Iterable[torch.Tensor]) -> Iterator[list[torch.Tensor]]:
    bucket: list[torch.Tensor] = []
    held = 0
    for tensor in tensors:
        bucket.append(tensor)
        held += tensor.nbytes
        if held >= BUCKET_BYTES:
            yield bucket
            bucket, held = [], 0
    if bucket:
        yield bucket


def _group() -> Any:
    import torch

    return torch.distributed
