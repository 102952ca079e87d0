"""The composition of a vocabulary as one bar per class."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from graft.vocab.english import EntryClass

KEPT, DROPPED = "#1f7fbf", "#7a7f87"


def draw_composition(axes: Any, counts: Mapping[EntryClass, int], kept: Mapping[EntryClass, int]) -> None:
    """Draw the entries of each class on matplotlib axes: kept in blue, the rest in grey, the count beside the bar.

    Args:
        axes: where to draw.
        counts: entries per class.
        kept: kept entries per class.
    """
    shown = [kind for kind in reversed(EntryClass) if counts[kind]]
    total = sum(counts.values())
    names = [kind.value.replace("_", " ") for kind in shown]
    inside = [kept[kind] for kind in shown]
    axes.barh(names, inside, color=KEPT, label="kept")
    axes.barh(names, [counts[k] - kept[k] for k in shown], left=inside, color=DROPPED, label="not kept")
    for place, kind in enumerate(shown):
        axes.text(counts[kind], place, f" {counts[kind]:,} ({counts[kind] / total:.1%})", va="center", fontsize=9)
    axes.set_xlim(0, 1.6 * max(counts.values()))
    axes.grid(visible=False, axis="y")
    axes.set_xlabel(f"entries ({total:,} in all)")
    axes.xaxis.set_major_locator(_few_ticks())
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=2)


def _few_ticks() -> Any:
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(nbins=4, integer=True)
