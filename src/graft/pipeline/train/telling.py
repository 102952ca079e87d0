"""Where a training is told while it runs: the metrics, the log and the bar."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from graft.pipeline.progress import TaskHandle
from graft.pipeline.train.measure import HELD_OUT
from graft.pipeline.train.modes import Training
from graft.runs.metrics import MetricsLog
from graft.train.plan import Evaluate, Hooks, Measurement

LOG = logging.getLogger(__name__)


class Telling:
    """Hands on what one training says.

    Args:
        label: the branch's.
        training: knows the numbers of a report.
        steps: steps of the training.
        log: gets a line per report and measurement.
        bar: counts the steps.
    """

    def __init__(self, label: str, training: Training, steps: int, log: MetricsLog, bar: TaskHandle) -> None:
        self.label = label
        self.training = training
        self.steps = steps
        self.log = log
        self.bar = bar
        self._done = 0

    def hooks(self, measure: Callable[[Callable[[Measurement], None]], Evaluate | None]) -> Hooks[Any]:
        """What the engine calls.

        Args:
            measure: given whom to tell, gives what measures the held-out items; ``None`` for no measurements.
        """
        return Hooks(self._reported, self._stepped, measure(self._measured))

    def _stepped(self, step: int) -> None:
        self.bar.advance(step - self._done)
        self._done = step

    def _reported(self, report: Any) -> None:
        numbers, shown = self.training.numbers(report), self.training.shown
        self.log.log(step=report.step, **numbers)
        LOG.info("%s step %d of %d: %s %.4f", self.label, report.step, self.steps, shown, numbers[shown])
        self.bar.advance(0, **{shown: numbers[shown]})

    def _measured(self, figures: Measurement) -> None:
        self.log.log(step=self._done, **{f"{HELD_OUT}/{name}": value for name, value in figures.items()})
        self.bar.advance(0, held_out_loss=figures["loss"], exact=figures["exact"])
