"""Rewards that a policy could learn to forge, refused before anything is trained."""

from __future__ import annotations

from graft.errors import ConfigError
from graft.tasks.base import Task
from graft.tasks.code import NOT_ALLOWED, CodeTask
from graft.tasks.sandbox.execution import best_confinement
from graft.tasks.sandbox.launch import Walls


def check_reward(task: Task) -> None:
    """Refuse a task of programs unless every one can be judged where it cannot reach the judge.

    Raises:
        ConfigError: no code may be run, the walls are weak, or tests of a row run in one process with the program.
    """
    if not isinstance(task, CodeTask):
        return
    where = f"data.train holds {task.card.name}, and mode is grpo, which rewards programs that pass their tests"
    if task.limits is None:
        raise ConfigError(f"{where}, but {NOT_ALLOWED}")
    if best_confinement().walls is Walls.WEAK:
        raise ConfigError(f"{where}, but behind weak walls a program could forge that: {best_confinement().why_weak}")
    for example in task.examples("seen", limit=None, seed=0):
        if reason := task.way(task.tests(example))[1]:
            raise ConfigError(
                f"{where}, but {example.id} cannot be judged from outside the program, which could forge a pass: "
                f"{reason}; leave such rows out"
            )
