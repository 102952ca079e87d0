"""One arm beside the base by a score of its own, where the outcome of a study does not fit it."""

from __future__ import annotations

from dataclasses import replace

from graft.stats.arms import BASE, Contrast, TaskScores
from graft.stats.contrasts import measure_contrast, outcome_rows, read_sample
from graft.stats.spread import seed_variances


def beside_base(scores: TaskScores, arm: str, *, margin: float, alpha: float) -> Contrast:
    """The change from the base to an arm, both by what is found in their replies.

    Args:
        scores: the base and the arm, leniently scored.
        arm: the arm.
        margin: smallest change worth having, proportion units in (0, 1).
        alpha: error rate, in (0, 1).

    Returns:
        A diagnostic contrast whose names say how both were scored.
    """
    sample = read_sample(scores.task, scores.clusters, outcome_rows(scores))
    variances = seed_variances([sample.arms])[0]
    found = measure_contrast(sample, arm, BASE, variances, required=False, margin=margin, alpha=alpha)
    return replace(found, after=f"{arm} (lenient)", before=f"{BASE} (lenient)")
