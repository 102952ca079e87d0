"""The verdict: did training on one task change tasks that were never trained?

Rules, for each target task
    1. Two required contrasts, trained − base and trained − format, each by the paired hierarchical bootstrap. The
       claim "it transferred" is their intersection: its p is the larger of the two two-sided p-values, and 1 unless
       both changes are positive. An intersection-union test needs no further correction (Berger 1982); since the
       p-values are two-sided, a gain is claimed falsely in at most about alpha/2 of studies.
    2. Holm over the claims of all targets.
    3. *invalid* if the leak audit failed, base or format control is missing, or the trained task itself did not
       improve over the base (its 95% interval must lie above zero).
    4. *transfer* if the adjusted p is below alpha.
    5. *no transfer* if a gain as large as the margin is excluded: equivalence is shown on a required contrast, or
       the upper end of its 90% interval lies below + margin. Each exclusion errs in at most 5% of samples; as either
       contrast may exclude, the two together in at most 10%.
    6. else *inconclusive*, with the number of words that would decide.

Sources: Berger (1982), Technometrics 24:295–300; Holm (1979); Schuirmann (1987); Owen (2007).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from graft.errors import DataError
from graft.stats import wording
from graft.stats.arms import BASE, FORMAT, TRAINED, Contrast, TaskScores
from graft.stats.contrasts import (
    Sample,
    accuracies,
    measure_contrast,
    missing_arms,
    no_contrast,
    normalised_transfer,
    resample_arms,
    words_to_decide,
)
from graft.stats.headlines import study_headline, target_headline
from graft.stats.intervals import NAN
from graft.stats.learned import TrainedCheck, manipulation_check
from graft.stats.multiplicity import holm
from graft.stats.study import CONFIRMATORY_SEEDS, Study, TargetVerdict, Verdict


@dataclass(frozen=True, slots=True)
class Rules:
    """The numbers of a study that were fixed before it ran."""

    margin: float
    alpha: float
    resamples: int
    confirmatory_seeds: int


def judge(
    trained_task: TaskScores,
    targets: Sequence[TaskScores],
    *,
    rng: np.random.Generator,
    audit_ok: bool,
    audit_reasons: Sequence[str] = (),
    margin: float = 0.02,
    alpha: float = 0.05,
    resamples: int = 10_000,
    confirmatory_seeds: int = CONFIRMATORY_SEEDS,
) -> Study:
    """Conclude a transfer study by the rules above.

    Args:
        trained_task: scores of the task that was trained; needs ``base`` and the ``trained`` arm.
        targets: the declared family of tasks that were not trained, at least one.
        rng: source of randomness.
        audit_ok: whether the leak audit passed.
        audit_reasons: what it found, one clause each.
        margin: smallest change worth having, proportion units in (0, 1).
        alpha: error rate of the family, in (0, 1).
        resamples: bootstrap replicates; at least 2·targets/alpha, or no claim could ever pass Holm.
        confirmatory_seeds: seeds below which everything is labelled exploratory.

    Raises:
        DataError: if there is no target, a name is doubled, a number is out of range, or shapes disagree.
    """
    rules = Rules(margin, alpha, resamples, confirmatory_seeds)
    _check(trained_task, targets, rules)
    trained, trouble = manipulation_check(trained_task, rng=rng, margin=margin, alpha=alpha, resamples=resamples)
    if not audit_ok:
        trouble = [*(f"leak audit: {reason}" for reason in audit_reasons or ["failed"]), *trouble]
    samples = [resample_arms(target, rng, resamples) for target in targets]
    contrasts = [_contrasts(sample, rng, rules) for sample in samples]
    claims = [_claim_p(found[:2]) for found in contrasts]
    verdicts = tuple(
        _target(trained_task.task, sample, found, claim, float(adjusted), trouble, rng, rules)
        for sample, found, claim, adjusted in zip(samples, contrasts, claims, holm(claims), strict=True)
    )
    return _study(trained_task.task, trained, verdicts, trouble, rules, audit_ok, tuple(audit_reasons))


def _check(trained_task: TaskScores, targets: Sequence[TaskScores], rules: Rules) -> None:
    """Refuse a study that cannot be judged at all."""
    names = [trained_task.task, *(target.task for target in targets)]
    if not targets:
        raise DataError("a study needs at least 1 target task, but got 0; add a task that was not trained")
    if len(set(names)) < len(names):
        raise DataError(f"every task must stand once in a study, but got {', '.join(names)}")
    if not 0 < rules.margin < 1 or not 0 < rules.alpha < 1:
        raise DataError(f"margin and alpha must lie in (0, 1), but got margin={rules.margin}, alpha={rules.alpha}")
    least = math.ceil(2 * len(targets) / rules.alpha)
    if rules.resamples < least:
        raise DataError(
            f"resamples must be at least {least} for {len(targets)} targets at alpha {rules.alpha}, "
            f"but got {rules.resamples}: a bootstrap p cannot fall below 2/(resamples + 1)"
        )


def _contrasts(sample: Sample, rng: np.random.Generator, rules: Rules) -> tuple[Contrast, ...]:
    """The two required contrasts, undefined where an arm is missing, then every other arm against the base."""
    found = []
    for before in (BASE, FORMAT):
        missing = missing_arms(sample, (TRAINED, before))
        found.append(
            no_contrast(TRAINED, before, " and ".join(missing), rules.margin)
            if missing
            else measure_contrast(sample, TRAINED, before, rng, required=True, margin=rules.margin, alpha=rules.alpha)
        )
    if not missing_arms(sample, (BASE,)):
        found += [
            measure_contrast(sample, arm, BASE, rng, required=False, margin=rules.margin, alpha=rules.alpha)
            for arm in sample.rows
            if arm not in (BASE, TRAINED)
        ]
    return tuple(found)


def _claim_p(required: Sequence[Contrast]) -> float:
    """P of "better than both": the larger p, 1 unless both changes are positive, NaN when one is undefined."""
    if any(math.isnan(contrast.change.p) for contrast in required):
        return NAN
    if not all(contrast.change.estimate > 0 for contrast in required):
        return 1.0
    return max(contrast.change.p for contrast in required)


def _decide(required: Sequence[Contrast], adjusted: float, rules: Rules) -> tuple[Verdict, str]:
    """Rules 4 to 6 for one complete target; an inconclusive one still lacks its reason."""
    if adjusted < rules.alpha:
        small = [c for c in required if c.equivalence.shown]
        note = f", though less than {wording.size(rules.margin)} against {wording.rival(small[0])}" if small else ""
        return Verdict.TRANSFER, f"{wording.changes(required)}, adjusted p = {wording.p_value(adjusted)}{note}"
    for contrast in required:
        if contrast.equivalence.shown:
            return Verdict.NO_TRANSFER, wording.equivalent(contrast)
    for contrast in required:
        if contrast.change.interval90.high < rules.margin:
            return Verdict.NO_TRANSFER, wording.ruled_out(contrast)
    return Verdict.INCONCLUSIVE, ""


def _target(
    trained: str,
    sample: Sample,
    contrasts: tuple[Contrast, ...],
    claim: float,
    adjusted: float,
    trouble: Sequence[str],
    rng: np.random.Generator,
    rules: Rules,
) -> TargetVerdict:
    """One target's verdict from its measured contrasts."""
    against = [*trouble, *missing_arms(sample, (BASE, TRAINED, FORMAT))]
    required, words, words_reason = contrasts[:2], NAN, "only an inconclusive verdict needs it"
    if against:
        verdict, reason = Verdict.INVALID, "; ".join(against)
    else:
        verdict, reason = _decide(required, adjusted, rules)
    if verdict is Verdict.INCONCLUSIVE:
        words, words_reason = words_to_decide(sample, required, rules.margin)
        reason = wording.undecided(required, words, words_reason, adjusted)
    exploratory = sample.seeds < rules.confirmatory_seeds
    normalised, gap = normalised_transfer(sample, rng)
    return TargetVerdict(
        task=sample.task,
        verdict=verdict,
        reason=reason,
        headline=target_headline(trained, sample.task, verdict, reason, exploratory, sample.seeds),
        exploratory=exploratory,
        n_items=sample.n_items,
        n_clusters=sample.n_clusters,
        seeds=sample.seeds,
        arms=accuracies(sample),
        contrasts=contrasts,
        claim_p=claim,
        claim_p_adjusted=adjusted,
        normalised=normalised,
        ceiling_gap=gap,
        words_to_decide=words,
        words_reason=words_reason,
    )


