from __future__ import annotations

import numpy as np
import pytest

from graft.stats.arms import TaskScores
from graft.stats.contrasts import outcome_rows, read_sample
from graft.stats.form import split_change


def scores(parsed_trained: list[list[bool]]) -> TaskScores:
    """Trained is right wherever it can be read; the control is read once, and right there."""
    n = len(parsed_trained[0])
    one = np.zeros((len(parsed_trained), n), bool)
    one[:, 0] = True
    parsed = np.array(parsed_trained)
    arms = {"trained": parsed, "format": one}
    return TaskScores("count", np.arange(n), np.ones(n, bool), arms, parsed={"base": np.ones((1, n), bool), **arms})


def test_the_change_of_a_share_stays_within_100_points() -> None:
    task = scores([[True] * 40, [True] * 30 + [False] * 10])
    found = split_change(task, read_sample(task.task, task.clusters, outcome_rows(task)))
    against = {split.before: split for split in found}["format"]
    assert against.parsed.estimate == pytest.approx((1.0 + 0.75) / 2 - 1 / 40)
    for change in (against.parsed, against.right_among_parsed):
        assert -1.0 <= change.interval.low <= change.interval.high <= 1.0
        assert -1.0 <= change.interval90.low <= change.interval90.high <= 1.0
