"""Many processes from one command line: start them, pass signals on, end with the first one's exit code."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any, TypeVar

import click
import psutil

from graft.errors import ConfigError, TrainError
from graft.train.board import SECRET
from graft.train.processes import LAUNCHED, LISTENER, gpu_count, rank

Decorated = TypeVar("Decorated", bound=Callable[..., Any])

GRACE_SECONDS = 45.0
"""Time that the others get to end after one process failed."""


def process_flags(command: Decorated) -> Decorated:
    """Give a command the flags that start many processes."""
    number = click.option(
        "--processes",
        type=click.IntRange(min=1),
        metavar="N",
        help="Train with N processes, one per GPU, or on the CPU without GPUs.",
    )
    every = click.option("--multi-gpu", is_flag=True, help="Train with one process on each GPU of this machine.")
    return every(number(command))


def helps_another() -> int | None:
    """Do the work of a process that is not the first of several, and return its exit code; ``None`` for all others."""
    if rank() == 0:
        return None
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    from graft.pipeline.train.crew import follow
    from graft.runs.interrupts import terminable

    try:
        with terminable():
            follow()
    except KeyboardInterrupt:
        return 128 + signal.SIGINT  # the first process says how to go on
    return 0


def processes_to_start(*, multi_gpu: bool, processes: int | None, device: str) -> int:
    """How many processes the flags ask for; 1 where this is one of them already.

    Args:
        multi_gpu: ``--multi-gpu``.
        processes: ``--processes``.
        device: ``model.device``.

    Raises:
        ConfigError: there are no GPUs, or fewer than that.
    """
    if "RANK" in os.environ or not (multi_gpu or processes):
        return 1
    gpus = 0 if device == "cpu" else gpu_count()
    if multi_gpu and not gpus:
        seen = "model.device is cpu" if device == "cpu" else "PyTorch sees no CUDA GPU on this machine"
        raise ConfigError(f"--multi-gpu starts one process per GPU, but {seen}; use --processes N to train on the CPU")
    if processes and gpus and processes > gpus:
        raise ConfigError(f"--processes is {processes}, but this machine has {gpus} GPUs; use at most one on each")
    return processes or gpus


def launch(arguments: Sequence[str], count: int, *, cpu: bool) -> int:
    """Run a command line in many processes and wait for them.

    Args:
        arguments: what follows ``graft``.
        count: number of processes.
        cpu: they compute on the CPU.

    Returns:
        The exit code of the first process, or of another one that failed before it.

    Raises:
        TrainError: a process was killed.
    """
    command = [sys.executable, "-m", "graft", *arguments]
    started: list[subprocess.Popen[bytes]] = []
    with _passed_on(started), socket.create_server(("127.0.0.1", 0)) as listener:
        environment = _environment(count, port=listener.getsockname()[1], cpu=cpu)
        first = {LISTENER: str(listener.fileno())}
        try:
            for number in range(count):
                own = environment | {"RANK": str(number), "LOCAL_RANK": str(number)} | ({} if number else first)
                passed = () if number else (listener.fileno(),)
                started.append(subprocess.Popen(command, env=own, start_new_session=True, pass_fds=passed))
            listener.close()  # the first process has it: it must close with that one
            return _wait(started)
        finally:
            for process in started:
                process.kill()
                process.wait()


def _environment(count: int, *, port: int, cpu: bool) -> dict[str, str]:
    """The variables of all processes: they meet on this machine alone, and share a secret of their own."""
    told: dict[str, object] = {
        "WORLD_SIZE": count,
        "LOCAL_WORLD_SIZE": count,
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": port,
    }
    told |= {LAUNCHED: 1, SECRET: secrets.token_hex(32)} | ({"ACCELERATE_USE_CPU": 1} if cpu else {})
    usual: dict[str, object] = {"OMP_NUM_THREADS": max(1, (os.cpu_count() or 1) // count)}
    usual |= dict.fromkeys(("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME"), _loopback())
    return {**{name: str(value) for name, value in usual.items()}, **os.environ} | {
        name: str(value) for name, value in told.items()
    }


def _wait(started: Sequence[subprocess.Popen[bytes]]) -> int:
    """Wait for all; for a while only, once one has failed."""
    failed: int | None = None
    until = float("inf")
    while any(process.poll() is None for process in started) and time.monotonic() < until:
        if failed is None:
            failed = next((index for index, process in enumerate(started) if process.returncode), None)
            if failed is not None:
                until = time.monotonic() + GRACE_SECONDS
        time.sleep(0.05)
    codes = [process.returncode for process in started]
    killed = [(index, -code) for index, code in enumerate(codes) if code is not None and code < 0]
    if killed:
        index, number = killed[0]
        raise TrainError(
            f"process {index} of {len(codes)} was killed by signal {number}, which memory running out may cause; what "
            "was written is kept: go on with --resume latest"
        )
    return codes[0] or next((code for code in codes if code), 0)


@contextmanager
def _passed_on(started: Sequence[subprocess.Popen[bytes]]) -> Iterator[None]:
    """Within the block Ctrl-C and SIGTERM go to all processes."""

    def send(number: int, frame: FrameType | None) -> None:
        for process in started:
            process.send_signal(number)

    before = {number: signal.signal(number, send) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _loopback() -> str:
    """The interface that only this machine reaches: `lo` on Linux, `lo0` on macOS."""
    addresses = psutil.net_if_addrs().items()
    return next(name for name, held in addresses if any(one.address == "127.0.0.1" for one in held))
