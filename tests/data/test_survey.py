from __future__ import annotations

import pytest
from transformers import PreTrainedTokenizerBase

from graft.data.survey import show, survey
from graft.errors import DataError
from graft.types import Example, Message

LABELS = ("good", "bad")


def rated(number: int, text: str, gold: str) -> Example:
    return Example(f"reviews/{number}", "reviews", f"Is this good or bad?\n\n{text}", gold, options=LABELS)


EXAMPLES = [
    rated(0, "a fine film", "good"),
    rated(1, "a dull film", "bad"),
    rated(2, "a fine film", "good"),
    rated(3, "a dull film", "good"),
    rated(4, "well " * 40, "good"),
]


def test_repeats_contradictions_labels_and_lengths_are_counted(tokenizer: PreTrainedTokenizerBase) -> None:
    found = survey(tokenizer, "reviews", "train", EXAMPLES, max_length=40)
    assert (found.examples, found.repeated, found.contradicting, found.too_long, found.empty) == (5, 1, 2, 1, 0)
    assert found.labels == {"good": 4, "bad": 1}
    assert sum(found.counts) == 5 and len(found.edges) == len(found.counts) + 1
    assert found.shortest <= found.median <= found.longest
    assert found.trained_tokens >= 10  # a label and the end of the turn each


def test_a_row_that_is_drawn_in_two_passes_is_no_repeat(tokenizer: PreTrainedTokenizerBase) -> None:
    twice = [*EXAMPLES[:2], *EXAMPLES[:2]]
    assert survey(tokenizer, "reviews", "train", twice, max_length=40).repeated == 0


def test_an_empty_prompt_is_counted_and_an_empty_answer_refused(tokenizer: PreTrainedTokenizerBase) -> None:
    empty = Example("t/0", "t", "  ", "yes")
    assert survey(tokenizer, "t", "train", [empty, EXAMPLES[0]], max_length=99).empty == 1
    with pytest.raises(DataError, match="t/1 has an empty answer, so nothing of it would be trained"):
        survey(tokenizer, "t", "train", [Example("t/1", "t", "Say yes.", "")], max_length=99)


def test_an_example_is_shown_token_by_token_with_what_each_is(tokenizer: PreTrainedTokenizerBase) -> None:
    shown = show(tokenizer, EXAMPLES[0], max_length=512)
    by_kind = {kind: "".join(text for text, own in shown.pieces if own == kind) for kind in ("prompt", "trained")}
    assert by_kind["prompt"].strip() == EXAMPLES[0].prompt
    assert by_kind["trained"] == f"good{tokenizer.eos_token}"
    assert {kind for _, kind in shown.pieces} == {"template", "prompt", "trained"}


def test_what_does_not_fit_is_shown_as_cut(tokenizer: PreTrainedTokenizerBase) -> None:
    kinds = [kind for _, kind in show(tokenizer, EXAMPLES[4], max_length=12).pieces]
    assert kinds[:12].count("cut") == 0 and set(kinds[12:]) == {"cut"}


def test_earlier_turns_are_no_part_of_the_prompt_that_is_marked(tokenizer: PreTrainedTokenizerBase) -> None:
    talk = Example("c/0", "c", "And now?", "yes", history=(Message("user", "Hello."), Message("assistant", "Hi!")))
    shown = show(tokenizer, talk, max_length=99)
    assert "".join(text for text, kind in shown.pieces if kind == "prompt").strip() == "And now?"


def test_a_character_of_several_tokens_is_shown_once_as_its_bytes(tokenizer: PreTrainedTokenizerBase) -> None:
    shown = show(tokenizer, Example("mine/1", "mine", "What is 🚀é?", "A 🚀."), max_length=64)
    text = "".join(piece for piece, _ in shown.pieces)
    for part in ("What is ", "A "):
        begun = text[text.index(part) + len(part) :]
        assert begun.replace("<20>", "").startswith("<F0><9F><9A><80>")
    assert "🚀" not in text
