"""The verdict word of one complete target, from what was measured."""

from __future__ import annotations

from dataclasses import dataclass

from graft.stats import wording
from graft.stats.arms import BASE, FORMAT, TRAINED, ArmAccuracy, Contrast, TaskScores
from graft.stats.contrasts import Sample, Variances
from graft.stats.equivalence import inside
from graft.stats.study import Verdict


@dataclass(frozen=True, slots=True)
class Rules:
    """What was fixed before a study ran.

    Attributes:
        margin: smallest change worth having.
        alpha: error rate.
        controls: the trained controls that a claim must beat beside the base.
    """

    margin: float
    alpha: float
    controls: tuple[str, ...] = (FORMAT,)


@dataclass(frozen=True, slots=True)
class Evidence:
    """Everything that is known about one target.

    Attributes:
        scores: what was scored.
        sample: the outcome by word.
        variances: seed variance by arm.
        arms: accuracy of every arm.
        contrasts: the required ones, base first, then the diagnostics.
        gain_p, gain_p_adjusted: p of "better than all of them", and after Holm.
        loss_p_adjusted: p of "worse than the base" after Holm.
        strict: the required contrasts by strict score, or none.
        skill: base and trained against the best answer that needs no skill, where such answers were scored.
    """

    scores: TaskScores
    sample: Sample
    variances: Variances
    arms: tuple[ArmAccuracy, ...]
    contrasts: tuple[Contrast, ...]
    gain_p: float
    gain_p_adjusted: float
    loss_p_adjusted: float
    strict: tuple[Contrast, ...]
    skill: tuple[Contrast, ...]

    @property
    def required(self) -> tuple[Contrast, ...]:
        """Trained − base and trained − each control that a claim must beat."""
        return tuple(contrast for contrast in self.contrasts if contrast.required)


def decide(found: Evidence, rules: Rules) -> tuple[Verdict, str]:
    """The first of these that holds; an inconclusive verdict still lacks its reason.

    1. One seed: no verdict.
    2. A gain over base and controls: *transfer*, unless strict scores fell (*invalid*) or trained is not shown to do
       better than the best answer that needs no skill (*floor*).
    3. *floor*: neither base nor trained is shown to do better than that.
    4. A loss against the base: *harmed*, unless strict scores rose over both (*invalid*).
    5. *ceiling*: the interval of the base or of a control leaves less room than the margin.
    6. Equivalence: *no transfer*, unless strict scores rose over both or fell below the base (*invalid*).
    7. *inconclusive*.
    """
    if found.sample.seeds < 2:
        return Verdict.ONE_SEED, f"one seed: this checkpoint changed by {wording.changes(found.required)}"
    rose = found.gain_p_adjusted < rules.alpha and all(c.change.interval.low > 0 for c in found.required)
    fell = found.loss_p_adjusted < rules.alpha and found.required[0].change.interval.high < 0
    if rose:
        return _gain(found, rules)
    low = [_reaches_trivial(found, arm) for arm in (BASE, TRAINED)]
    if all(low):
        return Verdict.FLOOR, f"{low[0]}, and {low[1]}"
    if fell:
        return _checked(found, Verdict.HARMED, _loss(found, rules), rules)
    full = [wording.no_room(arm, _accuracy(found, arm).accuracy, rules.margin) for arm in (BASE, *rules.controls)]
    if any(full):
        return Verdict.CEILING, " and ".join(filter(None, full))
    same = equivalent(found.required, rules)
    if same is not None:
        return _checked(found, Verdict.NO_TRANSFER, wording.equivalent(same), rules)
    return Verdict.INCONCLUSIVE, ""


def equivalent(required: tuple[Contrast, ...], rules: Rules) -> Contrast | None:
    """The contrast on which no change is shown.

    Either contrast may exclude a gain over both, so two chances to err are taken. They are bounded together as by
    Simes (1986): all contrasts within the margin at 5%, or one of them at 2.5%, which is its 95% interval. A second
    control gives no third chance.
    """
    if all(contrast.equivalence.shown for contrast in required):
        return required[0]
    return next((c for c in required[:2] if inside(c.change.interval, rules.margin)), None)


def _gain(found: Evidence, rules: Rules) -> tuple[Verdict, str]:
    against = [c for c in found.strict if c.change.p < rules.alpha and c.change.estimate < 0]
    if against:
        return Verdict.INVALID, f"format: the outcome rose, but strict scores fell: {wording.changes(against)}"
    low = _reaches_trivial(found, TRAINED)
    if low:
        return Verdict.FLOOR, f"{low}, although it gained {wording.changes(found.required)}"
    small = [c for c in found.required if c.equivalence.shown]
    note = f", though less than {wording.size(rules.margin)} against {wording.rival(small[0])}" if small else ""
    p = wording.p_value(found.gain_p_adjusted)
    return Verdict.TRANSFER, f"{wording.changes(found.required)}, adjusted {p}{note}"


def _loss(found: Evidence, rules: Rules) -> str:
    required = found.required
    small = f", though less than {wording.size(rules.margin)}" if required[0].equivalence.shown else ""
    return f"{wording.changes(required)}, adjusted {wording.p_value(found.loss_p_adjusted)}{small}"


def _checked(found: Evidence, verdict: Verdict, reason: str, rules: Rules) -> tuple[Verdict, str]:
    """The verdict, or *invalid* where the strict scores rose over base and control alike."""
    rose = [c for c in found.strict if c.change.p < rules.alpha and c.change.estimate > 0]
    if found.strict and len(rose) == len(found.strict):
        return Verdict.INVALID, f"format: the outcome says {verdict.value}, but strict scores rose by " + (
            wording.changes(rose)
        )
    return verdict, reason


def _accuracy(found: Evidence, arm: str) -> ArmAccuracy:
    return next(accuracy for accuracy in found.arms if accuracy.arm == arm)


def _reaches_trivial(found: Evidence, arm: str) -> str:
    """Why an arm is not shown to do better than what needs no skill; empty when it is, or nothing is known of that."""
    contrast = next((contrast for contrast in found.skill if contrast.after == arm), None)
    if contrast is None or contrast.change.interval.low > 0:
        return ""
    change = contrast.change
    moved = f"{wording.points(change.estimate)} points ({change.reason or wording.span(change.interval)})"
    return f"{arm} is {moved} against '{contrast.before.replace('_', ' ')}', which needs no skill"
