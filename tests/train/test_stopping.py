from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.conftest import toy_model

from graft.errors import ConfigError, TrainError
from graft.train.engine import fit
from graft.train.plan import FitResult, Hooks, Measurement, Plan, Stopping
from graft.train.stopping import Tracker, build_stopping
from graft.types import TokenRow

PAD = 4090
PLAN = Plan(
    steps=10, batch_size=2, token_budget=64, learning_rate=1e-2, optimizer="adamw", schedule="constant", warmup_steps=0,
    weight_decay=0.0, max_grad_norm=1.0, bfloat16=False, seed=0, logging_steps=1, save_steps=None, keep_last=1,
    eval_steps=1,
)  # fmt: skip
SETTINGS: dict[str, Any] = {
    "metric": "loss", "mode": "auto", "patience": None, "min_delta": 0.0, "criterion": None, "keep_best": False,
    "eval_steps": 5, "tasks": ("spelling", "count"),
}  # fmt: skip


def some_rows(count: int = 20) -> list[TokenRow]:
    rng = random.Random(0)
    return [TokenRow((5, rng.randrange(4000)), (rng.randrange(4000), 4093)) for _ in range(count)]


def followed(rule: Stopping, values: Sequence[float]) -> Tracker:
    tracker = Tracker(rule)
    for step, value in enumerate(values, start=1):
        tracker.add({"step": step, rule.metric: value})
        if tracker.stopped:
            break
    return tracker


@pytest.mark.parametrize(
    ("rule", "values", "stops_at", "best"),
    [
        (Stopping(patience=2), [3, 2, 2.5, 2.5, 1], 4, 2),
        (Stopping(patience=2), [3, 2, 2.5, 1.9, 2, 2], 6, 4),
        (Stopping(patience=1), [3, 3], 2, 1),
        (Stopping(patience=1, min_delta=0.5), [3, 2.5, 2.4, 0], 3, 2),
        (Stopping("exact", True, patience=2), [0.1, 0.3, 0.2, 0.3, 0.9], 4, 2),
        (Stopping(patience=2), [math.nan, math.nan, 1], 2, None),
        (Stopping(patience=3), [math.nan, 2, math.nan, 1, 3], None, 4),
        (Stopping(), [1, 2, 3, 4, 5], None, 1),
        (Stopping(criterion=lambda all_: all_[-1]["loss"] < 1.5), [3, 2, 1, 0], 3, 3),
    ],
)
def test_patience_min_delta_and_criterion_decide_as_calculated_by_hand(
    rule: Stopping, values: list[float], stops_at: int | None, best: int | None
) -> None:
    tracker = followed(rule, values)
    assert (len(tracker.measurements) if tracker.stopped else None) == stops_at
    assert tracker.best_step == best


def test_the_state_survives_being_stored() -> None:
    tracker = followed(Stopping(patience=3), [3, 2, 2.5, 2.5])
    again = Tracker(Stopping(patience=3))
    again.restore(tracker.state())
    assert again == tracker
    again.add({"step": 5, "loss": 4})
    assert again.stopped and again.best_step == 2


def test_the_mode_is_less_for_losses_and_more_for_the_rest() -> None:
    def greater(**settings: Any) -> bool:
        rule = build_stopping(**SETTINGS | {"patience": 1} | settings)
        assert rule is not None
        return rule.greater_is_better

    assert not greater()
    assert greater(metric="exact") and greater(metric="accuracy") and greater(metric="exact/count")
    assert greater(mode="max") and not greater(metric="exact", mode="min")


