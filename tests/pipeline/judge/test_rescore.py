"""Replies are judged again by the scorers there are now, and a file that was changed by hand is never believed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from graft.config.schema import Recipe
from graft.pipeline.branches import Branch
from graft.pipeline.judge.conclude import read_records, write_verdict
from graft.pipeline.judge.rescore import changes, rescored
from graft.pipeline.places import samples_path, score_leaves
from graft.runs.directory import RunDirectory
from graft.runs.files import read_json, write_json
from graft.runs.markers import write_marker
from graft.runs.provenance import hash_file
from graft.runs.samples import read_samples, write_samples
from graft.tasks.position import PositionTask
from graft.tasks.spelling import SpellingTask
from graft.tasks.words.pool import WordSets

WORDS = [f"{a}{b}{c}ing" for a in "bcdfgh" for b in "aeiou" for c in "lmnr"]
SEEDS = (0, 1)
RECIPE = Recipe.model_validate(
    {
        "eval": {"tasks": ["spelling", "position"], "seen_items": 0},
        "study": {"arms": ["base", "trained", "format"], "seeds": SEEDS, "outcome": "lenient"},
    }
)
SCORERS = {"spelling": SpellingTask, "position": PositionTask}


def record(task: str, word: str, index: int, branch: Branch, right: bool) -> dict[str, Any]:
    spelled = task == "spelling"
    gold = "-".join(word) if spelled else word[2]
    strata = {"separator": "hyphen"} if spelled else {"index": 3, "index_from_end": len(word) - 2, "from_end": False}
    reply = gold if right else "z-z" if spelled else "z"
    return {
        "arm": branch.arm, "seed": branch.seed, "id": f"{task}/{word}", "task": task, "split": "eval", "word": word,
        "phrasing": f"heldout-{index % 3}", "prompt": f"About {word}?", "gold": gold, "strata": strata,
        "reply": reply, "reply_ids": [index], "gold_ids": [index, 1], "finished": True, "exact": right,
        "generated": True, "strict": right, "lenient": right, "right": right, "parsed": True, "answer": reply,
        "details": {},
    }  # fmt: skip


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    """A run whose trained arm is right far more often than base and format control, on both tasks."""
    run = RunDirectory(tmp_path)
    share = {"base": 0.2, "trained": 0.8, "format": 0.2}
    write_json(run.path / "audit.json", {"ok": True, "reasons": []})
    for branch in (Branch("base"), *(Branch(arm, seed) for arm in ("trained", "format") for seed in SEEDS)):
        with run.stage(f"score-{branch.label}", score_leaves(run, branch, [branch], RECIPE.eval.tasks)) as outputs:
            outputs["scorers"] = {}
            for task in RECIPE.eval.tasks:
                level = share[branch.arm] * len(WORDS) + (branch.seed or 0)
                rows = [record(task, w, n, branch, n * 37 % len(WORDS) < level) for n, w in enumerate(WORDS)]
                write_samples(samples_path(run, branch, task), rows)
                outputs["scorers"][task] = SCORERS[task](WordSets((), ())).scorer
    return run


def verdict(run: RunDirectory) -> dict[str, Any]:
    write_verdict(run, RECIPE, read_records(run, RECIPE))
    return dict(read_json(run.verdict))


def test_what_was_not_touched_is_taken_as_it_was_scored(run: RunDirectory) -> None:
    assert changes(run, RECIPE).edited == () and not changes(run, RECIPE).outdated
    assert verdict(run)["study"]["verdict"] == "transfer"
    assert verdict(run)["notes"] == []


def test_replies_replaced_by_hand_leave_no_verdict_standing(run: RunDirectory) -> None:
    assert verdict(run)["study"]["verdict"] == "transfer"
    for seed in SEEDS:
        path = samples_path(run, Branch("trained", seed), "position")
        write_samples(path, [row | {"reply": "banana"} for row in read_samples(path)])
    found = verdict(run)
    assert found["study"]["verdict"] == "invalid"
    assert "samples/trained-seed0.position.jsonl was changed after it was scored" in found["study"]["reasons"]
    assert "The stored verdict was transfer; from the items as they are now it is invalid." in found["notes"]
    scored = read_records(run, RECIPE)[Branch("trained", 0)]["position"]
    assert not any(row["strict"] or row["lenient"] or row["right"] for row in scored)


def test_a_score_that_was_changed_by_hand_is_seen_too(run: RunDirectory) -> None:
    path = samples_path(run, Branch("base"), "position")
    write_samples(path, [row | {"constrained": True} for row in read_samples(path)])
    assert verdict(run)["study"]["verdict"] == "invalid"


def test_replies_that_another_scorer_judged_are_judged_again(run: RunDirectory) -> None:
    """An older scorer called every reply wrong; the present one says what they are, and the verdict follows it."""
    for branch in (Branch("base"), *(Branch(arm, seed) for arm in ("trained", "format") for seed in SEEDS)):
        path = samples_path(run, branch, "position")
        write_samples(path, [row | {"lenient": False, "right": False} for row in read_samples(path)])
        marker = run.path / "stages" / f"score-{branch.label}.done"
        stored = json.loads(marker.read_text())
        stored["outputs"]["scorers"]["position"] = "0" * 12
        leaves = score_leaves(run, branch, [branch], RECIPE.eval.tasks)
        write_marker(marker, run.path, {"outputs": stored["outputs"]}, leaves)
    found = verdict(run)
    assert found["study"]["verdict"] == "transfer"
    assert found["notes"] == ["Scorers have changed since; the replies of position were judged again."]


def test_the_hashes_that_older_runs_stored_are_held_against_their_files(run: RunDirectory) -> None:
    marker = run.path / "stages" / "score-base.done"
    hashes = {task: hash_file(samples_path(run, Branch("base"), task)) for task in RECIPE.eval.tasks}
    marker.write_text(json.dumps({"outputs": {"sha256": hashes}}))
    assert changes(run, RECIPE).edited == ()
    path = samples_path(run, Branch("base"), "position")
    path.write_text(path.read_text() * 2)
    assert changes(run, RECIPE).edited == ("samples/base.position.jsonl",)


def test_code_and_thinking_stay_as_they_were_judged() -> None:
    row = record("position", "being", 0, Branch("base"), right=False)
    assert rescored(RECIPE, "position", [row | {"samples": []}], "lenient")[0]["right"] is False
    again = rescored(RECIPE, "position", [row | {"reply": row["gold"]}], "lenient")[0]
    assert (again["strict"], again["lenient"], again["right"]) == (True, True, True)
