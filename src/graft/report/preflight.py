"""The preflight as one self-contained HTML page: examples token by token, lengths, labels, leaks, forecast."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from graft.report.page import environment
from graft.runs.files import write_text

KINDS = {
    "template": "written by the chat template",
    "prompt": "the prompt",
    "trained": "trained: loss is taken here",
    "lost": "lost: the tokenizer cannot write it",
    "cut": "too long: the row is left out",
}

PARTS = {"train": "training", "eval": "held out"}

BAR_WIDTH, BAR_HEIGHT = 14, 72


def write_preflight(path: Path, found: Mapping[str, Any], *, title: str) -> Path:
    """Write the page.

    Args:
        path: the file.
        found: what `graft.pipeline.prepare.preflight.Preflight.to_json` gives.
        title: name of the run.

    Returns:
        `path`.

    Raises:
        StorageError: it cannot be written.
    """
    write_text(path, render(found, title=title))
    return path


def render(found: Mapping[str, Any], *, title: str) -> str:
    """The page as text."""
    estimate = found["estimate"]
    return (
        environment()
        .get_template("preflight.html.j2")
        .render(
            title=title,
            found=found,
            kinds=KINDS,
            parts=PARTS,
            bars=[bars(one["edges"], one["counts"]) for one in found["surveys"]],
            leaked=[sum(one["counts"].values()) for one in found["leaks"]],
            estimate={} if estimate is None else _estimate(estimate),
        )
    )


def bars(edges: Sequence[float], counts: Sequence[int]) -> list[dict[str, Any]]:
    """The bars of a histogram: place, height in pixels, and what each means."""
    most = max(counts, default=1)
    return [
        {
            "x": index * BAR_WIDTH,
            "height": 0 if not count else max(2, round(BAR_HEIGHT * count / most)),
            "title": f"{math.ceil(edges[index])} to {math.floor(edges[index + 1])} tokens: {count:,} rows",
        }
        for index, count in enumerate(counts)
    ]


def _estimate(found: Mapping[str, Any]) -> dict[str, str]:
    known = not math.isnan(found["seconds"])
    lines = {
        "Training": f"{found['branches']} × {found['steps']:,} steps, {found['tokens']:,} tokens in all",
        "Time": f"about {found['seconds'] / 60:,.1f} minutes ({found['basis']})" if known else found["basis"],
        "Memory": found["memory"],
        "Disk": f"{found['disk_bytes'] / 1e6:,.0f} MB of {found['free_bytes'] / 1e9:,.1f} GB free",
    }
    return lines if math.isnan(found["cost"]) else {**lines, "Cost": f"about {found['cost']:,.2f}"}
