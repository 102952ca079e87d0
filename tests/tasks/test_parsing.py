"""Adversarial replies: what a model may write, and the answer that a fair reader would find in it."""

from __future__ import annotations

import math

import pytest

from graft.tasks.count import CountTask
from graft.tasks.ends import FirstTask, LastTask
from graft.tasks.length import LengthTask
from graft.tasks.position import PositionTask
from graft.tasks.spelling import SpellingTask
from graft.tasks.words.parsing import parse_letter, parse_letters, parse_number, parse_word, parse_yes_no
from graft.tasks.words.pool import WordSets
from graft.types import Example

NO_WORDS = WordSets((), ())

SPELLING = [
    ("s-t-r-a-w", "straw"),
    ("  s-t-r-a-w \n", "straw"),
    ("S-T-R-A-W", "straw"),
    ("s – t – r – a – w", "straw"),
    ("s—t—r—a—w", "straw"),
    ("s‑t‑r‑a‑w", "straw"),
    ("s - t - r - a - w", "straw"),
    ("s t r a w", "straw"),
    ("s, t, r, a, w", "straw"),
    ("s, t, r, a and w", "straw"),
    ("s, t, r, a, and w.", "straw"),
    ("S. T. R. A. W.", "straw"),
    ("s\nt\nr\na\nw", "straw"),
    ("- s\n- t\n- r\n- a\n- w", "straw"),
    ("* s\n* t\n* r\n* a\n* w", "straw"),
    ("1. s\n2. t\n3. r\n4. a\n5. w", "straw"),
    ("straw: s-t-r-a-w", "straw"),
    ("The word straw is spelled s-t-r-a-w.", "straw"),
    ("**s-t-r-a-w**", "straw"),
    ("`s-t-r-a-w`", "straw"),
    ("“s-t-r-a-w”", "straw"),
    ("'s', 't', 'r', 'a', 'w'", "straw"),
    ("<think>s-t-o-p</think>s-t-r-a-w", "straw"),
    ("s-t-o-p</think>\n\ns-t-r-a-w", "straw"),
    ("<think>s-t-r-a-w", None),
    ("ｓ－ｔ－ｒ－ａ－ｗ", "straw"),
    ("Here is a s-t-r-a-w", "straw"),
    ("s-t-r-a-w or s-t-r-o-w", None),
    ("s-t-r-a-w (s t r a w)", "straw"),
    ("s → t → r → a → w", "straw"),
    ("\\boxed{s-t-r-a-w}", "straw"),
    ("straw", None),
    ("", None),
    ("I do not know.", None),
    ("-----", None),
    ("s-t-r-a-w-w", "straww"),
]

LETTER = [
    ("r", "r"),
    ("R", "r"),
    ("r.", "r"),
    ("'r'", "r"),
    ('"R"', "r"),
    ("“r”", "r"),
    ("**r**", "r"),
    ("`r`", "r"),
    ("(r)", "r"),
    ("The 3rd letter is r", "r"),
    ("The 3rd letter of strawberry is **r**.", "r"),
    ('The 3rd letter of "strawberry" is "r".', "r"),
    ("The third letter is the letter R.", "r"),
    ("It's r", "r"),
    ("I think it is r.", "r"),
    ("I'd say r", "r"),
    ("Answer: r", "r"),
    ("s is first, but the answer is r", "r"),
    ("\\boxed{r}", "r"),
    ("\\boxed{\\text{r}}", "r"),
    ("<think>is it t?</think>r", "r"),
    ("<think>is it t?</think>\n\nThe letter is r.", "r"),
    ("<think>r", None),
    ("ｒ", "r"),
    ("s-t-r-a-w: the 3rd letter is r", "r"),
    ("The 1st letter is s, the 2nd letter is t, the 3rd letter is r.", "r"),
    ("r is the 3rd letter of strawberry", "r"),
    ("letter r", "r"),
    ("The letter at position 3 is r.", "r"),
    ("Sure! The 3rd letter is: r", "r"),
    ("**Answer:** r", "r"),
    ('It is the letter "r" as in "red".', "r"),
    ("The third letter is **r**.\n\nExplanation: s-t-r-a-w", "r"),
    ("Let me spell it: s, t, r. So it's r.", "r"),
    ("The 3rd letter isn't clear", None),
    ("r or s", None),
    ("The letter is r or s", None),
    ("'r' and 's'", None),
    ("r/s", None),
    ("r, s", None),
    ("s t r", None),
    ("The 3rd letter", None),
    ("The 3rd letter of strawberry is", None),
    ("3", None),
    ("3rd", None),
    ("strawberry", None),
    ("It is a vowel", None),
    ("I don't know.", None),
    ("It is a", "a"),
    ("a", "a"),
    ("The 3rd letter is a.", "a"),
    ("é", None),
    ("", None),
]

