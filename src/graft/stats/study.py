"""What the transfer study takes in and what it concludes: data only, every field converts to JSON.

The rules that fill these are in :mod:`graft.stats.transfer`, the sentences in :mod:`graft.stats.wording`.
Accuracies, changes, margins and intervals are proportions (0.02 is two percentage points).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graft.stats.equivalence import Equivalence
from graft.stats.intervals import Interval
from graft.stats.paired import Change, McNemar

BASE = "base"
TRAINED = "trained"
FORMAT = "format"
DIRECT = "direct"

CONFIRMATORY_SEEDS = 5
"""Training seeds from which a study is no longer exploratory."""


class Verdict(Enum):
    """What a study may say about one target task, or as a whole."""

    TRANSFER = "transfer"
    NO_TRANSFER = "no transfer"
    INCONCLUSIVE = "inconclusive"
    INVALID = "invalid"


@dataclass(frozen=True, slots=True)
class TaskScores:
    """The item scores of one task under every arm, on the same N items in the same order.

    Attributes:
        task: the task's name as a reader knows it.
        clusters: (N,) label of each item's resampling unit, for word tasks the word.
        base: (N,) bool, the untouched model; None when it was not scored.
        arms: (S, N) bool by arm name, one row per seed: ``trained``, ``format`` and optionally ``shuffled``,
            ``direct``, ``prompted``. Row s of ``trained`` and of ``format`` belong to the same seed.
    """

    task: str
    clusters: NDArray[Any]
    base: NDArray[np.bool_] | None
    arms: Mapping[str, NDArray[np.bool_]]


@dataclass(frozen=True, slots=True)
class ArmAccuracy:
    """How often one arm was right.

    Attributes:
        arm: ``base`` or the arm's name.
        accuracy: mean over seeds with a Wilson interval on N items: scoring the same items under more seeds adds no
            items, so N and not S·N is the sample size.
        per_seed: one Wilson interval for each seed.
    """

    arm: str
    accuracy: Interval
    per_seed: tuple[Interval, ...]


@dataclass(frozen=True, slots=True)
class Contrast:
    """The paired change from one arm to another on one task.

    Attributes:
        after: the arm that is judged.
        before: the arm it is compared with.
        required: True when the claim of transfer rests on this contrast, False for a diagnostic.
        change: estimate, 95% and 90% intervals and p from the hierarchical bootstrap.
        equivalence: whether the change is shown to lie inside ± margin.
        mcnemar: the exact test of every seed.
        smallest_detectable: the change that this many words and seeds detect with 80% power at the study's alpha, from
            the spread that was seen: (z₁₋α/₂ + z₀.₈) × bootstrap sd. NaN when the spread is undefined.
    """

    after: str
    before: str
    required: bool
    change: Change
    equivalence: Equivalence
    mcnemar: tuple[McNemar, ...]
    smallest_detectable: float


@dataclass(frozen=True, slots=True)
class TrainedCheck:
    """Whether training did what it should on the task it trained (the manipulation check).

    Attributes:
        task: the trained task.
        passed: the 95% interval of trained − base lies above zero.
        headline: one sentence for a reader.
        n_items, n_clusters, seeds: sizes.
        arms: accuracy of every arm, base first.
        contrasts: trained − base first, then the others.
    """

    task: str
    passed: bool
    headline: str
    n_items: int
    n_clusters: int
    seeds: int
    arms: tuple[ArmAccuracy, ...]
    contrasts: tuple[Contrast, ...]


@dataclass(frozen=True, slots=True)
class TargetVerdict:
    """What the study says about one task that was not trained.

    Attributes:
        task: the target task.
        verdict: the verdict word.
        reason: why, as a clause without a full stop.
        headline: one sentence for a reader, with the word ``exploratory`` where it applies.
        exploratory: fewer seeds than a confirmatory study needs.
        n_items, n_clusters, seeds: sizes.
        arms: accuracy of every arm, base first.
        contrasts: trained − base and trained − format (required), then the diagnostics.
        claim_p: p of the claim, the larger of the two required contrasts' two-sided p; 1 unless both changes are
            positive; NaN when a contrast is missing.
        claim_p_adjusted: the same after Holm over the declared targets.
        normalised: (trained − base) / (direct − base) with its interval; NaN with a reason when undefined.
        ceiling_gap: direct − base with its 95% interval; NaN with a reason without a direct arm.
        words_to_decide: words (clusters) that would decide an inconclusive verdict; NaN otherwise.
        words_reason: why ``words_to_decide`` is NaN, empty when it is a number.
    """

    task: str
    verdict: Verdict
    reason: str
    headline: str
    exploratory: bool
    n_items: int
    n_clusters: int
    seeds: int
    arms: tuple[ArmAccuracy, ...]
    contrasts: tuple[Contrast, ...]
    claim_p: float
    claim_p_adjusted: float
    normalised: Interval
    ceiling_gap: Interval
    words_to_decide: float
    words_reason: str


@dataclass(frozen=True, slots=True)
class Study:
    """The whole conclusion.

    Attributes:
        verdict: ``invalid`` when any reason for it exists; ``transfer`` when at least one target shows it;
            ``no transfer`` when all targets do; else ``inconclusive``.
        reasons: why, one clause each; for an invalid study every reason that was found.
        headline: one sentence for a reader.
        trained: the manipulation check; None when base or trained scores of the trained task are missing.
        targets: one verdict for each target, in the order given.
        margin: smallest change worth having, in proportion units.
        alpha: error rate of the family of claims.
        resamples: bootstrap replicates.
        seeds: training seeds (the fewest over the targets).
        confirmatory_seeds: seeds from which a study is no longer exploratory.
        exploratory: seeds < confirmatory_seeds.
        audit_ok, audit_reasons: what the leak audit said.
    """

    verdict: Verdict
    reasons: tuple[str, ...]
    headline: str
    trained: TrainedCheck | None
    targets: tuple[TargetVerdict, ...]
    margin: float
    alpha: float
    resamples: int
    seeds: int
    confirmatory_seeds: int
    exploratory: bool
    audit_ok: bool
    audit_reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class StratumRow:
    """The change trained − base within one level of one declared stratum. Always exploratory.

    Attributes:
        task, stratum, level: where; ``level`` is the printed value.
        n_items, n_clusters: sizes.
        before, after: accuracy of base and of trained (mean over seeds).
        change: with its 95% interval; NaN with the reason when the level is too small.
        p: two-sided bootstrap p.
        p_adjusted: after Benjamini–Hochberg over all rows of the call.
        exploratory: always True; stored so that no table can drop the label.
    """

    task: str
    stratum: str
    level: str
    n_items: int
    n_clusters: int
    before: float
    after: float
    change: Interval
    p: float
    p_adjusted: float
    exploratory: bool = True
