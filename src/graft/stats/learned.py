"""Whether training taught what it trained: the manipulation check of a study, and the headline of a run without one."""

from __future__ import annotations

from dataclasses import dataclass

from graft.stats import wording
from graft.stats.arms import BASE, TRAINED, ArmAccuracy, Contrast, TaskScores
from graft.stats.contrasts import accuracies, measure_contrast, missing_arms, outcome_rows, read_sample
from graft.stats.spread import seed_variances


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


def check_trained(scores: TaskScores, *, margin: float = 0.02, alpha: float = 0.05) -> TrainedCheck | None:
    """How a trained task changed against the base, and every other arm beside it.

    Args:
        scores: scores of the task.
        margin: smallest change worth having, proportion units in (0, 1).
        alpha: error rate, in (0, 1).

    Returns:
        The check; ``None`` when the base or the trained arm was not scored.
    """
    return manipulation_check(scores, margin=margin, alpha=alpha)[0]


def manipulation_check(scores: TaskScores, *, margin: float, alpha: float) -> tuple[TrainedCheck | None, list[str]]:
    """The manipulation check and what it has against the study."""
    sample = read_sample(scores.task, scores.clusters, outcome_rows(scores))
    missing = missing_arms(sample, (BASE, TRAINED))
    if missing:
        return None, [f"trained task {scores.task}: {reason}" for reason in missing]
    arms = [arm for arm in sample.arms if arm not in (BASE, TRAINED)]
    variances = seed_variances([sample.arms])[0]
    contrasts = tuple(
        measure_contrast(sample, arm, BASE, variances, required=arm == TRAINED, margin=margin, alpha=alpha)
        for arm in (TRAINED, *arms)
    )
    change = contrasts[0].change
    passed = change.interval.low > 0
    moved = f"{scores.task} changed by {wording.points(change.estimate)} points ({wording.span(change.interval)})"
    verb = "improved" if passed else "did not improve"
    headline = f"The trained task {verb}: {moved}."
    trouble = [] if passed else [f"the trained task did not improve over the base: {moved}"]
    found = TrainedCheck(
        scores.task, passed, headline, sample.n_items, sample.n_clusters, sample.seeds, accuracies(sample), contrasts
    )
    return found, trouble
