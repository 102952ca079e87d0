from __future__ import annotations

import math
from dataclasses import replace

import pytest
from tests.conftest import toy_model
from transformers import PreTrainedTokenizerBase

from graft import tasks
from graft.evals import scoring
from graft.evals.items import Items, prepare_items
from graft.evals.scoring import disagreement, score_items, summarise
from graft.models.backends.transformers import TransformersBackend
from graft.tasks.words.split import package_sets
from graft.types import Example, Prompt, Sampling, Score, TokenRow

FOUR = Sampling(max_new_tokens=4)


def toy(tokenizer: PreTrainedTokenizerBase) -> TransformersBackend:
    return TransformersBackend(toy_model(), tokenizer, batch_size=8)


@pytest.fixture(scope="module")
def items(tokenizer: PreTrainedTokenizerBase) -> Items:
    """Twenty count items; for every third one the gold answer is whatever the toy model would write."""
    task = tasks.load("count", package_sets(train=50, eval=20, seed=0))
    found = prepare_items(tokenizer, task, "eval", list(task.examples("eval", limit=20, seed=0)), max_length=200)
    replies = toy(tokenizer).generate([Prompt((), r.prompt) for r in found.rows], FOUR)
    rows, examples = list(found.rows), list(found.examples)
    for index in range(0, 20, 3):
        rows[index] = TokenRow(rows[index].prompt, replies[index].token_ids)
        examples[index] = replace(examples[index], gold=replies[index].text)
    return replace(found, rows=tuple(rows), examples=tuple(examples))


def test_replies_are_those_of_generating_every_item(
    items: Items, tokenizer: PreTrainedTokenizerBase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scoring, "CHECKED", 2)
    records = score_items(toy(tokenizer), items, FOUR)
    whole = toy(tokenizer).generate([Prompt((), r.prompt) for r in items.rows], FOUR)
    assert [record["reply"] for record in records] == [reply.text for reply in whole]
    assert [record["reply_ids"] for record in records] == [list(reply.token_ids) for reply in whole]
    known = [index for index, record in enumerate(records) if not record["generated"]]
    assert known == [3, 6, 12, 15, 18]  # of the seven that one pass calls right, two are generated as a check


def test_every_item_is_counted_once_in_the_progress(items: Items, tokenizer: PreTrainedTokenizerBase) -> None:
    counted: list[int] = []
    score_items(toy(tokenizer), items, Sampling(max_new_tokens=2), on_batch=counted.append)
    assert sum(counted) == 20


def test_the_summary_averages_what_the_records_hold(items: Items, tokenizer: PreTrainedTokenizerBase) -> None:
    records = score_items(toy(tokenizer), items, FOUR)
    summary = summarise(records)
    assert summary["n"] == 20
    assert summary["exact"] == pytest.approx(7 / 20)
    assert summary["agreement"] == 1.0
    assert set(summary["phrasings"]) == {record["phrasing"] for record in records}


def test_an_end_that_the_rows_do_not_have_is_a_disagreement(tokenizer: PreTrainedTokenizerBase) -> None:
    """The model ends its turns with another token than its rows do: it answers rightly, and one pass never says so."""
    task = tasks.load("count", package_sets(train=50, eval=20, seed=0))
    found = prepare_items(tokenizer, task, "eval", list(task.examples("eval", limit=20, seed=0)), max_length=200)
    records = score_items(toy(tokenizer), found, FOUR)
    assert disagreement(records) == 0.0
    for record in records[:5]:
        record |= {"reply": record["gold"], "reply_ids": [*record["gold_ids"][:-1], 7], "finished": True}
    assert disagreement(records) == pytest.approx(0.25)


def test_items_called_right_are_checked_by_a_sample_that_stands_for_all_of_them() -> None:
    def record(exact: bool, generated: bool, right: bool) -> dict[str, object]:
        reply = "3" if right else "4"
        return {"exact": exact, "generated": generated, "gold": "3", "reply": reply, "reply_ids": [], "finished": True}

    believed = [record(True, False, True)] * 60
    checked = [record(True, True, True)] * 15 + [record(True, True, False)] * 5
    wrong = [record(False, True, False)] * 19 + [record(False, True, True)]
    assert disagreement([*believed, *checked, *wrong]) == pytest.approx((80 * 5 / 20 + 1) / 100)
    assert math.isnan(disagreement([record | {"exact_from": "strict reply"} for record in wrong]))


def test_a_record_holds_all_that_its_reply_is_judged_again_by(items: Items, tokenizer: PreTrainedTokenizerBase) -> None:
    for record in score_items(toy(tokenizer), items, FOUR):
        assert record["scorer"] == items.task.scorer
        example = Example(
            record["id"], record["task"], record["prompt"], record["gold"], record["word"], strata=record["strata"],
            options=tuple(record.get("options", ())),
        )  # fmt: skip
        again = items.task.verdict(example, record["reply"])
        assert (again.lenient, again.parsed, again.answer) == (record["lenient"], record["parsed"], record["answer"])


def test_drawn_replies_are_not_compared_with_the_greedy_one(items: Items, tokenizer: PreTrainedTokenizerBase) -> None:
    records = score_items(toy(tokenizer), items, Sampling(temperature=2.0, max_new_tokens=4))
    assert math.isnan(disagreement(records)) and math.isnan(summarise(records)["agreement"])


def test_a_scorer_that_fails_leaves_one_reply_undefined(
    items: Items, tokenizer: PreTrainedTokenizerBase, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = items.examples[1].id
    score = type(items.task).score

    def fails(self: object, example: Example, reply: str) -> Score:
        return Score(False, False, int("9" * 5000) > 0) if example.id == first else score(items.task, example, reply)

    monkeypatch.setattr(type(items.task), "score", fails)
    records = score_items(toy(tokenizer), items, FOUR)
    assert [place for place, record in enumerate(records) if "undefined" in record] == [1]
    assert "ValueError" in records[1]["undefined"]
    assert summarise(records)["n"] == 19


def test_agreement_is_undefined_when_nothing_was_generated() -> None:
    record = {
        "phrasing": "heldout-1", "exact": True, "right": True, "strict": True, "lenient": True, "parsed": True,
        "finished": True, "generated": False, "reply_ids": [1], "details": {"absolute_error": math.nan},
    }  # fmt: skip
    summary = summarise([record])
    assert math.isnan(summary["agreement"])
    assert summary["details"] == {}