def _study(
    task: str,
    trained: TrainedCheck | None,
    targets: tuple[TargetVerdict, ...],
    trouble: Sequence[str],
    rules: Rules,
    audit_ok: bool,
    audit_reasons: tuple[str, ...],
) -> Study:
    """The whole from its parts: an incomplete target makes a declared family invalid."""
    verdict, reasons = _overall(targets, trouble)
    seeds = min(target.seeds for target in targets)
    exploratory = seeds < rules.confirmatory_seeds
    return Study(
        verdict=verdict,
        reasons=tuple(reasons),
        headline=study_headline(task, verdict, reasons, targets, wording.label(exploratory, seeds)),
        trained=trained,
        targets=targets,
        margin=rules.margin,
        alpha=rules.alpha,
        resamples=rules.resamples,
        seeds=seeds,
        confirmatory_seeds=rules.confirmatory_seeds,
        exploratory=exploratory,
        audit_ok=audit_ok,
        audit_reasons=audit_reasons,
    )


def _overall(targets: Sequence[TargetVerdict], trouble: Sequence[str]) -> tuple[Verdict, list[str]]:
    """The study's verdict word and its reasons."""
    if trouble:
        return Verdict.INVALID, list(trouble)
    by_word = {word: [t for t in targets if t.verdict is word] for word in Verdict}
    invalid = by_word[Verdict.INVALID]
    if invalid:
        return Verdict.INVALID, [f"{target.task}: {target.reason}" for target in invalid]
    reasons = [f"{target.task}: {target.reason}" for target in targets]
    if by_word[Verdict.TRANSFER]:
        return Verdict.TRANSFER, reasons
    all_null = len(by_word[Verdict.NO_TRANSFER]) == len(targets)
    return (Verdict.NO_TRANSFER if all_null else Verdict.INCONCLUSIVE), reasons
