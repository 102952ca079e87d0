"""The scored items that can be browsed: per task, worst first, with places left for every outcome."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from graft.config.schema import ReportSection
from graft.report.explain import arm_order, arm_title
from graft.report.load import Reply, RunFiles, first_seed
from graft.report.numbers import number, percent
from graft.stats.arms import BASE, TRAINED

OUTCOMES: dict[str, str] = {
    "lost": "Lost: base right, trained wrong",
    "wrong": "Wrong before and after",
    "gained": "Gained: base wrong, trained right",
    "right": "Right before and after",
}
"""Outcomes from the worst to the best."""

SINGLE_OUTCOMES: dict[str, str] = {"wrong": "Wrong", "right": "Right"}
"""The same when only one model was scored."""

MAX_CHARACTERS = 600
"""Longer texts are cut; the samples file has them whole."""


@dataclass(frozen=True, slots=True)
class ShownReply:
    """One arm's reply to an item."""

    arm: str
    text: str
    right: bool
    scores: str


@dataclass(frozen=True, slots=True)
class ShownItem:
    """One item of the page."""

    anchor: str
    title: str
    outcome: str
    prompt: str
    gold: str
    phrasing: str
    replies: tuple[ShownReply, ...]
    pieces: tuple[str, ...]
    strata: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class ItemGroup:
    """Items of one outcome: how many there are, and those that are shown."""

    outcome: str
    title: str
    total: int
    items: tuple[ShownItem, ...]


@dataclass(frozen=True, slots=True)
class TaskItems:
    """The browsable items of one task and where all of them are."""

    task: str
    total: int
    shown: int
    sources: tuple[str, ...]
    groups: tuple[ItemGroup, ...]


def browse(files: RunFiles) -> tuple[TaskItems, ...]:
    """Choose and prepare the items of every task, at most `report.items` of the recipe for each."""
    limit = int(files.setting("report.items", ReportSection().items))
    order = [*files.tasks, *(task for task in files.replies if task not in files.tasks)]
    return tuple(_task_items(files, task, files.replies[task], limit) for task in order if files.replies.get(task))


def _task_items(files: RunFiles, task: str, replies: Mapping[str, Sequence[Reply]], limit: int) -> TaskItems:
    arms = sorted(replies, key=arm_order)
    judged = TRAINED if TRAINED in replies else arms[0]
    by_arm = {arm: {reply.id: reply for reply in replies[arm]} for arm in arms}
    paired = BASE in replies and judged != BASE
    groups: dict[str, list[Reply]] = {name: [] for name in (OUTCOMES if paired else SINGLE_OUTCOMES)}
    for reply in replies[judged]:
        before = by_arm[BASE].get(reply.id) if paired else None
        groups[_outcome(before, reply)].append(reply)
    places = _share_places({name: len(found) for name, found in groups.items()}, limit)
    titles = OUTCOMES if paired else SINGLE_OUTCOMES
    shown = tuple(
        ItemGroup(
            name,
            titles[name],
            len(found),
            tuple(
                _show(f"item-{task}-{name}-{rank}", name, [(arm, by_arm[arm].get(reply.id)) for arm in arms], reply)
                for rank, reply in enumerate(sorted(found, key=_badness)[: places[name]])
            ),
        )
        for name, found in groups.items()
    )
    found_files = [first_seed(files.samples, arm, task) for arm in arms]
    sources = tuple(f"samples/{file.path.name}" for file in found_files if file is not None)
    return TaskItems(task, len(replies[judged]), sum(places.values()), sources, shown)


def _outcome(before: Reply | None, after: Reply) -> str:
    if before is None or before.right == after.right:
        return "right" if after.right == 1 else "wrong"
    return "gained" if after.right > before.right else "lost"


def _share_places(sizes: Mapping[str, int], limit: int) -> dict[str, int]:
    """Give each outcome an equal share of the places, and what is left over to the worst.

    Without the shares one large outcome would hide all others, and a filter for them would find nothing.
    """
    places = {name: min(size, limit // len(sizes)) for name, size in sizes.items()}
    for name, size in sizes.items():
        places[name] += min(size - places[name], limit - sum(places.values()))
    return places


def _badness(reply: Reply) -> tuple[float, str]:
    """Largest error first, then by id so that the order never varies."""
    error = reply.details.get("cer", reply.details.get("absolute_error", math.nan))
    return (math.inf if math.isnan(error) else -error, reply.id)


def _show(anchor: str, outcome: str, replies: Sequence[tuple[str, Reply | None]], item: Reply) -> ShownItem:
    pieces = str(item.strata.get("pieces", ""))
    return ShownItem(
        anchor=anchor,
        title=item.word or item.id,
        outcome=outcome,
        prompt=visible(item.prompt or ""),
        gold=visible(item.gold),
        phrasing=item.phrasing,
        replies=tuple(
            ShownReply(arm_title(arm), visible(reply.reply), reply.right == 1, _scores(reply))
            for arm, reply in replies
            if reply is not None
        ),
        pieces=tuple(visible(piece) for piece in pieces.split("|")) if pieces else (),
        strata=tuple(
            (name.replace("_", " "), number(value)) for name, value in item.strata.items() if name != "pieces"
        ),
    )


def _scores(reply: Reply) -> str:
    flags = [("exact", reply.exact), ("strict", reply.strict), ("lenient", reply.lenient), ("parsed", reply.parsed)]
    words = [name if value else f"not {name}" for name, value in flags if value is not None]
    if reply.constrained is not None:
        words.append(_constrained(reply))
    if reply.finished is False:
        words.append("cut at the token limit")
    return ", ".join([*words, *(f"{name.replace('_', ' ')} {number(value)}" for name, value in reply.details.items())])


def _constrained(reply: Reply) -> str:
    """The likeliest answer of a closed set; a share of letters where it is spelled."""
    share = f", {percent(float(reply.constrained or 0))} of its letters" if isinstance(reply.constrained, float) else ""
    verdict = "right" if reply.constrained == 1 else "wrong"
    return f"likeliest answer {visible(reply.constrained_answer)} ({verdict}{share})"


def visible(text: str) -> str:
    """Text as a page can show it: control characters and bare white space spelled out, and cut when very long."""
    if text and not text.strip(" \n\t"):
        text = text.replace(" ", "␣").replace("\n", "\\n").replace("\t", "\\t")
    shown = "".join(char if char in "\n\t" or char.isprintable() else f"\\u{ord(char):04x}" for char in text)
    if len(shown) <= MAX_CHARACTERS:
        return shown
    return f"{shown[:MAX_CHARACTERS]}… ({len(shown) - MAX_CHARACTERS:,} more characters)"
