"""What the verdict is about is skill and not style, and arms are compared by one rule."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from graft.errors import RunError
from graft.pipeline.branches import Branch
from graft.pipeline.judge.scores import Records, prompted_scores, task_outcome, task_scores
from graft.runs.directory import RunDirectory
from graft.stats.arms import TaskScores
from graft.stats.study import Verdict
from graft.stats.transfer import judge

N = 300


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    return RunDirectory(tmp_path)


def records_of(task: str, seed: int, shares: Mapping[str, float], *, terse: bool) -> list[dict[str, Any]]:
    """Items of which such shares are right by each score; the same items are the easy ones in every arm."""
    hard = np.random.default_rng(len(task)).permutation(N) / N
    noise = np.random.default_rng(seed).normal(0, 0.03, N)
    found = []
    for index, place in enumerate(hard + noise):
        right = {name: bool(max(place, 0) < share) for name, share in shares.items()}
        reply = "r" if terse else "The letter is r."
        found.append(
            {
                "id": f"{task}/{index}", "split": "eval", "word": f"word{index}", "gold": "r", "reply": reply,
                "reply_ids": [5, 9], "gold_ids": [5, 8], "exact": right["strict"], "generated": True,
                "finished": True, "parsed": True, "answer": "r", "details": {}, "right": right["constrained"], **right,
            }
        )  # fmt: skip
        if not right["strict"] and terse:
            found[-1]["reply"] = "x"
    return found


def study_records(task: str, base: Mapping[str, float], trained: Mapping[str, float], form: Mapping[str, float]) -> Any:
    by_branch = {Branch("base"): records_of(task, 0, base, terse=False)}
    for seed in (0, 1, 2):
        by_branch[Branch("trained", seed)] = records_of(task, seed + 1, trained, terse=True)
        by_branch[Branch("format", seed)] = records_of(task, seed + 11, form, terse=True)
    return {branch: {task: records} for branch, records in by_branch.items()}


def three(strict: float, lenient: float, constrained: float) -> dict[str, float]:
    return {"strict": strict, "lenient": lenient, "constrained": constrained}


LEARNED = study_records("spelling", three(0, 0.4, 0.6), three(0.8, 0.8, 0.95), three(0.1, 0.1, 0.6))


def verdict_of(run: RunDirectory, records: Records, task: str, outcome: str) -> Verdict:
    taught = task_scores(run, LEARNED, "spelling", "strict", "constrained")
    found = judge(taught, [task_scores(run, records, task, "strict", outcome)], audit_ok=True)
    return found.targets[0].verdict


def test_terse_form_without_the_skill_is_no_transfer(run: RunDirectory) -> None:
    """A base that answers in sentences: exact match rises from 0 to 22% while what it knows falls."""
    records = study_records("position", three(0, 0.377, 0.38), three(0.222, 0.313, 0.31), three(0.02, 0.3, 0.37))
    assert verdict_of(run, records, "position", "strict") is Verdict.TRANSFER  # what exact match alone would say
    assert verdict_of(run, records, "position", "constrained") is not Verdict.TRANSFER
    assert verdict_of(run, records, "position", "lenient") is not Verdict.TRANSFER


def test_a_skill_that_is_lost_behind_an_unchanged_exact_match_is_harm(run: RunDirectory) -> None:
    """Exact match stays at 0% while the lenient score falls from 67 to 1.5%."""
    records = study_records("count", three(0, 0.67, 0.67), three(0, 0.015, 0.1), three(0, 0.6, 0.65))
    for outcome in ("constrained", "lenient"):
        assert verdict_of(run, records, "count", outcome) is Verdict.HARMED


def test_one_pass_and_replies_that_disagree_make_a_target_invalid(run: RunDirectory) -> None:
    """The model ends its turns otherwise than its rows do: one pass calls right replies wrong."""
    records = study_records("position", three(0, 0.5, 0.5), three(0.6, 0.6, 0.6), three(0.1, 0.5, 0.5))
    for record in records[Branch("base")]["position"][: N // 2]:
        record |= {"reply": "r", "strict": True}
    assert task_scores(run, records, "position", "strict", "constrained").disagreement == pytest.approx(0.5)
    assert verdict_of(run, records, "position", "constrained") is Verdict.INVALID


def test_strict_and_parsed_stand_beside_the_outcome(run: RunDirectory) -> None:
    scores = task_scores(run, LEARNED, "spelling", "strict", "constrained")
    assert set(scores.strict) == set(scores.parsed) == {"base", "trained", "format"}
    assert scores.strict["base"].mean() == 0 and scores.base is not None and scores.base.mean() > 0.5
    assert task_scores(run, LEARNED, "spelling", "strict", "strict").strict == {}


def test_the_prompted_arm_and_the_base_are_scored_by_one_rule(run: RunDirectory) -> None:
    records = study_records("position", three(0, 0.4, 0.5), three(0, 0.4, 0.5), three(0, 0.4, 0.5))
    records[Branch("prompted")] = {"position": records_of("position", 3, three(0, 0.9, 0.1), terse=False)}
    scores: TaskScores | None = prompted_scores(records, "position")
    assert scores is not None and scores.base is not None
    assert scores.base.mean() == pytest.approx(0.4, abs=0.02)
    assert scores.arms["prompted"].mean() == pytest.approx(0.9, abs=0.02)
    assert "prompted" not in task_scores(run, records, "position", "strict", "constrained").arms
    assert "prompted" in task_scores(run, records, "position", "strict", "lenient").arms


def test_an_item_without_the_score_is_named(run: RunDirectory) -> None:
    records = study_records("position", three(0, 0.4, 0.5), three(0, 0.4, 0.5), three(0, 0.4, 0.5))
    del records[Branch("trained", 1)]["position"][3]["constrained"]
    with pytest.raises(RunError, match="position/3 under trained has no constrained score"):
        task_scores(run, records, "position", "strict", "constrained")


def test_runs_of_before_there_was_an_outcome_are_judged_by_what_they_stored() -> None:
    assert task_outcome({}, "position") == "right"
    assert task_outcome({"position": {"outcome": "constrained"}}, "position") == "constrained"
