from pathlib import Path

import pytest
from run_builder import RunBuilder

from graft.report.items import MAX_CHARACTERS, browse, visible
from graft.report.load import load


def test_items_come_worst_first_and_within_an_outcome_by_error(example: Path) -> None:
    task = browse(load(example))[0]
    assert [group.outcome for group in task.groups] == ["lost", "wrong", "gained", "right"]
    assert sum(group.total for group in task.groups) == task.total == 150
    wrong = next(group for group in task.groups if group.outcome == "wrong")
    errors = [float(item.replies[1].scores.rpartition("cer ")[2]) for item in wrong.items]
    assert errors == sorted(errors, reverse=True) and len(errors) > 2


def test_outcomes_are_told_from_base_and_trained(example: Path) -> None:
    files = load(example)
    right = {arm: {reply.id: reply.exact for reply in files.replies["count"][arm]} for arm in ("base", "trained")}
    expected = sum(right["base"][item] and not right["trained"][item] for item in right["base"])
    lost = browse(files)[2].groups[0]
    assert lost.total == expected > 0
    assert all(item.replies[0].right and not item.replies[1].right for item in lost.items)


def test_the_recipe_limits_the_items_and_no_outcome_is_crowded_out(build: RunBuilder) -> None:
    task = browse(load(build(items=12, words=100, study=False)))[0]
    assert task.shown == sum(len(group.items) for group in task.groups) == 12
    assert all(len(group.items) >= min(3, group.total) for group in task.groups)
    assert task.sources == (
        "samples/base.spelling.jsonl",
        "samples/trained-seed0.spelling.jsonl",
        "samples/format-seed0.spelling.jsonl",
    )


def test_no_items_when_the_recipe_wants_none(build: RunBuilder) -> None:
    task = browse(load(build(items=0, words=30, study=False)))[0]
    assert (task.shown, task.total) == (0, 30)


def test_without_a_base_items_are_right_or_wrong(build: RunBuilder) -> None:
    folder = build(words=30, study=False)
    for path in (folder / "samples").glob("base.*"):
        path.unlink()
    assert [group.outcome for group in browse(load(folder))[0].groups] == ["wrong", "right"]


@pytest.mark.parametrize(
    ("text", "shown"),
    [("a\x00b", "a\\u0000b"), ("\u202eabc", "\\u202eabc"), ("é\n字", "é\n字"), (" \n", "␣\\n"), ("", "")],
)
def test_control_characters_and_bare_white_space_are_spelled_out(text: str, shown: str) -> None:
    assert visible(text) == shown


def test_a_long_reply_is_cut_and_says_so() -> None:
    shown = visible("a" * 2000)
    assert len(shown) < MAX_CHARACTERS + 40 and shown.endswith("… (1,400 more characters)")
