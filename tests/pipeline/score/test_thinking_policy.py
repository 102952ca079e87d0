"""The thinking policy through the whole pipeline, on a model that thinks: a backend that writes what it is told."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from transformers import PreTrainedTokenizerBase

from graft import tasks
from graft.config.loading import Resolved
from graft.data.chat import ChatPolicy
from graft.errors import ThinkingPolicyError
from graft.evals.items import Items, prepare_items
from graft.evals.thinking import score_with_thinking, summarise_thinking
from graft.models.backends.base import no_progress
from graft.models.sampling import PRESETS
from graft.pipeline.branches import Branch
from graft.pipeline.prepare.thinking import thinking_sampling, ways
from graft.pipeline.progress import SilentProgress
from graft.pipeline.run import run
from graft.report.load import load
from graft.report.measures import scoring_table
from graft.tasks.words.split import package_sets
from graft.types import Completion, Delta, Prompt, Sampling, Usage

DRAWN = PRESETS["qwen3-thinking"]


class Scripted:
    """Writes, for the s-th sample of the i-th item, what a function says; it keeps what it was asked."""

    local = True
    usage = Usage()

    def __init__(self, script: Callable[[int, int], Completion]) -> None:
        self.script = script
        self.asked: list[tuple[Sequence[Prompt], Sampling]] = []

    def generate(
        self, prompts: Sequence[Prompt], sampling: Sampling, *, on_done: Callable[[int], None] = no_progress
    ) -> list[Completion]:
        self.asked.append((prompts, sampling))
        on_done(len(prompts))
        return [self.script(index, len(self.asked) - 1) for index in range(len(prompts))]

    def stream(self, prompt: Prompt, sampling: Sampling) -> Iterator[Delta]:
        raise NotImplementedError

    def close(self) -> None: ...


@pytest.fixture(scope="module")
def items(tokenizer: PreTrainedTokenizerBase) -> Items:
    task = tasks.load("count", package_sets(train=50, eval=20, seed=0))
    examples = list(task.examples("eval", limit=4, seed=0))
    return prepare_items(tokenizer, task, "eval", examples, max_length=200, policy=ChatPolicy("on"), think=True)


def reply(text: str, *, finished: bool = True) -> Completion:
    return Completion(text, (1, 2, 3), finished, Usage(5, 3))


def test_most_replies_decide_an_item_and_every_reply_is_kept(items: Items, tokenizer: PreTrainedTokenizerBase) -> None:
    def script(index: int, sample: int) -> Completion:
        right = sample < (3, 2, 1, 0)[index]
        return reply(f"<think>\nOne by one.\n</think>\n\n{items.examples[index].gold if right else 'banana'}")

    backend = Scripted(script)
    counted: list[int] = []
    records = score_with_thinking(backend, tokenizer, items, DRAWN, samples=3, on_done=counted.append)
    assert [record["exact"] for record in records] == [True, True, False, False]
    assert [sum(s["strict"] for s in record["samples"]) for record in records] == [3, 2, 1, 0]
    assert sum(counted) == 4
    shown = [record["reply"] == example.gold for record, example in zip(records, items.examples, strict=True)]
    assert shown == [True, True, False, False]
    summary = summarise_thinking(records, DRAWN)
    assert (summary["exact"], summary["strict"]) == (0.5, 0.5)
    assert summary["thinking"]["think_tokens"] == len(tokenizer.encode("One by one.", add_special_tokens=False))
    assert math.isnan(summary["agreement"])
    json.dumps(records)


def test_each_sample_is_drawn_with_its_own_seed_and_asked_to_think(
    items: Items, tokenizer: PreTrainedTokenizerBase
) -> None:
    backend = Scripted(lambda index, sample: reply("<think>\n</think>\n\n1"))
    score_with_thinking(backend, tokenizer, items, replace(DRAWN, seed=7), samples=3)
    assert [sampling.seed for _, sampling in backend.asked] == [7, 8, 9]
    for prompt in backend.asked[0][0]:
        assert tokenizer.decode(list(prompt.ids)).endswith("<|im_start|>assistant\n")


def test_unclosed_thinking_and_cut_replies_are_counted_and_never_right(
    items: Items, tokenizer: PreTrainedTokenizerBase
) -> None:
    def script(index: int, sample: int) -> Completion:
        gold = items.examples[index].gold
        kinds = {0: reply(f"<think>\nIt is {gold}", finished=False), 1: reply(f"<think>\nIt is {gold}")}
        return kinds.get(index, reply(f"<think>\nhm\n</think>\n\n{gold}", finished=index == 3))

    records = score_with_thinking(Scripted(script), tokenizer, items, DRAWN, samples=3)
    facts = summarise_thinking(records, DRAWN)["thinking"]
    assert (facts["unclosed"], facts["truncated"], facts["samples"]) == (0.5, 0.5, 3)
    assert [record["strict"] for record in records] == [False, False, False, True]
    assert [record["parsed"] for record in records] == [False, False, True, True]


def test_thinking_is_never_greedy(items: Items, tokenizer: PreTrainedTokenizerBase) -> None:
    with pytest.raises(ThinkingPolicyError, match="generated greedily"):
        score_with_thinking(Scripted(lambda i, s: reply("1")), tokenizer, items, Sampling(), samples=3)


def test_a_greedy_recipe_thinks_by_qwens_advice_and_a_sampling_one_as_it_says(
    small_recipe: Callable[..., Resolved], tmp_path: Path
) -> None:
    greedy = small_recipe(tmp_path, thinking="on", eval__thinking_max_new_tokens=99, sampling__seed=5).recipe
    assert thinking_sampling(greedy) == replace(DRAWN, max_new_tokens=99, seed=5)
    warm = small_recipe(tmp_path, thinking="on", sampling__temperature=0.9).recipe
    assert thinking_sampling(warm).temperature == 0.9


def test_compare_scores_every_branch_both_ways_and_judges_the_one_without(
    small_recipe: Callable[..., Resolved], tmp_path: Path
) -> None:
    branch = Branch("trained", 0)
    scored = {way.label: thinks for way, thinks in ways(small_recipe(tmp_path, thinking="compare").recipe, branch)}
    assert scored == {"trained-seed0": False, "trained-thinking-seed0": True}
    assert list(ways(small_recipe(tmp_path, thinking="on").recipe, branch)) == [(branch, True)]
    assert list(ways(small_recipe(tmp_path).recipe, branch)) == [(branch, False)]


def test_a_run_that_compares_reports_both_ways(small_recipe: Callable[..., Resolved], tmp_path: Path) -> None:
    resolved = small_recipe(
        tmp_path,
        thinking="compare",
        study__arms=["base"],
        eval__tasks=["count"],
        eval__items=12,
        eval__seen_items=0,
        eval__thinking_max_new_tokens=5,
    )
    outcome = run(resolved, progress=SilentProgress())
    rows: dict[str, Any] = {
        row["arm"]: row for row in json.loads((outcome.run.path / "results.json").read_text())["rows"]
    }
    assert set(rows) == {"base", "base-thinking"}
    assert "thinking" not in rows["base"]
    facts = rows["base-thinking"]["thinking"]
    assert facts["truncated"] > 0  # a random model does not end within five tokens
    assert facts["sampling"]["temperature"] == 0.6
    summary = json.loads((outcome.run.path / "summary.json").read_text())
    assert "base-thinking/count/think_tokens" in summary["metrics"]
    table = scoring_table(load(outcome.run))
    cells = {row[1].text: dict(zip(table.columns, row, strict=True)) for row in table.rows}
    assert cells["Base (thinking)"]["Replies an item"].text == "3"
    assert cells["Base"]["Think tokens"].note == "this arm answered without thinking"
    assert "temperature 0.6" in table.caption
    assert "Base (thinking)" in (outcome.run.path / "report.html").read_text(encoding="utf-8")


def test_a_trained_folder_gives_other_tools_the_prompt_without_thinking(
    small_recipe: Callable[..., Resolved], tmp_path: Path
) -> None:
    from transformers import AutoTokenizer

    resolved = small_recipe(tmp_path, study__arms=["trained"], eval__tasks=["count"], eval__items=4, eval__seen_items=0)
    outcome = run(resolved, progress=SilentProgress())
    saved = AutoTokenizer.from_pretrained(outcome.run.checkpoints / "trained-seed0" / "final")
    record = json.loads((outcome.run.path / "samples" / "trained-seed0.count.jsonl").read_text().splitlines()[0])
    turn = [{"role": "user", "content": record["prompt"]}]
    ids = saved.apply_chat_template(turn, add_generation_prompt=True, return_dict=False, enable_thinking=True)
    assert ids == record["prompt_ids"]
