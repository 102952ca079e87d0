"""The client's side of `tests.data.hub_stand_in`: requests as JSON lines on stdin, answers on stdout."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from itertools import islice
from typing import Any

from graft import tasks
from graft.data.hub import hub_rows, stream_rows
from graft.errors import GraftError
from graft.tasks.dataset import DatasetTask, HubSource


def answer(request: dict[str, Any]) -> Any:
    if request["what"] == "examples":
        kind = tasks.find(request["task"])
        assert issubclass(kind, DatasetTask)
        task = tasks.load(request["task"], rows=hub_rows(kind.source))
        found = task.examples(request["split"], limit=request["limit"], seed=request["seed"])
        return [asdict(example) for example in found]
    lists = {name: tuple(value) for name, value in request["source"].items() if isinstance(value, list)}
    source = HubSource(**{**request["source"], **lists})
    if request["what"] == "rows":
        rows = hub_rows(source)(request["part"])
        return [rows[index] for index in range(len(rows))]
    return list(islice(stream_rows(source, request["part"]), request["limit"]))


def main() -> None:
    out = sys.stdout
    sys.stdout = sys.stderr  # what the clients print must not come between the answers
    for line in sys.stdin:
        try:
            reply = {"value": answer(json.loads(line))}
        except GraftError as error:
            reply = {"error": str(error), "kind": type(error).__name__}
        out.write(json.dumps(reply, default=str) + "\n")
        out.flush()


if __name__ == "__main__":
    main()
