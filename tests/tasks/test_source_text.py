"""What a row says: its cells, without the words around them, the answer, or short cells that stand there by chance."""

from __future__ import annotations

from graft.tasks.dataset import source_text
from graft.types import Example, Message


def example(prompt: str | None, gold: str, history: tuple[Message, ...] = ()) -> Example:
    return Example("t/0", "t", prompt, gold, history=history)


def test_the_cells_of_the_prompt_are_taken_and_the_answer_and_short_cells_are_not() -> None:
    row = {"text": " Oil prices fell again on Monday. ", "label": "bad", "source": "good", "note": "not in the prompt"}
    asked = example("Is this good or bad?\n\nOil prices fell again on Monday.", "bad")
    assert source_text(row, asked) == "Oil prices fell again on Monday."


def test_cells_in_lists_and_turns_are_found() -> None:
    row = {"question": "Which metal is liquid?", "choices": ["Mercury, a metal", "Sodium, a metal"], "answer": "A"}
    asked = example("Which metal is liquid?\nA. Mercury, a metal\nB. Sodium, a metal", "A")
    assert source_text(row, asked) == "Which metal is liquid?\nMercury, a metal\nSodium, a metal"
    turns = (
        Message("system", "You are helpful."),
        Message("user", "Tell me about mercury."),
        Message("assistant", "Yes"),
    )
    asked = example("And about sodium?", "A metal.", turns)
    row = {"history": turns, "prompt": "And about sodium?"}
    assert source_text(row, asked) == "Tell me about mercury.\nAnd about sodium?"


def test_a_row_of_short_cells_says_these_and_a_rewritten_one_says_its_prompt() -> None:
    assert source_text({"a": "5 + 3", "b": 8}, example("What is 5 + 3?", "8")) == "5 + 3"
    assert source_text({"a": "FIVE"}, example("What is five?", "5")) == "What is five?"


def test_a_corpus_says_its_text() -> None:
    assert (
        source_text({"text": "Once upon a time.", "id": "time"}, example(None, "Once upon a time."))
        == "Once upon a time."
    )
