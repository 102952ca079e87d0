"""Phrasings, examples and scores that all word tasks share, and what is special to each."""

from __future__ import annotations

import re
import string
from collections import Counter

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from graft import tasks
from graft.errors import ConfigError, DataError
from graft.tasks.position import ordinal
from graft.tasks.words.audit import audit_words
from graft.tasks.words.pool import Word, WordSets
from graft.tasks.words.split import package_sets
from graft.tasks.words.task import SEPARATORS, WordTask

NAMES = [name for name in tasks.names() if tasks.is_word_task(name)]
SETS = package_sets(600, 400, seed=0)


def _task(name: str, sets: WordSets = SETS) -> WordTask:
    task = tasks.load(name, sets)
    assert isinstance(task, WordTask)
    return task


def _fields(text: str) -> set[str]:
    return {field for _, field, _, _ in string.Formatter().parse(text) if field}


def _vocabulary(texts: list[str]) -> set[str]:
    return set(re.findall(r"[a-z]+", re.sub(r"\{\w+\}", " ", " ".join(texts)).lower()))


@pytest.mark.parametrize("name", NAMES)
def test_there_are_twelve_training_and_three_heldout_phrasings(name: str) -> None:
    assert len(_task(name).phrasings("train")) >= 12
    assert len(_task(name).phrasings("eval")) >= 3
    assert _task(name).phrasings("eval") == _task(name).phrasings("seen")


@pytest.mark.parametrize("name", NAMES)
def test_every_phrasing_has_its_placeholders_and_a_name_of_its_own(name: str) -> None:
    task = _task(name)
    all_phrasings = [*task.phrasings("train"), *task.phrasings("eval")]
    assert len({phrasing.name for phrasing in all_phrasings}) == len(all_phrasings)
    for phrasing in all_phrasings:
        fields = _fields(phrasing.text)
        if name == "unspell":
            assert fields == {"letters"}
            continue
        assert "word" in fields, phrasing
        if name in ("count", "contains"):
            assert "letter" in fields, phrasing
        if name == "position":
            assert len(fields & {"nth", "nth_word", "number", "place"}) == 1, phrasing
        if name in ("first", "last"):
            assert len(fields & {"which", "verb"}) >= 1, phrasing


@pytest.mark.parametrize("name", [name for name in NAMES if name != "unspell"])
def test_the_word_stands_bare_after_a_space_in_every_phrasing(name: str) -> None:
    for split in ("train", "eval"):
        for phrasing in _task(name).phrasings(split):
            assert re.search(r" \{word\}[ .,?:]", phrasing.text), phrasing


@pytest.mark.parametrize("name", NAMES)
def test_no_heldout_phrasing_is_trained_but_all_its_words_are(name: str) -> None:
    trained = [phrasing.text for phrasing in _task(name).phrasings("train")]
    held_out = [phrasing.text for phrasing in _task(name).phrasings("eval")]
    assert audit_words(["window"], ["lemon"], train_prompts=trained, eval_prompts=held_out).ok
    assert _vocabulary(held_out) <= _vocabulary(trained)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("split", ["train", "eval", "seen"])
def test_the_same_seed_gives_the_same_examples(name: str, split: tasks.Split) -> None:
    first = list(_task(name).examples(split, limit=100, seed=7))
    assert first == list(_task(name).examples(split, limit=100, seed=7))
    assert first != list(_task(name).examples(split, limit=100, seed=8))
    assert len({example.id for example in first}) == 100


@pytest.mark.parametrize("name", NAMES)
def test_splits_draw_from_their_words_and_phrasings(name: str) -> None:
    train, held_out = {word.text for word in SETS.train}, {word.text for word in SETS.eval}
    for split, words, prefix in (("train", train, "train"), ("eval", held_out, "heldout"), ("seen", train, "heldout")):
        examples = list(_task(name).examples(split, limit=None, seed=0))
        assert {example.cluster for example in examples} == words
        assert len(examples) == len(words)
        assert all(example.phrasing.startswith(prefix) and example.task == name for example in examples)
        assert set(examples[0].strata) >= {"length", "log_frequency", "repeated_letter", "pseudo"}


def test_training_goes_round_with_a_fresh_order_and_fresh_ids() -> None:
    examples = list(_task("spelling").examples("train", limit=1500, seed=0))
    first, second = examples[:600], examples[600:1200]
    assert {example.cluster for example in first} == {example.cluster for example in second}
    assert [example.cluster for example in first] != [example.cluster for example in second]
    assert [example.prompt for example in first] != [example.prompt for example in second]
    assert len({example.id for example in examples}) == 1500
    assert second[0].id.endswith("/pass-2")


def test_a_limit_of_nothing_and_a_limit_beyond_the_heldout_words() -> None:
    assert list(_task("length").examples("train", limit=0, seed=0)) == []
    assert len(list(_task("length").examples("eval", limit=10_000, seed=0))) == 400


@pytest.mark.parametrize("name", NAMES)
def test_a_split_without_words_says_so(name: str) -> None:
    with pytest.raises(DataError, match="no words"):
        list(_task(name, WordSets((), ())).examples("eval", limit=None, seed=0))


def test_spelling_uses_the_separator_it_asks_for_and_mostly_hyphens() -> None:
    examples = list(_task("spelling").examples("train", limit=None, seed=0))
    for example in examples:
        separator = str(example.strata["separator"])
        assert example.gold == SEPARATORS[separator].join(example.cluster)
        for other, name in (("spaces", "space"), ("commas", "comma")):
            assert (other in (example.prompt or "")) == (separator == name)
    assert Counter(example.strata["separator"] for example in examples)["hyphen"] >= len(examples) * 0.6
    assert [phrasing.form for phrasing in _task("spelling").phrasings("eval")].count("hyphen") == 2