NUMBER = [
    ("3", 3),
    (" 3\n", 3),
    ("3.", 3),
    ("**3**", 3),
    ("'3'", 3),
    ("３", 3),
    ("03", 3),
    ("three", 3),
    ("Three.", 3),
    ("twice", 2),
    ("once", 1),
    ("none", 0),
    ("zero", 0),
    ("There are 3 r's in strawberry.", 3),
    ("there are 3 r’s in strawberry", 3),
    ("There are three rs in strawberry.", 3),
    ("The letter r appears 3 times.", 3),
    ("r appears twice in it", 2),
    ("The letter r occurs 3 times, at positions 3, 8 and 9.", 3),
    ("3 of 10", 3),
    ("The word 'strawberry' contains 3 instances of the letter 'r'.", 3),
    ("r appears in strawberry 3 times: s-t-r-a-w-b-e-r-r-y", 3),
    ("**Answer:** 3", 3),
    ("There is one r.", 1),
    ("3 out of 10", 3),
    ("3/10", 3),
    ("There are three (3) r's.", 3),
    ("1 + 1 + 1 = 3", 3),
    ("The answer is 3", 3),
    ("I first thought 2, but the answer is 3.", 3),
    ("Strawberry has 10 letters, and 3 of them are r.", 3),
    ("There are no r's in banana.", 0),
    ("The letter r does not appear in banana.", 0),
    ("banana doesn't contain r", 0),
    ("\\boxed{3}", 3),
    ("<think>2</think>3", 3),
    ("<think>there are 3", None),
    ("2 or 3", None),
    ("There are 2 or 3 r's", None),
    ("2-3", None),
    ("2, 3", None),
    ("The 3rd letter", None),
    ("1st and 2nd", None),
    ("3.5", None),
    ("many", None),
    ("r", None),
    ("", None),
]

YES_NO = [
    ("yes", "yes"),
    ("Yes.", "yes"),
    ("**Yes**", "yes"),
    ("'yes'", "yes"),
    ("YES!", "yes"),
    ("no", "no"),
    ("No, it does not.", "no"),
    ("Nope", "no"),
    ("Yes, strawberry contains the letter r.", "yes"),
    ("Yes, there is no doubt.", "yes"),
    ("The answer is yes.", "yes"),
    ("The answer is no", "no"),
    ("Yes or no: no", "no"),
    ("Strawberry contains the letter r.", "yes"),
    ("Strawberry does not contain the letter z.", "no"),
    ("It doesn't have it", "no"),
    ("True", "yes"),
    ("False.", "no"),
    ("<think>no</think>yes", "yes"),
    ("<think>yes", None),
    ("ｙｅｓ", "yes"),
    ("yes and no", None),
    ("yes or no", None),
    ("maybe", None),
    ("r", None),
    ("strawberry", None),
    ("", None),
]

WORD = [
    ("straw", "straw"),
    ("Straw", "straw"),
    ("STRAW", "straw"),
    ("straw.", "straw"),
    ("'straw'", "straw"),
    ("“straw”", "straw"),
    ("**straw**", "straw"),
    ("`straw`", "straw"),
    ("  straw\n", "straw"),
    ("ｓｔｒａｗ", "straw"),
    ("The word is straw.", "straw"),
    ('The word is "straw".', "straw"),
    ("It is straw", "straw"),
    ("It spells straw", "straw"),
    ("It's straw", "straw"),
    ("s-t-r-a-w spells straw.", "straw"),
    ("straw (s-t-r-a-w)", "straw"),
    ("s-t-r-a-w: straw", "straw"),
    ("Answer: straw", "straw"),
    ("s-t-r-a-w -> straw", "straw"),
    ("\\boxed{straw}", "straw"),
    ("<think>star</think>straw", "straw"),
    ("<think>straw", None),
    ("straw or star", None),
    ("'straw' or 'star'", None),
    ("s-t-r-a-w", None),
    ("", None),
    ("123", None),
]


@pytest.mark.parametrize(("reply", "answer"), SPELLING)
def test_letters_are_read_from_any_kind_of_spelling(reply: str, answer: str | None) -> None:
    assert parse_letters(reply) == answer


@pytest.mark.parametrize(("reply", "answer"), LETTER)
def test_a_letter_is_read_from_a_sentence_but_never_from_the_echoed_question(reply: str, answer: str | None) -> None:
    assert parse_letter(reply, ("3rd", "third")) == answer


