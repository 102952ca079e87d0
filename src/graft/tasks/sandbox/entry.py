"""The first Python code inside the sandbox: reads what it is to be, and becomes it.

The order comes as JSON on standard input, which is closed before anything of a program runs.
"""

from __future__ import annotations

import json
import os
import sys
from contextlib import suppress
from typing import Any

from . import candidate, inside, judge, weak
from .kernel import hide_memory
from .wire import Channel, Gone


def main() -> None:
    """Read the order, put up what walls Python can where the kernel has none, and do what was ordered."""
    order = json.loads(sys.stdin.read())
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    if order["weak"] is not None:
        weak.confine(order["weak"])
    if order["role"] == "candidate":
        candidate.run(order["code"], Channel(*order["channel"]))
    elif order["role"] == "judge":
        _judge(order)
    elif order["role"] == "inside":
        write, dump, leave, descriptor, nonce = os.write, json.dumps, os._exit, order["result"], order["nonce"]
        result = inside.run(order["code"], order["tests"])
        with suppress(Exception):
            sys.stdout.flush()
        write(descriptor, dump({**_short(result), "nonce": nonce}).encode())
        leave(0)  # threads that were left behind keep nothing alive


def _judge(order: dict[str, Any]) -> None:
    if sys.platform == "linux":
        hide_memory()
    try:
        result = judge.run(order["tests"], order["given"], order["in_place"], Channel(*order["channel"]))
    except Gone:
        os._exit(0)  # no report
    sys.stdout.flush()
    os.write(order["result"], json.dumps({**_short(result), "nonce": order["nonce"]}).encode())
    os._exit(0)


def _short(result: dict[str, Any]) -> dict[str, Any]:
    return {**result, "wrong": [str(name)[:200] for name in result["wrong"]], "error": str(result["error"])[:2000]}
