"""Uncertainty of every number: arrays and an rng in, frozen dataclasses out; no files, no torch.

Proportions throughout (0.02 is two percentage points); undefined numbers are NaN beside a reason.
"""

from __future__ import annotations

from graft.stats.arms import ArmAccuracy, Contrast, TaskScores
from graft.stats.correlation import Association, Correlation, across_runs_correlation, within_word_correlation
from graft.stats.equivalence import Equivalence, tost
from graft.stats.intervals import Interval, cluster_bootstrap_mean, wilson
from graft.stats.learned import TrainedCheck
from graft.stats.multiplicity import benjamini_hochberg, holm
from graft.stats.paired import Change, McNemar, mcnemar_exact, paired_change
from graft.stats.plain import to_json
from graft.stats.power import mcnemar_sample_size, smallest_detectable
from graft.stats.strata import by_stratum
from graft.stats.study import StratumRow, Study, TargetVerdict, Verdict
from graft.stats.transfer import judge

__all__ = [
    "ArmAccuracy",
    "Association",
    "Change",
    "Contrast",
    "Correlation",
    "Equivalence",
    "Interval",
    "McNemar",
    "StratumRow",
    "Study",
    "TargetVerdict",
    "TaskScores",
    "TrainedCheck",
    "Verdict",
    "across_runs_correlation",
    "benjamini_hochberg",
    "by_stratum",
    "cluster_bootstrap_mean",
    "holm",
    "judge",
    "mcnemar_exact",
    "mcnemar_sample_size",
    "paired_change",
    "smallest_detectable",
    "to_json",
    "tost",
    "wilson",
    "within_word_correlation",
]
