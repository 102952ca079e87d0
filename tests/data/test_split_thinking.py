from __future__ import annotations

import pytest

from graft.data.thinking import ThinkingReply, split_thinking


@pytest.mark.parametrize(
    ("text", "opened", "expected"),
    [
        ("<think>\nIt is 3.\n</think>\n\n3", False, ThinkingReply("It is 3.", "3", True)),
        ("\n<think>a</think>b", False, ThinkingReply("a", "b", True)),
        ("<think>\n\n</think>\n\n3", False, ThinkingReply("", "3", True)),
        ("It is 3.\n</think>\n\n3", True, ThinkingReply("It is 3.", "3", True)),
        ("It is 3.\n</think>\n\n3", False, ThinkingReply("It is 3.", "3", True)),
        ("<think>a</think>", False, ThinkingReply("a", "", True)),
        ("3", False, ThinkingReply("", "3", True)),
        ("", False, ThinkingReply("", "", True)),
    ],
)
def test_a_closed_block_is_taken_off_the_answer(text: str, opened: bool, expected: ThinkingReply) -> None:
    assert split_thinking(text, opened=opened) == expected


@pytest.mark.parametrize(("text", "opened"), [("<think>\nIt is 3, so 3", False), ("It is 3, so 3", True)])
def test_a_reply_that_ends_inside_its_thinking_has_no_answer(text: str, opened: bool) -> None:
    reply = split_thinking(text, opened=opened)
    assert (reply.closed, reply.answer) == (False, "")
    assert reply.thinking.endswith("so 3")


def test_tags_inside_an_answer_are_part_of_it() -> None:
    text = "Write <think> before and </think> after."
    assert split_thinking(text) == ThinkingReply("", text, True)
    later = split_thinking("<think>a</think>Write </think> after.")
    assert later == ThinkingReply("a", "Write </think> after.", True)


def test_an_empty_reply_to_an_opened_block_is_unclosed() -> None:
    assert split_thinking("", opened=True) == ThinkingReply("", "", False)
