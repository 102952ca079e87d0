"""Early stopping: what was measured so far, which measurement is the best, and when it is enough."""

from __future__ import annotations

import ast
import importlib
import math
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from typing import Any, Literal

from graft.errors import ConfigError, TrainError, choices
from graft.train.plan import Measurement, Stopping

Criterion = Callable[[Sequence[Measurement]], bool]


def metric_names(tasks: Iterable[str]) -> tuple[str, ...]:
    """What a measurement holds when these tasks are scored."""
    scored = tuple(tasks)
    by_task = (f"{figure}/{task}" for figure in ("exact", "score") for task in scored)
    return ("loss", "accuracy", "exact", "score", *by_task)


def build_stopping(
    *,
    metric: str,
    mode: Literal["auto", "min", "max"],
    patience: int | None,
    min_delta: float,
    criterion: str | None,
    keep_best: bool,
    eval_steps: int | None,
    tasks: Iterable[str],
    load: bool = True,
) -> Stopping | None:
    """The rule that the recipe asks for; ``None`` when it asks for none. The best weights are kept with every rule.

    Args:
        metric: what is watched; one of `metric_names`.
        mode: whether less or more is better; ``auto`` is less for losses and more for everything else.
        patience: measurements without improvement until the end, at least 1.
        min_delta: smallest change that counts.
        criterion: ``module:function``.
        keep_best: ``train.keep_best``.
        eval_steps: steps between two measurements.
        tasks: the tasks that are scored.
        load: import the criterion's module, which runs its code; else its source is only looked at.

    Raises:
        ConfigError: an unknown metric, a rule without measurements, or a criterion that cannot be loaded.
    """
    asked = {
        "stopping.patience": patience,
        "stopping.criterion": criterion,
        "train.keep_best": keep_best or None,
    }
    known = metric_names(tasks)
    if metric not in known:
        raise ConfigError(f"stopping.metric is {metric!r}. {choices(metric, known)}")
    key = next((key for key, value in asked.items() if value is not None), None)
    if key is None:
        return None
    if eval_steps is None:
        raise ConfigError(
            f"{key} is {asked[key]}, but train.eval_steps is unset, so nothing is measured to judge by; "
            "set train.eval_steps, such as train.eval_steps=50"
        )
    greater = metric != "loss" if mode == "auto" else mode == "max"
    loaded = None
    if criterion is not None:
        look_for_criterion(criterion)
        loaded = load_criterion(criterion) if load else None
    return Stopping(metric, greater, patience, min_delta, loaded, keep_best=True)


def look_for_criterion(name: str) -> None:
    """Find ``module:function`` in the working directory or in what is installed, without running any of it.

    Raises:
        ConfigError: it is not of that form, or there is no such module or function.
    """
    where = f"stopping.criterion is {name!r}"
    module_name, colon, function_name = name.partition(":")
    if not colon or not all(part.isidentifier() for part in (*module_name.split("."), function_name)):
        raise ConfigError(f"{where}; it must be module:function, such as rules:enough for enough() in rules.py")
    here = str(Path.cwd())
    spec = _found(module_name, here)
    if spec is None:
        missing = f"{module_name} is not installed and not in {here}"
        raise ConfigError(f"{where}, but {missing}; install it or start graft where it is")
    source = spec.origin or ""
    try:
        tree = ast.parse(Path(source).read_bytes()) if source.endswith(".py") else None
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ConfigError(f"{where}, but {source} cannot be read as Python: {error}") from error
    if tree is not None and not any(_names(node, function_name) for node in tree.body):
        offered = [node.name for node in tree.body if isinstance(node, ast.FunctionDef) and node.name[0] != "_"]
        hint = choices(function_name, offered) if offered else "It holds no function."
        raise ConfigError(f"{where}, but {module_name} has no function {function_name!r}. {hint}")


def _found(module_name: str, here: str) -> ModuleSpec | None:
    """Where a module is; unlike `importlib.util.find_spec`, no package around it is imported."""
    spec, places = None, [here, *sys.path]
    for part in module_name.split("."):
        spec = PathFinder.find_spec(part, places)
        if spec is None:
            return None
        places = list(spec.submodule_search_locations or ())
    return spec