@pytest.mark.parametrize(("reply", "answer"), NUMBER)
def test_a_number_is_read_from_words_digits_and_sentences(reply: str, answer: int | None) -> None:
    assert parse_number(reply, ignore_length=True) == (None if answer is None else str(answer))


@pytest.mark.parametrize(("reply", "answer"), YES_NO)
def test_yes_and_no_are_read_from_statements(reply: str, answer: str | None) -> None:
    assert parse_yes_no(reply) == answer


@pytest.mark.parametrize(("reply", "answer"), WORD)
def test_a_word_is_read_beside_its_spelling(reply: str, answer: str | None) -> None:
    assert parse_word(reply) == answer


@pytest.mark.parametrize("table", [SPELLING, LETTER, NUMBER, YES_NO, WORD])
def test_every_table_has_25_replies_and_both_outcomes(table: list[tuple[str, object]]) -> None:
    assert len({reply for reply, _ in table}) == len(table) >= 25
    assert {answer is None for _, answer in table} == {True, False}


def test_the_length_of_the_word_is_an_answer_when_the_length_is_asked() -> None:
    assert parse_number("Strawberry has 10 letters.") == "10"
    assert parse_number("10 letters", ignore_length=True) == "10"


def _spelling(gold: str = "s-t-r-a-w") -> Example:
    return Example("spelling/straw", "spelling", "Spell straw.", gold, "straw", strata={"separator": "hyphen"})


@pytest.mark.parametrize(
    ("reply", "strict", "lenient", "parsed", "cer", "first_error"),
    [
        ("s-t-r-a-w", True, True, True, 0.0, None),
        ("s t r a w", False, True, True, 0.0, None),
        ("s-t-r-o-w", False, False, True, 0.2, 3),
        ("s-t-r-a", False, False, True, 0.2, 4),
        ("s-t-r-a-w-s", False, False, True, 0.2, 5),
        ("x-s-t-r-a-w-x-x-x-x-x", False, False, True, 1.2, 0),
        ("straw", False, False, False, 1.0, 0),
        ("", False, False, False, 1.0, 0),
    ],
)
def test_spelling_scores_say_how_far_off_a_reply_is(
    reply: str, strict: bool, lenient: bool, parsed: bool, cer: float, first_error: int | None
) -> None:
    score = SpellingTask(NO_WORDS).score(_spelling(), reply)
    assert (score.strict, score.lenient, score.parsed) == (strict, lenient, parsed)
    assert score.details["cer"] == pytest.approx(cer)
    if first_error is None:
        assert math.isnan(score.details["first_error"])
    else:
        assert score.details["first_error"] == first_error


def test_another_separator_than_the_asked_one_is_lenient_only() -> None:
    example = Example("x", "spelling", "Spell straw with spaces.", "s t r a w", "straw", strata={"separator": "space"})
    hyphens = SpellingTask(NO_WORDS).score(example, "s-t-r-a-w")
    assert (hyphens.strict, hyphens.lenient) == (False, True)
    assert SpellingTask(NO_WORDS).score(example, "s t r a w").strict


def test_a_position_scorer_knows_which_place_was_asked() -> None:
    strata = {"index": 8, "index_from_end": 3, "from_end": True}
    example = Example("x", "position", "…", "r", "strawberry", strata=strata)
    task = PositionTask(NO_WORDS)
    reply = "The 1st letter from the end is y; the 3rd letter from the end is r."
    assert task.score(example, reply).lenient
    assert task.score(example, "t").details["same_letter_in_word"] == 1.0
    assert task.score(example, "z").details["same_letter_in_word"] == 0.0
    assert math.isnan(task.score(example, "strawberry").details["same_letter_in_word"])


def test_numbers_carry_their_distance_and_nothing_has_none() -> None:
    example = Example("x", "count", "…", "3", "strawberry")
    for task in (CountTask(NO_WORDS), LengthTask(NO_WORDS)):
        assert task.score(example, "It is 1").details["absolute_error"] == 2.0
        assert task.score(example, "3").details["absolute_error"] == 0.0
        assert math.isnan(task.score(example, "no idea").details["absolute_error"])


def test_the_ends_tasks_read_sentences_about_their_own_end() -> None:
    both = "The first letter is s and the last letter is y."
    first = Example("x", "first", "…", "s", "strawberry")
    last = Example("x", "last", "…", "y", "strawberry")
    assert FirstTask(NO_WORDS).score(first, both).answer == "s"
    assert LastTask(NO_WORDS).score(last, both).answer == "y"