def test_every_rule_keeps_the_best_weights_and_no_rule_is_none() -> None:
    for asked in ({"patience": 3}, {"keep_best": True}, {"criterion": "math:fsum"}):
        rule = build_stopping(**SETTINGS | asked)
        assert rule is not None and rule.keep_best
    assert build_stopping(**SETTINGS | {"eval_steps": None}) is None


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"metric": "los"}, r"stopping\.metric is 'los'\. Did you mean 'loss'\? Known: accuracy, exact, exact/count"),
        ({"metric": "exact/spell"}, r"Did you mean 'exact/spelling'"),
        ({"patience": 3, "eval_steps": None}, r"stopping\.patience is 3, but train\.eval_steps is unset"),
        ({"keep_best": True, "eval_steps": None}, r"train\.keep_best is True, but train\.eval_steps is unset"),
        ({"criterion": "rules"}, r"must be module:function"),
        ({"criterion": "no_such_rules:enough"}, r"no_such_rules is not installed and not in"),
        ({"criterion": "json:loadss"}, r"json has no function 'loadss'\. Did you mean 'loads'"),
    ],
)
def test_wrong_settings_are_one_clear_line(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        build_stopping(**SETTINGS | settings)
    assert "\n" not in str(caught.value)


def test_a_criterion_comes_from_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_rules.py").write_text("def enough(measurements):\n    return len(measurements) == 3\n")
    (tmp_path / "broken_rules.py").write_text("1 / 0\n\ndef enough(measurements):\n    return True\n")
    monkeypatch.chdir(tmp_path)
    rule = build_stopping(**SETTINGS | {"criterion": "own_rules:enough"})
    assert rule is not None
    assert len(followed(rule, [1, 2, 3, 4, 5]).measurements) == 3
    with pytest.raises(ConfigError, match="importing it fails: ZeroDivisionError"):
        build_stopping(**SETTINGS | {"criterion": "broken_rules:enough"})


def test_looking_for_a_criterion_runs_none_of_its_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "ours"
    package.mkdir()
    for path in (package / "__init__.py", package / "rules.py", tmp_path / "single.py"):
        path.write_text("import pathlib; pathlib.Path('ran').touch()\nif True:\n    def enough(found): return True\n")
    (tmp_path / "other.py").write_text("from single import enough as done\n")
    (tmp_path / "wrong.py").write_text("def enough(:\n")
    monkeypatch.chdir(tmp_path)
    for name in ("single:enough", "ours.rules:enough", "other:done"):
        assert build_stopping(**SETTINGS | {"criterion": name, "load": False}) is not None
    for name in ("single:enuogh", "ours.no:enough", "other:enough", "wrong:enough", "single:a.b", "..single:enough"):
        with pytest.raises(ConfigError, match=r"stopping\.criterion is"):
            build_stopping(**SETTINGS | {"criterion": name, "load": False})
    assert not (tmp_path / "ran").exists()


def test_a_criterion_that_fails_is_named_with_its_step() -> None:
    def broken(measurements: Sequence[Measurement]) -> bool:
        return measurements[5]["loss"] > 1

    with pytest.raises(TrainError, match=r"stopping\.criterion .*broken fails at step 1: IndexError"):
        followed(Stopping(criterion=broken), [1.0])


class Judge:
    """Measures a given sequence of losses and keeps the weights it saw."""

    def __init__(self, losses: Sequence[float]) -> None:
        self.losses = list(losses)
        self.seen: list[list[torch.Tensor]] = []

    def __call__(self, model: torch.nn.Module) -> Measurement:
        self.seen.append([parameter.detach().clone() for parameter in model.parameters()])
        return {"loss": self.losses.pop(0)}


def trained(folder: Path, judge: Judge, rule: Stopping, **changes: Any) -> tuple[FitResult, torch.nn.Module]:
    model, plan = toy_model(), replace(PLAN, stopping=rule, **changes)
    rows = some_rows(plan.rows)
    return fit(model, rows, plan, pad_id=PAD, folder=folder, hooks=Hooks(evaluate=judge)), model


def test_training_stops_and_ends_with_the_best_weights(tmp_path: Path) -> None:
    judge = Judge([3, 2, 1, 2, 2, 2, 2])
    result, model = trained(tmp_path, judge, Stopping(patience=2, keep_best=True))
    assert (result.steps, result.stopped_early, result.best_step) == (5, True, 3)
    assert [figures["loss"] for figures in result.measurements] == [3, 2, 1, 2, 2]
    assert result.tokens == 5 * 2 * 4 and result.trained_tokens == 5 * 2 * 2
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), judge.seen[2], strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(model.parameters(), judge.seen[4], strict=True))


def test_without_a_reason_to_stop_the_best_of_all_steps_is_taken(tmp_path: Path) -> None:
    judge = Judge([3, 1, 2, 4])
    result, model = trained(tmp_path, judge, Stopping(keep_best=True), steps=4)
    assert (result.steps, result.stopped_early, result.best_step) == (4, False, 2)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), judge.seen[1], strict=True))


def interrupt_at(step: int) -> Callable[[int], None]:
    def on_step(done: int) -> None:
        if done == step:
            raise KeyboardInterrupt

    return on_step


def test_patience_goes_on_counting_after_a_resume(tmp_path: Path) -> None:
    rule = Stopping(patience=3, keep_best=True)
    plan = replace(PLAN, stopping=rule, save_steps=1)
    with pytest.raises(KeyboardInterrupt):
        fit(
            toy_model(),
            some_rows(),
            plan,
            pad_id=PAD,
            folder=tmp_path,
            hooks=Hooks(on_step=interrupt_at(5), evaluate=Judge([3, 1, 2, 2, 2])),
        )
    judge = Judge([2, 2, 2, 2, 2, 2])
    result, _ = trained(tmp_path, judge, rule, save_steps=1)
    assert (result.steps, result.best_step) == (5, 2)
    assert [figures["step"] for figures in result.measurements] == [1, 2, 3, 4, 5]


def test_a_training_that_had_stopped_is_not_continued(tmp_path: Path) -> None:
    rule = Stopping(patience=2, keep_best=True)
    judge = Judge([3, 1, 2, 2])
    first, model = trained(tmp_path, judge, rule, save_steps=1)
    again, same = trained(tmp_path, Judge([]), rule, save_steps=1)
    assert (again.steps, again.stopped_early, again.best_step) == (first.steps, True, 2)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), same.parameters(), strict=True))


def test_a_lost_best_checkpoint_begins_the_search_anew(tmp_path: Path) -> None:
    rule = Stopping(patience=4, keep_best=True)
    plan = replace(PLAN, stopping=rule, save_steps=1)
    with pytest.raises(KeyboardInterrupt):
        fit(
            toy_model(),
            some_rows(),
            plan,
            pad_id=PAD,
            folder=tmp_path,
            hooks=Hooks(on_step=interrupt_at(4), evaluate=Judge([3, 1, 2, 2])),
        )
    (tmp_path / "checkpoint-2" / "trained.safetensors").unlink()
    result, _ = trained(tmp_path, Judge([5, 6, 6, 6, 6, 6, 6]), rule, save_steps=1)
    assert result.best_step == 4


def test_a_metric_that_is_not_measured_lists_what_is(tmp_path: Path) -> None:
    with pytest.raises(TrainError, match=r"stopping\.metric is 'exact'.*Known: loss, step"):
        trained(tmp_path, Judge([1]), Stopping("exact", True, patience=1))
