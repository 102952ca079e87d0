"""From stored records to the verdict: the real judge on records that were written by hand."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from graft.config.loading import load_recipe
from graft.config.schema import Recipe
from graft.pipeline.branches import Branch
from graft.pipeline.judge.conclude import write_results, write_verdict
from graft.pipeline.places import baselines_path, samples_path
from graft.runs.directory import RunDirectory
from graft.runs.files import write_json
from graft.runs.samples import write_samples

Made = dict[str, Any]
LABELS = ("bearish", "bullish", "neutral")
SEEDS = (0, 1, 2)


def record(task: str, word: str, gold: str, answer: str | None, **fields: Any) -> Made:
    right = answer == gold
    known = {"exact": right, "strict": right, "lenient": right, "parsed": answer is not None, "finished": True}
    head = {"id": f"{task}/{word}", "task": task, "split": "eval", "word": word, "phrasing": "heldout-1", "gold": gold}
    rest = {"right": right, "answer": answer, "reply_ids": [1], "generated": True, "strata": {}, "details": {}}
    return {**head, **known, **rest, **fields}


def recipe_of(**settings: Any) -> Recipe:
    settings.setdefault("study__arms", ["base", "trained", "format"])
    given = [f"{key.replace('__', '.')}={json.dumps(value)}" for key, value in settings.items()]
    return load_recipe(None, given).recipe


@pytest.fixture
def store(tmp_path: Path) -> Callable[..., RunDirectory]:
    """Writes records and what was known before training into a run directory."""

    def make(records: Mapping[Branch, Mapping[str, Sequence[Made]]], metrics: Mapping[str, str]) -> RunDirectory:
        run = RunDirectory.create(tmp_path, "run")
        write_json(run.path / "forecast.json", {"tasks": {task: {"metric": name} for task, name in metrics.items()}})
        write_json(run.path / "audit.json", {"ok": True, "reasons": []})
        for branch, by_task in records.items():
            with run.stage(f"score-{branch.label}"):
                for task, rows in by_task.items():
                    write_samples(samples_path(run, branch, task), rows)
        return run

    return make


def tweets(calls: Sequence[str]) -> list[Made]:
    """154 tweets, 101 of them neutral, and what each was called."""
    golds = ["neutral"] * 101 + ["bullish"] * 31 + ["bearish"] * 22
    return [
        record("tweets", f"t{n:03}", gold, said, options=LABELS, details={})
        for n, (gold, said) in enumerate(zip(golds, calls, strict=True))
    ]


def tweet_run(store: Callable[..., RunDirectory]) -> tuple[RunDirectory, Recipe, dict[Branch, dict[str, list[Made]]]]:
    """Trained says neutral of every tweet but one; base and control say bearish of all."""
    neutral = ["neutral"] * 154
    neutral[120] = "bullish"
    lazy = {
        Branch("base"): {"tweets": tweets(["bearish"] * 154)},
        **{Branch("trained", seed): {"tweets": tweets(neutral)} for seed in SEEDS},
        **{Branch("format", seed): {"tweets": tweets(["bearish"] * 154)} for seed in SEEDS},
    }
    run = store(lazy, {"tweets": "macro_f1"})
    said = {gold: {"answer": "neutral", "right": gold == "neutral", "details": {}} for gold in LABELS}
    known = [{"id": row["id"], "baselines": {"majority": said[row["gold"]]}} for row in tweets(neutral)]
    write_samples(baselines_path(run, "tweets"), known)
    task = {"name": "tweets", "train": "x.csv", "prompt": "{text}", "label": "label", "metric": "macro_f1"}
    recipe = recipe_of(data__tasks=[task], data__train="tweets", eval__tasks=["tweets"], study__seeds=list(SEEDS))
    return run, recipe, lazy


def test_neutral_on_all_tweets_but_one_is_not_learned_by_the_tasks_metric(store: Callable[..., RunDirectory]) -> None:
    run, recipe, records = tweet_run(store)
    verdict = write_verdict(run, recipe, records)
    [check] = verdict.learned
    assert (check.word.value, check.metric) == ("not learned", "macro-F1")
    # neutral 2·101/(101 + 153), bullish 2·1/(31 + 1), bearish 0; before bearish 2·22/(22 + 154), the others 0
    assert check.contrasts[0].change.estimate == pytest.approx((202 / 254 + 2 / 32 - 44 / 176) / 3)
    assert [contrast.before for contrast in check.required] == ["base", "format", "majority"]
    assert check.required[2].change.estimate == pytest.approx((202 / 254 + 2 / 32) / 3 - (202 / 255) / 3)


def test_results_and_list_hold_the_metric_and_not_the_accuracy(store: Callable[..., RunDirectory]) -> None:
    from graft.pipeline.judge.summary import headline_metrics

    run, recipe, records = tweet_run(store)
    results = write_results(run, recipe, records)
    row = next(row for row in results["rows"] if row["arm"] == "trained-seed0")
    assert (row["metric"], row["right"]) == ("macro-F1", pytest.approx(102 / 154))
    assert row["score"] == pytest.approx((202 / 254 + 2 / 32) / 3)
    assert headline_metrics(results)["trained/tweets"] == pytest.approx(row["score"])


def answered(share: float, seed: int, task: str, words: int = 60) -> list[Made]:
    """Items of which about so many are right; the first one of count has no answer that could be off."""
    right = np.random.default_rng([seed, words, len(task)]).uniform(size=words) < share
    rows = []
    for n in range(words):
        strata: Made = {"length": 4 + n % 5, "repeated_letter": bool(n % 2)}
        details: Made = {"cer": 0.5 * float(not right[n])}
        if task == "count":
            strata["true_count"] = str(n % 3)
            details = {"absolute_error": float(not right[n]) if n else None}
        said = "1" if right[n] else "0"
        rows.append(record(task, f"word{n:02}", "1", said, strata=strata, details=details))
    return rows


def word_records(control_seeds: Sequence[int] = SEEDS) -> dict[Branch, dict[str, list[Made]]]:
    def scored(spelling: float, count: float, seed: int) -> dict[str, list[Made]]:
        return {"spelling": answered(spelling, seed, "spelling"), "count": answered(count, seed, "count")}

    return {
        Branch("base"): scored(0.2, 0.4, 9),
        **{Branch("trained", seed): scored(0.8, 0.5, seed) for seed in SEEDS},
        **{Branch("format", seed): scored(0.2, 0.4, 20 + seed) for seed in control_seeds},
    }


def word_run(store: Callable[..., RunDirectory], **changes: Any) -> tuple[RunDirectory, Recipe, Any]:
    records = word_records(**changes)
    run = store(records, {"spelling": "strict", "count": "strict"})
    return run, recipe_of(eval__tasks=["spelling", "count"], study__seeds=list(SEEDS)), records


def test_strata_are_corrected_over_the_whole_report(store: Callable[..., RunDirectory]) -> None:
    run, recipe, records = word_run(store)
    write_verdict(run, recipe, records)
    strata = json.loads(run.verdict.read_text())["strata"]
    assert {row["task"] for row in strata} == {"spelling", "count"}
    known = sorted((row["p"], row["p_adjusted"]) for row in strata if row["p"] is not None)
    largest = max(p for p, _ in known)
    least = min(p * len(known) / rank for rank, (p, _) in enumerate(known, start=1))
    assert known[0][1] == pytest.approx(min(1.0, least)) and known[-1][1] == pytest.approx(largest)


def test_a_run_that_lacks_a_seed_is_judged_and_says_so(store: Callable[..., RunDirectory]) -> None:
    run, recipe, records = word_run(store, control_seeds=(0, 2))
    verdict = write_verdict(run, recipe, records)
    assert verdict.study is not None and verdict.learned[0].word.value == "learned"
    assert json.loads(run.verdict.read_text())["notes"] == ["Not scored, and left out of everything: format-seed1."]


def test_a_trivial_spelling_counts_its_letters_where_the_outcome_does(store: Callable[..., RunDirectory]) -> None:
    run, recipe, records = word_run(store)
    said = {"answer": "e", "right": False, "constrained": 0.15, "details": {}}
    known = [{"id": row["id"], "baselines": {"usual": said}} for row in records[Branch("base")]["spelling"]]
    write_samples(baselines_path(run, "spelling"), known)
    for outcome, expected in (("lenient", 0.0), ("constrained", 0.15)):
        write_json(run.path / "forecast.json", {"tasks": {"spelling": {"metric": "strict", "outcome": outcome}}})
        for row in (row for by_task in records.values() for rows in by_task.values() for row in rows):
            row["constrained"] = float(row["right"])
        [check] = write_verdict(run, recipe, records).learned
        rival = next(contrast for contrast in check.required if contrast.before == "usual")
        trained = next(arm for arm in check.arms if arm.arm == "trained").accuracy.estimate
        assert trained - rival.change.estimate == pytest.approx(expected)


def test_gains_are_linked_over_shared_words_and_seeds(store: Callable[..., RunDirectory]) -> None:
    run, recipe, records = word_run(store)
    write_verdict(run, recipe, records)
    [link] = json.loads(run.verdict.read_text())["links"]
    assert (link["trained"], link["target"], link["words"]["n"], link["seeds"]["n"]) == ("spelling", "count", 60, 3)
    assert link["seeds"]["verdict"] == "no verdict"


def test_further_measures_are_averaged_over_counts_and_over_answers(store: Callable[..., RunDirectory]) -> None:
    run, recipe, records = word_run(store)
    write_verdict(run, recipe, records)
    asides = json.loads(run.verdict.read_text())["asides"]
    found = {(a["task"], a["measure"], a["before"]): a for a in asides}
    error = found["count", "mean absolute error", "base"]
    assert (error["n_items"], error["left_out"]) == (59, 1)
    base = records[Branch("base")]["count"]
    assert error["value_before"] == pytest.approx(np.mean([row["details"]["absolute_error"] for row in base[1:]]))
    balanced = found["count", "accuracy, every true count weighing the same", "format"]
    strata = [[row["right"] for row in base if row["strata"]["true_count"] == level] for level in "012"]
    against_base = found["count", "accuracy, every true count weighing the same", "base"]
    assert against_base["value_before"] == pytest.approx(np.mean([np.mean(level) for level in strata]))
    assert balanced["change"]["seeds"] == 3
    assert ("spelling", "character error rate", "base") in found


def test_thinking_stands_beside_the_same_items_without_it(store: Callable[..., RunDirectory]) -> None:
    records = word_records()
    run = store(records, {"spelling": "strict", "count": "strict"})
    for branch in records:
        thought = Branch(branch.arm, branch.seed, thinking=True)
        for task in ("spelling", "count"):
            write_samples(samples_path(run, thought, task), answered(1.0, 0, task))
    recipe = recipe_of(eval__tasks=["spelling", "count"], study__seeds=list(SEEDS), thinking="compare")
    write_verdict(run, recipe, records)
    asides = json.loads(run.verdict.read_text())["asides"]
    [found] = [a for a in asides if (a["task"], a["after"]) == ("count", "base, thinking")]
    base = np.mean([row["right"] for row in records[Branch("base")]["count"]])
    assert found["change"]["estimate"] == pytest.approx(1 - base) and found["before"] == "base"


def test_leaks_stand_beside_the_claims(store: Callable[..., RunDirectory]) -> None:
    run, recipe, records = word_run(store)
    overlap = {"count": 3, "examples": []}
    none = {"count": 0, "examples": []}
    found = {"exact": none, "casefold": none, "lemma": none, "containment": none, "irregular": overlap}
    write_json(run.path / "audit.json", {"ok": True, "reasons": [], "eval_words": 60, **found})
    write_json(run.path / "preflight.json", {"leaks": [{"task": "count", "share": 0.01}]})
    write_verdict(run, recipe, records)
    assert json.loads(run.verdict.read_text())["leaks"] == {"spelling": 0.05, "count": 0.01}


def test_counting_to_a_letter_stays_in_one_token_or_crosses_it(store: Callable[..., RunDirectory]) -> None:
    from graft.pipeline.judge.scores import strata

    places = [(2, 9, False), (6, 5, False), (2, 9, True), (10, 1, True)]
    rows = [
        record("position", f"w{n}", "a", "a", strata={
            "index": index, "index_from_end": back, "from_end": end, "pieces": "straw|berry"})
        for n, (index, back, end) in enumerate(places)
    ]  # fmt: skip
    found = strata({Branch("base"): {"position": rows}}, "position")
    inside, across = "inside one token", "across tokens"
    assert found["counting"].tolist() == [inside, across, across, inside]
