"""What a study concludes: data only, every field converts to JSON.

The rules that fill these are in :mod:`graft.stats.transfer`, the sentences in :mod:`graft.stats.wording`.
Accuracies, changes, margins and intervals are proportions (0.02 is two percentage points).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from graft.stats.arms import ArmAccuracy, Contrast
from graft.stats.intervals import NAN, Interval
from graft.stats.learned import TrainedCheck
from graft.stats.paired import Change

CONFIRMATORY_SEEDS = 5
"""Training seeds from which a study is no longer exploratory."""


class Verdict(Enum):
    """What a study may say about one target task, or as a whole."""

    TRANSFER = "transfer"
    HARMED = "harmed"
    NO_TRANSFER = "no transfer"
    INCONCLUSIVE = "inconclusive"
    FLOOR = "floor"
    CEILING = "ceiling"
    INVALID = "invalid"
    ONE_SEED = "no verdict"


@dataclass(frozen=True, slots=True)
class FormSplit:
    """A change split into replies that could be read at all and right answers among those.

    Attributes:
        before: the arm that trained is compared with.
        parsed: change of the share of replies from which an answer could be read.
        right_among_parsed: change of the outcome among the replies that could be read.
    """

    before: str
    parsed: Change
    right_among_parsed: Change


@dataclass(frozen=True, slots=True)
class Collateral:
    """Whether training harmed a task that no claim is made about.

    Attributes:
        task: the task.
        harmed: trained − base lies below 0: p after Holm over the collateral tasks below alpha, at least two seeds.
        excluded: a loss as large as the margin is ruled out: the 90% interval lies above − margin.
        headline: one sentence for a reader.
        p_adjusted: p of the loss after Holm; 1 where the task did not get worse.
        n_items, n_clusters, seeds: sizes.
        arms: accuracy of every arm, base first.
        contrasts: trained − base first, then trained − each control that was scored.
    """

    task: str
    harmed: bool
    excluded: bool
    headline: str
    p_adjusted: float
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
        contrasts: trained − base and trained − each control that must be beaten (required), then the diagnostics.
        claim_p: p of the claim, the largest of the required contrasts' two-sided p; 1 unless all changes are
            positive; NaN when a contrast is missing.
        claim_p_adjusted: the same after Holm over the declared targets.
        harm_p_adjusted: p of trained − base after Holm over the declared targets; 1 unless the change is negative.
        normalised: (trained − base) / (direct − base) with its interval; NaN with a reason when undefined.
        ceiling_gap: direct − base with its 95% interval; NaN with a reason without a direct arm.
        words_to_decide: words (clusters) that would decide an inconclusive verdict; NaN otherwise.
        words_reason: why ``words_to_decide`` is NaN, empty when it is a number.
        strict: the required contrasts by strict score; empty without strict scores.
        form: each required change split by whether replies could be read; empty where that was not recorded.
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
    harm_p_adjusted: float = NAN
    strict: tuple[Contrast, ...] = ()
    form: tuple[FormSplit, ...] = ()


@dataclass(frozen=True, slots=True)
class Study:
    """The whole conclusion.

    Attributes:
        verdict: ``invalid`` when the study is, a target lacks an arm or all targets are invalid; ``no verdict`` with
            one seed; ``transfer`` when at least one target shows it, else ``harmed`` when one does; another word when
            all valid targets say it; else ``inconclusive``.
        reasons: why, one clause each; for an invalid study every reason that was found.
        headline: one sentence for a reader.
        trained: the manipulation check; None when base or trained scores of the trained task are missing.
        targets: one verdict for each target, in the order given.
        margin: smallest change worth having, in proportion units.
        alpha: error rate of the family of claims.
        seeds: training seeds (the fewest over the targets).
        confirmatory_seeds: seeds from which a study is no longer exploratory.
        exploratory: seeds < confirmatory_seeds.
        audit_ok, audit_reasons: what the leak audit said.
        collateral: tasks of which only harm is reported.
    """

    verdict: Verdict
    reasons: tuple[str, ...]
    headline: str
    trained: TrainedCheck | None
    targets: tuple[TargetVerdict, ...]
    margin: float
    alpha: float
    seeds: int
    confirmatory_seeds: int
    exploratory: bool
    audit_ok: bool
    audit_reasons: tuple[str, ...]
    collateral: tuple[Collateral, ...] = ()


@dataclass(frozen=True, slots=True)
class StratumRow:
    """The change trained − base within one level of one declared stratum. Always exploratory.

    Attributes:
        task, stratum, level: where; ``level`` is the printed value.
        n_items, n_clusters: sizes.
        before, after: accuracy of base and of trained (mean over seeds).
        change: with its 95% interval; NaN with the reason when the level is too small.
        p: two-sided p.
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
