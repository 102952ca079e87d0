"""Runs command lines, each in a fork of a process that has the libraries loaded, and says what each of them took."""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
import time
from pathlib import Path

import psutil

PATIENCE_SECONDS = 300.0
CRASHED = 70


def run(arguments: list[str], folder: Path) -> dict[str, object]:
    """One command line in its own process: code, processor seconds, bytes beyond those at its start, and messages."""
    before = psutil.Process().memory_info().rss
    child = os.fork()
    if child == 0:
        _become(arguments, folder)
    until = time.monotonic() + PATIENCE_SECONDS
    while True:
        done, status, used = os.wait4(child, os.WNOHANG)
        if done:
            break
        if time.monotonic() > until:
            os.kill(child, signal.SIGKILL)
        time.sleep(0.01)
    return {
        "code": os.waitstatus_to_exitcode(status),
        "seconds": used.ru_utime + used.ru_stime,
        "bytes": max(0, used.ru_maxrss * 1024 - before),
        "errors": (folder / "stderr").read_text(errors="replace"),
    }


def _become(arguments: list[str], folder: Path) -> None:
    from graft.cli.main import main

    code = CRASHED
    try:
        os.chdir(folder)
        resource.setrlimit(resource.RLIMIT_CPU, (60, 60))
        for number, name in ((1, "stdout"), (2, "stderr")):
            os.dup2(os.open(name, os.O_CREAT | os.O_WRONLY | os.O_TRUNC), number)
        code = main(arguments)
    except BaseException:  # what leaves is a bug, and is told by the code
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    import graft.data.survey
    import graft.evals.scoring
    import graft.models.facts
    import graft.pipeline.prepare.check  # noqa: F401 - loaded once, for all

    for line in sys.stdin:
        case = json.loads(line)
        print(json.dumps(run(case["arguments"], Path(case["folder"]))), flush=True)
