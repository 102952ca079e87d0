"""`mode: grpo` from recipe to report."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest

from graft.config.loading import Resolved, load_recipe
from graft.errors import ConfigError, MissingExtra
from graft.pipeline.progress import SilentProgress, TaskHandle
from graft.pipeline.run import run
from graft.runs.metrics import read_metrics

ROOT = Path(__file__).parents[2]
needs_trl = pytest.mark.skipif(find_spec("trl") is None, reason="GRPO needs the extra trl")


class Shown(SilentProgress):
    """Keeps the facts that a progress bar would show."""

    def __init__(self) -> None:
        self.facts: list[dict[str, float | int | str]] = []

    def task(self, description: str, total: int | None = None) -> TaskHandle:
        shown = self.facts

        class Handle:
            def advance(self, count: int = 1, **facts: float | int | str) -> None:
                shown.append(facts)

            def finish(self) -> None:
                pass

        return Handle()


@needs_trl
def test_a_grpo_run_logs_rewards_shows_them_and_is_scored(
    small_recipe: Callable[..., Resolved], tmp_path: Path
) -> None:
    recipe = small_recipe(
        tmp_path, mode="grpo", model__id="sprout", data__train="count", eval__tasks=["count"], train__max_steps=2,
        train__batch_size=2, train__logging_steps=1, train__eval_steps=2, grpo__group_size=2, grpo__kl=0.05,
        study__arms=["base", "trained"], eval__items=20, eval__seen_items=0,
    )  # fmt: skip
    progress = Shown()
    outcome = run(recipe, progress=progress)
    lines = [line for line in read_metrics(outcome.run.metrics) if "reward" in line]
    assert [line["step"] for line in lines] == [1, 2]
    assert all(0 <= line["reward"] <= 1.1 and line["reply_tokens"] >= 1 for line in lines)
    assert {"reward_std", "no_signal", "cut", "kl", "loss", "learning_rate", "grad_norm"} <= lines[0].keys()
    assert [facts["reward"] for facts in progress.facts if "reward" in facts] == [line["reward"] for line in lines]
    assert [line["step"] for line in read_metrics(outcome.run.metrics) if "held_out/exact" in line] == [2]
    assert json.loads(outcome.run.summary.read_text())["mode"] == "grpo"
    assert {row["arm"] for row in json.loads((outcome.run.path / "results.json").read_text())["rows"]} == {
        "base",
        "trained-seed0",
    }
    assert outcome.report is not None
    assert outcome.report.is_file()


@needs_trl
def test_arms_and_tasks_without_meaning_for_a_reward_are_refused(
    small_recipe: Callable[..., Resolved], tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=r"study.arms holds format, but mode is grpo"):
        run(small_recipe(tmp_path, mode="grpo", data__train="count"), progress=SilentProgress())
    arms = {"study__arms": ["base", "trained"], "mode": "grpo", "data__train": "count"}
    with pytest.raises(ConfigError, match=r"train.restrict_to is english, but mode is grpo"):
        run(small_recipe(tmp_path, train__restrict_to="english", **arms), progress=SilentProgress())


def test_a_missing_trl_is_named_with_its_extra(
    small_recipe: Callable[..., Resolved], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("graft.pipeline.prepare.modes.find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=r"mode: grpo needs .* pip install 'graft-lm\[trl\]'"):
        run(small_recipe(tmp_path, mode="grpo", data__train="count"), progress=SilentProgress())


@needs_trl
@pytest.mark.slow
@pytest.mark.long
@pytest.mark.timeout(900)
def test_the_shipped_recipe_makes_the_reward_rise(tmp_path: Path) -> None:
    from scipy.stats import ttest_ind

    overrides = (f"runs={tmp_path}", "train.max_steps=24", "eval.items=100", "study.resamples=1000")
    outcome = run(load_recipe(ROOT / "recipes" / "grpo-count.yaml", overrides), progress=SilentProgress())
    rewards = [line["reward"] for line in read_metrics(outcome.run.metrics) if "reward" in line]
    assert len(rewards) == 24
    quarter = len(rewards) // 4
    risen = ttest_ind(rewards[-quarter:], rewards[:quarter], equal_var=False, alternative="greater")
    low = risen.confidence_interval(0.95).low
    assert risen.pvalue < 0.01
    assert low > 0.03, f"the reward rose by at least {low:.3f} only"