@pytest.mark.parametrize("split", ["train", "eval"])
def test_position_counts_from_both_ends_and_reaches_every_place(split: tasks.Split) -> None:
    examples = list(_task("position").examples(split, limit=None, seed=0))
    for example in examples:
        index, back = int(example.strata["index"]), int(example.strata["index_from_end"])
        assert example.gold == example.cluster[index - 1] == example.cluster[-back]
        n = back if example.strata["from_end"] else index
        assert example.id.split("/")[2] == f"{'end' if example.strata['from_end'] else 'start'}-{n}"
    share = sum(bool(example.strata["from_end"]) for example in examples) / len(examples)
    assert 0.22 < share < 0.38
    relative = [(int(e.strata["index"]) - 0.5) / len(e.cluster) for e in examples]
    assert 0.45 < sum(relative) / len(relative) < 0.55


def test_last_but_one_is_the_letter_before_the_last() -> None:
    examples = _task("position").examples("train", limit=4000, seed=0)
    found = [example for example in examples if "last but one" in (example.prompt or "")]
    assert found
    assert all(example.gold == example.cluster[-2] for example in found)


@pytest.mark.parametrize(
    ("n", "text"),
    [(1, "1st"), (2, "2nd"), (3, "3rd"), (4, "4th"), (11, "11th"), (12, "12th"), (13, "13th"), (22, "22nd")],
)
def test_ordinals(n: int, text: str) -> None:
    assert ordinal(n) == text


@pytest.mark.parametrize("limit", [40, 200, 400])
def test_count_strata_are_balanced_in_evaluation(limit: int) -> None:
    examples = list(_task("count").examples("eval", limit=limit, seed=0))
    assert Counter(example.strata["true_count"] for example in examples) == dict.fromkeys(
        ("0", "1", "2", "3+"), limit // 4
    )


def test_two_thousand_count_items_are_balanced() -> None:
    examples = _task("count", package_sets(10, 2000, seed=3)).examples("eval", limit=2000, seed=0)
    assert Counter(example.strata["true_count"] for example in examples) == dict.fromkeys(("0", "1", "2", "3+"), 500)


def test_count_falls_back_evenly_when_the_words_have_no_high_counts() -> None:
    words = tuple(Word(text) for text in ("word", "lamp", "fish", "bird", "milk", "corn"))
    examples = list(_task("count", WordSets((), words)).examples("eval", limit=6, seed=0))
    assert Counter(example.strata["true_count"] for example in examples) == {"0": 3, "1": 3}


def test_count_golds_are_the_number_of_occurrences() -> None:
    for example in _task("count").examples("train", limit=None, seed=0):
        count = example.cluster.count(str(example.strata["letter"]))
        assert example.gold == str(count)
        assert example.strata["true_count"] == ("3+" if count >= 3 else str(count))


def test_the_other_golds_are_what_the_word_says() -> None:
    for example in _task("length").examples("eval", limit=50, seed=0):
        assert example.gold == str(len(example.cluster))
    for example in _task("first").examples("eval", limit=50, seed=0):
        assert example.gold == example.cluster[0]
    for example in _task("last").examples("eval", limit=50, seed=0):
        assert example.gold == example.cluster[-1]
    for example in _task("contains").examples("eval", limit=50, seed=0):
        assert (example.gold == "yes") == (str(example.strata["letter"]) in example.cluster)
    for name in ("echo", "unspell"):
        for example in _task(name).examples("eval", limit=50, seed=0):
            assert example.gold == example.cluster


def test_contains_is_balanced() -> None:
    golds = Counter(example.gold for example in _task("contains").examples("eval", limit=None, seed=0))
    assert abs(golds["yes"] - golds["no"]) < 80


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(text=st.from_regex(r"[a-z]{2,16}", fullmatch=True), seed=st.integers(0, 1000), name=st.sampled_from(NAMES))
def test_the_gold_answer_is_strictly_right_for_any_word(text: str, seed: int, name: str) -> None:
    task = _task(name, WordSets((Word(text),), (Word(text),)))
    for split in ("train", "eval"):
        for example in task.examples(split, limit=3, seed=seed):
            score = task.score(example, f" {example.gold}\n")
            assert score.strict and score.lenient and score.parsed
            assert task.parse(example, example.gold) == task.target(example) == score.answer
            assert not task.score(example, f"?{example.gold}?").strict
            assert not task.score(example, "").parsed


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(reply=st.text(max_size=60), name=st.sampled_from(NAMES))
def test_no_reply_breaks_a_scorer(reply: str, name: str) -> None:
    task = _task(name)
    example = next(task.examples("eval", limit=1, seed=0))
    score = task.score(example, reply)
    assert score.parsed == (score.answer is not None)
    assert score.lenient or not score.strict


def test_the_registry_knows_its_tasks_and_suggests_the_nearest() -> None:
    assert set(tasks.names()) >= {*NAMES, "prose", "imdb", "glue/cola", "gsm8k"}
    assert [tasks.card(name).name for name in tasks.names()] == list(tasks.names())
    with pytest.raises(ConfigError, match=r"Did you mean 'spelling'\?"):
        tasks.load("speling", SETS)
    with pytest.raises(ConfigError, match="needs words"):
        tasks.load("spelling")
