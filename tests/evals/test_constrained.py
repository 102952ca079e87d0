"""The likeliest answer of a closed set, held against reading every answer in a row of its own."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from tests.conftest import toy_model
from transformers import PreTrainedTokenizerBase

from graft import tasks
from graft.data.tokens import encode
from graft.evals.constrained import going_on, questions
from graft.evals.items import Items, prepare_items
from graft.evals.scoring import score_items, summarise
from graft.models.backends.transformers import TransformersBackend
from graft.tasks.words.pool import Word, WordSets
from graft.tasks.words.split import package_sets
from graft.tasks.words.task import ALPHABET
from graft.types import Sampling

TWO = Sampling(max_new_tokens=2)
SETS = package_sets(train=50, eval=24, seed=0)


def items_of(tokenizer: PreTrainedTokenizerBase, name: str, words: WordSets = SETS) -> Items:
    task = tasks.load(name, words)
    return prepare_items(tokenizer, task, "eval", list(task.examples("eval", limit=24, seed=0)), max_length=200)


def log_probability(model: torch.nn.Module, prompt: tuple[int, ...], answer: tuple[int, ...]) -> float:
    """Of an answer after its prompt, by the model's own forward pass on that row alone."""
    with torch.inference_mode():
        logits = model(input_ids=torch.tensor([prompt + answer])).logits[0].log_softmax(-1)
    return sum(float(logits[len(prompt) - 1 + place, token]) for place, token in enumerate(answer))


def ids_of(tokenizer: PreTrainedTokenizerBase, items: Items, index: int, text: str) -> tuple[int, ...]:
    found = encode(tokenizer, [replace(items.examples[index], gold=text)], max_length=300)
    return found.rows[0].completion[:-1]


@pytest.mark.parametrize(
    ("name", "answers"),
    [("position", tuple(ALPHABET)), ("first", tuple(ALPHABET)), ("last", tuple(ALPHABET)), ("contains", ("yes", "no"))],
)
@pytest.mark.parametrize("architecture", ["qwen3", "gpt2"])
def test_the_likeliest_answer_is_that_of_rows_read_one_by_one(
    tokenizer: PreTrainedTokenizerBase, name: str, answers: tuple[str, ...], architecture: str
) -> None:
    items, model = items_of(tokenizer, name), toy_model(architecture)
    records = score_items(TransformersBackend(model, tokenizer, batch_size=7), items, TWO)
    for index, record in enumerate(records):
        scores = [
            log_probability(model, items.rows[index].prompt, ids_of(tokenizer, items, index, answer))
            for answer in answers
        ]
        weights = [math.exp(score) for score in scores]
        gold = answers.index(items.examples[index].gold)
        assert record["constrained_answer"] == answers[scores.index(max(scores))]
        assert record["constrained"] == (record["constrained_answer"] == record["gold"])
        assert record["constrained_gold"] == pytest.approx(weights[gold] / sum(weights), abs=1e-4)


@pytest.mark.parametrize("name", ["count", "length"])
def test_a_number_that_begins_a_longer_one_does_not_count_what_goes_on(
    tokenizer: PreTrainedTokenizerBase, name: str
) -> None:
    words = WordSets((Word("straw"),), tuple(Word(w) for w in ("strawberries", "blackboard", "sun", "constellation")))
    items, model = items_of(tokenizer, name, words), toy_model()
    records = score_items(TransformersBackend(model, tokenizer, batch_size=3), items, TWO)
    for index, record in enumerate(records):
        prompt, size = items.rows[index].prompt, 30 if name == "length" else len(items.examples[index].cluster)
        ids = {str(n): ids_of(tokenizer, items, index, str(n)) for n in range(size + 1)}
        chance = {text: math.exp(log_probability(model, prompt, tokens)) for text, tokens in ids.items()}
        for short in [text for text in chance if len(text) == 1]:
            chance[short] -= sum(chance[text] for text in ids if len(text) > 1 and text[0] == short)
        assert record["constrained_answer"] == max(chance, key=chance.__getitem__)
        assert record["constrained_gold"] == pytest.approx(chance[record["gold"]] / sum(chance.values()), abs=1e-4)


def test_answers_go_on_by_one_token_towards_the_longer_ones() -> None:
    assert going_on(((1,), (1, 0), (1, 1), (2,), (2, 3, 4))) == ((1, 0), (1, 1), (2, 3))
    assert going_on(((1,), (2,))) == ()


def test_the_numbers_that_length_compares_do_not_tell_the_answer(tokenizer: PreTrainedTokenizerBase) -> None:
    items = items_of(tokenizer, "length")
    assert len({items.task.answers(example) for example in items.examples}) == 1


def test_a_spelled_word_scores_the_share_of_letters_given_the_right_ones_before(
    tokenizer: PreTrainedTokenizerBase,
) -> None:
    items, model = items_of(tokenizer, "spelling"), toy_model()
    records = score_items(TransformersBackend(model, tokenizer, batch_size=5), items, TWO)
    assert {record["strata"]["separator"] for record in records} >= {"hyphen", "space"}
    for index, record in enumerate(records):
        example = items.examples[index]
        chosen = []
        for place in items.task.letter_places(example):
            rows = {letter: ids_of(tokenizer, items, index, example.gold[:place] + letter) for letter in ALPHABET}
            scores = {letter: log_probability(model, items.rows[index].prompt, ids) for letter, ids in rows.items()}
            chosen.append(max(scores, key=scores.__getitem__))
        assert record["constrained_answer"] == "".join(chosen)
        right = [letter == gold for letter, gold in zip(chosen, example.cluster, strict=True)]
        assert record["constrained"] == pytest.approx(sum(right) / len(right))
    assert summarise(records)["constrained"] == pytest.approx(sum(r["constrained"] for r in records) / len(records))


def test_constrained_scores_do_not_depend_on_the_batch(tokenizer: PreTrainedTokenizerBase) -> None:
    for name in ("position", "length", "spelling"):
        items = items_of(tokenizer, name)
        one, many = (
            score_items(TransformersBackend(toy_model(), tokenizer, batch_size=size), items, TWO) for size in (1, 24)
        )
        for first, second in pairwise((one, many)):
            assert [r["constrained_answer"] for r in first] == [r["constrained_answer"] for r in second]


def test_open_answers_have_no_constrained_score(tokenizer: PreTrainedTokenizerBase) -> None:
    items = items_of(tokenizer, "echo")
    assert set(questions(tokenizer, items)) == {None}
    records = score_items(TransformersBackend(toy_model(), tokenizer, batch_size=8), items, TWO)
    assert not any("constrained" in record for record in records)
    assert "constrained" not in summarise(records)


def test_a_base_that_answers_in_sentences_is_right_where_it_would_be(tokenizer: PreTrainedTokenizerBase) -> None:
    """The form of its replies hides what it knows: exact match is 0%, the constrained score is not."""
    items = items_of(tokenizer, "position")
    backend = TransformersBackend(toy_model(), tokenizer, batch_size=8)
    found = [record["constrained_answer"] for record in score_items(backend, items, TWO)]
    examples = tuple(replace(example, gold=letter) for example, letter in zip(items.examples, found, strict=True))
    rows = encode(tokenizer, list(examples), max_length=200).rows
    records = score_items(backend, replace(items, examples=examples, rows=rows), TWO)
    assert summarise(records)["constrained"] == 1.0
    assert summarise(records)["exact"] == summarise(records)["strict"] == 0.0
