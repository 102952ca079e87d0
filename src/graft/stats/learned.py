"""Whether training taught what it trained: the manipulation check of a study, and the headline of a run without one.

*Learned* is said of a task on its own metric when the 95% interval of the trained arm lies above the base, above every
control that a claim must beat, and above every answer that needs no skill: the trivial ones and a learned shortcut.
Without a control it has *improved*; with one seed this checkpoint has, and nothing is said of training.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np

from graft.stats import wording
from graft.stats.arms import BASE, COMPARED, FORMAT, TRAINED, ArmAccuracy, Contrast, TaskScores
from graft.stats.contrasts import accuracies, measure_contrast, missing_arms, outcome_rows, read_sample, scored_rows
from graft.stats.spread import seed_variances


class Learned(Enum):
    """What may be said of a trained task."""

    LEARNED = "learned"
    IMPROVED = "improved"
    NOT_LEARNED = "not learned"
    CHECKPOINT_IMPROVED = "this checkpoint improved"
    CHECKPOINT_NOT = "this checkpoint did not improve"


@dataclass(frozen=True, slots=True)
class TrainedCheck:
    """Whether training did what it should on the task it trained (the manipulation check).

    Attributes:
        task: the trained task.
        passed: the trained arm is above everything that a required contrast compares it with.
        headline: one sentence for a reader.
        n_items, n_clusters, seeds: sizes.
        arms: score of every arm by the task's metric, base first.
        contrasts: the required ones, trained − base first, then the controls and the answers without skill;
            then the other arms against the base.
        word: what may be said.
        metric: the task's metric, for people.
    """

    task: str
    passed: bool
    headline: str
    n_items: int
    n_clusters: int
    seeds: int
    arms: tuple[ArmAccuracy, ...]
    contrasts: tuple[Contrast, ...]
    word: Learned
    metric: str = "accuracy"

    @property
    def required(self) -> tuple[Contrast, ...]:
        """What the word rests on."""
        return tuple(contrast for contrast in self.contrasts if contrast.required)


def check_trained(
    scores: TaskScores, *, margin: float = 0.02, alpha: float = 0.05, controls: Sequence[str] = (FORMAT,)
) -> TrainedCheck | None:
    """How a trained task changed against everything that it must beat, and every other arm beside it.

    Args:
        scores: scores of the task.
        margin: smallest change worth having, proportion units in (0, 1).
        alpha: error rate, in (0, 1).
        controls: the trained controls that it must beat, those that were scored.

    Returns:
        The check; ``None`` when the base or the trained arm was not scored.
    """
    return manipulation_check(scores, margin=margin, alpha=alpha, controls=controls)[0]


def manipulation_check(
    scores: TaskScores, *, margin: float, alpha: float, controls: Sequence[str]
) -> tuple[TrainedCheck | None, list[str]]:
    """The manipulation check and what it has against the study."""
    rows = outcome_rows(scores)
    arms = read_sample(scores.task, scores.clusters, rows)
    missing = missing_arms(arms, (BASE, TRAINED))
    if missing:
        return None, [f"trained task {scores.task}: {reason}" for reason in missing]
    rivals = scored_rows(scores.task, arms.n_items, scores.rivals)
    sample = read_sample(scores.task, scores.clusters, {**rows, **rivals})
    variances = seed_variances([arms.arms])[0]

    def measured(after: str, before: str, required: bool) -> Contrast:
        return measure_contrast(sample, after, before, variances, required=required, margin=margin, alpha=alpha)

    scored = [control for control in controls if control in rows]
    beaten = [BASE, *scored]
    beaten += sorted(rivals, key=lambda name: -float(np.mean(rivals[name])))
    required = tuple(measured(TRAINED, before, True) for before in beaten)
    others = tuple(measured(arm, BASE, False) for arm in rows if arm not in (BASE, TRAINED))
    short = [contrast for contrast in required if not contrast.change.interval.low > 0]
    word = _word(passed=not short, seeds=arms.arms[TRAINED].seeds, controlled=bool(scored))
    measures = accuracies(arms)
    said = _said(scores, required, short)
    if short and (full := wording.no_room(BASE, measures[0].accuracy, margin)):
        said += f"; {full}"
    found = TrainedCheck(
        task=scores.task,
        passed=not short,
        headline=f"{_BEGINNINGS[word]}: {said}.",
        n_items=arms.n_items,
        n_clusters=arms.n_clusters,
        seeds=arms.seeds,
        arms=measures,
        contrasts=(*required, *others),
        word=word,
        metric=scores.metric,
    )
    return found, [f"the trained task was not learned: {said}"] if short else []


_BEGINNINGS = {
    Learned.LEARNED: "The trained task was learned",
    Learned.IMPROVED: "The trained task improved; without a control nothing more is said",
    Learned.NOT_LEARNED: "The trained task was not learned",
    Learned.CHECKPOINT_IMPROVED: "One seed: this checkpoint improved on the trained task",
    Learned.CHECKPOINT_NOT: "One seed: this checkpoint did not improve on the trained task",
}


def _word(*, passed: bool, seeds: int, controlled: bool) -> Learned:
    if seeds < 2:
        return Learned.CHECKPOINT_IMPROVED if passed else Learned.CHECKPOINT_NOT
    if not passed:
        return Learned.NOT_LEARNED
    return Learned.LEARNED if controlled else Learned.IMPROVED


def _said(scores: TaskScores, required: Sequence[Contrast], short: Sequence[Contrast]) -> str:
    """The change against the base, and what is not beaten or, where all is, what comes nearest."""
    metric = "" if scores.metric == "accuracy" else f" in {scores.metric}"
    moved = f"{scores.task} changed by {_moved(required[0])} against the base{metric}"
    if not short:
        nearest = min(required, key=lambda contrast: contrast.change.interval.low)
        return moved if nearest is required[0] else f"{moved}, and by {_moved(nearest)} against {_rival(nearest)}"
    return f"{moved}; not shown to beat {wording.listed([_rival(contrast) for contrast in short])}"


def _moved(contrast: Contrast) -> str:
    change = contrast.change
    return f"{wording.points(change.estimate)} points ({change.reason or wording.span(change.interval)})"


def _rival(contrast: Contrast) -> str:
    return wording.rival(contrast) if contrast.before in COMPARED else f"'{contrast.before}'"
