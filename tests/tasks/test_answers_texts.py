"""Scorers of short texts and of entity lists."""

from __future__ import annotations

import math
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graft.tasks.answers.entities import parse_entities, score_entities
from graft.tasks.answers.spans import normalise, score_span, token_f1


def test_squad_normalisation_drops_case_punctuation_and_articles() -> None:
    assert normalise("  The U.S. — a Giant's\nanswer! ") == "us giants answer"
    assert normalise("Theater an") == "theater"


@pytest.mark.parametrize(
    ("gold", "reply", "strict", "lenient", "f1"),
    [
        ("PC graphics", "the PC graphics.", True, True, 1.0),
        ("PC graphics", "It focused on PC graphics", False, True, 4 / 7),
        ("PC graphics", "graphics", False, False, 2 / 3),
        ("PC graphics", "gaming", False, False, 0.0),
        ("the c c b b", "b b b", False, False, 4 / 7),  # articles go, multiplicity counts
        ("PC graphics", "", False, False, 0.0),
        ("the", "A", True, True, 1.0),
    ],
)
def test_f1_of_words_equals_hand_computed_values(gold: str, reply: str, strict: bool, lenient: bool, f1: float) -> None:
    score = score_span(gold, reply)
    assert (score.strict, score.lenient) == (strict, lenient)
    assert score.details["f1"] == pytest.approx(f1)


@given(st.text(), st.text())
def test_f1_is_symmetric_bounded_and_one_for_equal_texts(gold: str, reply: str) -> None:
    f1, precision, recall = token_f1(gold, reply)
    assert 0.0 <= f1 <= 1.0
    assert token_f1(reply, gold) == (f1, recall, precision)
    assert token_f1(gold, gold)[0] == 1.0
    assert score_span(gold, reply).lenient or not score_span(gold, reply).strict


ENTITIES = "Deluxe, Inc., ORG\nTim Cook, PER"


@pytest.mark.parametrize(
    "reply",
    [
        ENTITIES,
        "tim cook, per; DELUXE, Inc, org",
        "Deluxe, Inc. (ORG)\nTim  Cook: Person",
        "['Deluxe, Inc., ORG', 'Tim Cook, PER']",
        "1. Deluxe, Inc. - Organization"[3:] + "\n- Tim Cook, PER",
    ],
)
def test_entities_are_read_from_the_forms_that_models_write(reply: str) -> None:
    assert parse_entities(reply) == {("deluxe, inc", "ORG"), ("tim cook", "PER")}
    assert score_entities(ENTITIES, reply).strict


def test_entity_counts_and_f1_equal_hand_computed_values() -> None:
    score = score_entities(ENTITIES, "Tim Cook, PER; Ohio, LOC; Deluxe, Inc., LOC")
    assert not score.lenient and score.parsed
    assert {name: score.details[name] for name in ("true_positives", "predicted", "expected")} == {
        "true_positives": 1.0,
        "predicted": 3.0,
        "expected": 2.0,
    }
    assert score.details["f1"] == pytest.approx(2 / 5)
    assert (score.details["precision"], score.details["recall"]) == pytest.approx((1 / 3, 1 / 2))


def test_words_around_a_right_list_are_forgiven_leniently() -> None:
    score = score_entities(ENTITIES, f"The entities are\n{ENTITIES}\nThat is all.")
    assert (score.strict, score.lenient) == (False, True)


def test_without_entities_on_either_side_f1_is_undefined_and_none_is_right() -> None:
    score = score_entities("none", "None.")
    assert score.strict and score.parsed and math.isnan(score.details["f1"])
    silent = score_entities(ENTITIES, "I see a company.")
    assert (silent.lenient, silent.parsed, silent.details["f1"]) == (False, False, 0.0)
    assert math.isnan(silent.details["precision"])


@given(st.text(), st.text())
def test_no_reply_makes_the_entity_scorer_fail(gold: str, reply: str) -> None:
    score = score_entities(gold, reply)
    assert score.lenient or not score.strict
    assert score.details["true_positives"] <= min(score.details["predicted"], score.details["expected"])


@pytest.mark.parametrize("piece", ["(", ", ", " ", "a, ORG", ";", "-", "x"])
def test_long_replies_are_scored_in_time(piece: str) -> None:
    reply, start = piece * (50_000 // len(piece)), time.perf_counter()
    score_entities(ENTITIES, reply)
    score_span("PC graphics", reply)
    assert time.perf_counter() - start < 2.0