def _names(node: ast.AST, name: str) -> bool:
    """Whether a statement may give a module a name: it stands in it, or all names of another module come in."""

    def found(part: ast.AST) -> bool:
        if isinstance(part, ast.alias):
            return (part.asname or part.name) in (name, "*")
        return name in (getattr(part, "name", None), getattr(part, "id", None))

    return any(found(part) for part in ast.walk(node))


def load_criterion(name: str) -> Criterion:
    """Import ``module:function``, which `look_for_criterion` found.

    Raises:
        ConfigError: importing it fails, or it is no function.
    """
    where = f"stopping.criterion is {name!r}"
    module_name, _, function_name = name.partition(":")
    here = str(Path.cwd())
    sys.path.insert(0, here)
    try:
        module = importlib.import_module(module_name)
    except Exception as error:  # the module is the user's, and may fail in any way
        raise ConfigError(f"{where}, but importing it fails: {type(error).__name__}: {error}") from error
    finally:
        sys.path.remove(here)
    function: Criterion | None = getattr(module, function_name, None)
    if not callable(function):
        raise ConfigError(f"{where}, but {function_name} is no function of {module_name}; name one that is")
    return function


@dataclass(slots=True)
class Tracker:
    """The measurements of one training and what the rule makes of them; its state is part of every checkpoint.

    Attributes:
        rule: the rule; ``None`` only collects.
        measurements: all so far, oldest first.
        best: best value of the watched metric, NaN before the first.
        best_step: its step.
        waited: measurements since then.
        stopped: the rule has said that it is enough.
    """

    rule: Stopping | None
    measurements: list[Measurement] = field(default_factory=list)
    best: float = math.nan
    best_step: int | None = None
    waited: int = 0
    stopped: bool = False

    def add(self, measurement: Measurement) -> bool:
        """Take in one measurement, and decide.

        Args:
            measurement: figures by name, with ``step``.

        Returns:
            Whether it is the best so far.

        Raises:
            TrainError: the watched metric is not among the figures, or the criterion fails.
        """
        self.measurements.append(measurement)
        if self.rule is None:
            return False
        if self.rule.metric not in measurement:
            raise TrainError(f"stopping.metric is {self.rule.metric!r}. {choices(self.rule.metric, measurement)}")
        value = float(measurement[self.rule.metric])
        improved = self._improves(value, self.rule)
        self.waited = 0 if improved else self.waited + 1
        if improved:
            self.best, self.best_step = value, int(measurement["step"])
        out_of_patience = self.rule.patience is not None and self.waited >= self.rule.patience
        self.stopped = out_of_patience or self._enough(self.rule)
        return improved

    def state(self) -> dict[str, Any]:
        """Everything but the rule, ready for JSON."""
        return {
            "measurements": [dict(measurement) for measurement in self.measurements],
            "best": self.best,
            "best_step": self.best_step,
            "waited": self.waited,
            "stopped": self.stopped,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take over what `state` gave; numbers that JSON cannot hold come back as NaN."""
        self.measurements = [
            {name: math.nan if value is None else value for name, value in measurement.items()}
            for measurement in state["measurements"]
        ]
        best = state["best"]
        self.best = math.nan if best is None else float(best)
        self.best_step = state["best_step"]
        self.waited, self.stopped = int(state["waited"]), bool(state["stopped"])

    def forget_best(self) -> None:
        """The best weights are lost: the next measurement is the best one again."""
        self.best, self.best_step, self.waited = math.nan, None, 0

    def _improves(self, value: float, rule: Stopping) -> bool:
        if math.isnan(value) or math.isnan(self.best):
            return not math.isnan(value)
        gain = value - self.best if rule.greater_is_better else self.best - value
        return gain > rule.min_delta if rule.min_delta == 0 else gain >= rule.min_delta

    def _enough(self, rule: Stopping) -> bool:
        if rule.criterion is None:
            return False
        try:
            return bool(rule.criterion(tuple(self.measurements)))
        except Exception as error:  # the function is the user's, and may fail in any way
            name = getattr(rule.criterion, "__qualname__", repr(rule.criterion))
            step = self.measurements[-1]["step"]
            raise TrainError(
                f"stopping.criterion {name} fails at step {step:g}: {type(error).__name__}: {error}; mend it and "
                "continue with --resume"
            ) from error
