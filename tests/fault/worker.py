"""Runs command lines of Graft in forked children, each with a fault of its own; started with `fault.c` preloaded.

It reads one JSON object a line, ``{"arguments": […], "output": FILE, "fault": {…}}``, and answers with
``{"code": …, "operations": …}``. Everything is imported before the first fork, so a child takes seconds.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import signal
import sys
from typing import Any

import psutil

ANSWERS = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)  # whatever a library prints, at its import already, is no answer

import graft.pipeline.run  # noqa: E402
import graft.train.engine  # noqa: E402, F401  (what a run would import)
from graft.cli.main import main  # noqa: E402

LIBRARY = ctypes.CDLL(None)


def child(order: dict[str, Any], report: int) -> None:
    """Do one command line and leave with its exit code."""
    output = os.open(order["output"], os.O_CREAT | os.O_TRUNC | os.O_WRONLY)
    os.dup2(output, 1)
    os.dup2(output, 2)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    fault = order["fault"]
    if fault.get("memory"):
        most = psutil.Process().memory_info().vms + fault["memory"]
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
    if fault.get("below"):
        arm(fault)
    sys.argv = ["graft", *order["arguments"]]
    try:
        code = main()
    except BaseException:
        import traceback

        traceback.print_exc()
        code = 1
    os.write(report, str(LIBRARY.fault_count()).encode())
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def arm(fault: dict[str, Any]) -> None:
    """Let the library count, and do what is asked at one operation."""
    LIBRARY.fault_arm(
        fault["below"].encode(),
        ctypes.c_long(fault.get("at", -1)),
        fault.get("signal", 0),
        fault.get("errno", 0),
        int(fault.get("onwards", False)),
        fault.get("operations", 127),
    )


def answer(order: dict[str, Any]) -> dict[str, Any]:
    """Fork, wait, and say how it ended."""
    reading, writing = os.pipe()
    pid = os.fork()
    if not pid:
        os.close(reading)
        child(order, writing)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        counted = pipe.read()
    return {"code": os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), "operations": int(counted or 0)}


if __name__ == "__main__":
    LIBRARY.fault_count.restype = ctypes.c_long
    for line in sys.stdin:
        print(json.dumps(answer(json.loads(line))), file=ANSWERS, flush=True)
