"""The verdict: did training on one task change tasks that were never trained?

Rules, for each target task
    1. Two required contrasts, trained − base and trained − format. The p of each is the larger of its interval's and
       of the exact test's, so that McNemar's test is a gate of every claim. The claim "it transferred" is their
       intersection: its p is the larger of the two, and 1 unless both changes are positive. An intersection-union
       test needs no further correction (Berger 1982); since the p-values are two-sided, a gain is claimed falsely in
       at most about alpha/2 of studies.
    2. Holm over the claims of all targets, and over their losses.
    3. *invalid* if the leak audit failed, base or format control is missing, these checkpoints are not above
       both on the trained task, one-pass and generated verdicts disagree, or the strict scores contradict the outcome.
    4. *no verdict* with one seed: it says what this checkpoint does, not what training does.
    5. *transfer*, *harmed*, *floor*, *ceiling*, *no transfer* or *inconclusive*, in the order of
       :mod:`graft.stats.decide`.

Sources: Berger (1982), Technometrics 24:295–300; Holm (1979); Schuirmann (1987).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from graft.errors import DataError
from graft.stats import wording
from graft.stats.arms import BASE, FORMAT, TRAINED, Contrast, TaskScores
from graft.stats.ceiling import normalised_transfer
from graft.stats.contrasts import (
    Sample,
    Variances,
    accuracies,
    measure_contrast,
    missing_arms,
    no_contrast,
    outcome_rows,
    read_sample,
    scored_rows,
)
from graft.stats.decide import Evidence, Rules, decide
from graft.stats.form import split_change
from graft.stats.headlines import collateral_headline, study_headline, target_headline
from graft.stats.intervals import NAN
from graft.stats.learned import manipulation_check
from graft.stats.multiplicity import holm
from graft.stats.needed import words_to_decide
from graft.stats.spread import seed_variances
from graft.stats.study import CONFIRMATORY_SEEDS, Collateral, Study, TargetVerdict, Verdict

MOST_DISAGREEMENT = 0.01
"""Share of items whose one-pass and generated verdicts may differ; above it the border of the answer is broken."""

SHOWN_OVER = (Verdict.TRANSFER, Verdict.HARMED)
"""What one target suffices for, in this order; any other word needs all targets."""


def judge(
    trained_task: TaskScores,
    targets: Sequence[TaskScores],
    *,
    audit_ok: bool,
    audit_reasons: Sequence[str] = (),
    broken: Sequence[str] = (),
    collateral: Sequence[TaskScores] = (),
    margin: float = 0.02,
    alpha: float = 0.05,
    controls: Sequence[str] = (FORMAT,),
    confirmatory_seeds: int = CONFIRMATORY_SEEDS,
) -> Study:
    """Conclude a transfer study by the rules above.

    Args:
        trained_task: scores of the task that was trained; needs ``base`` and the ``trained`` arm.
        targets: the declared family of tasks that were not trained, at least one.
        audit_ok: whether the leak audit passed.
        audit_reasons: what it found, one clause each.
        broken: what else makes the whole study invalid, one clause each.
        collateral: tasks of which only harm is reported.
        margin: smallest change worth having, proportion units in (0, 1).
        alpha: error rate of the family, in (0, 1).
        controls: the trained controls that a claim must beat beside the base.
        confirmatory_seeds: seeds below which everything is labelled exploratory.

    Raises:
        DataError: if there is no target, a name is doubled, a number is out of range, or shapes disagree.
    """
    rules = Rules(margin, alpha, tuple(controls))
    _check([trained_task, *targets, *collateral], len(targets), rules)
    trained, missing = manipulation_check(trained_task, margin=margin, alpha=alpha)
    trouble = missing if trained is None else _untaught(trained_task, rules)
    if not audit_ok:
        trouble = [*(f"leak audit: {reason}" for reason in audit_reasons or ["failed"]), *trouble]
    trouble = [*broken, *trouble]
    evidence = gather(targets, rules)
    verdicts = tuple(_target(trained_task.task, found, trouble, rules, confirmatory_seeds) for found in evidence)
    incomplete = [f"{e.scores.task}: {reason}" for e in evidence for reason in _incomplete(e.sample, rules)]
    verdict, reasons = _overall(verdicts, [*trouble, *incomplete])
    seeds = min(target.seeds for target in verdicts)
    exploratory = seeds < confirmatory_seeds
    prefix = wording.label(exploratory, seeds)
    return Study(
        verdict=verdict,
        reasons=tuple(reasons),
        headline=study_headline(trained_task.task, verdict, reasons, verdicts, prefix),
        trained=trained,
        targets=verdicts,
        margin=margin,
        alpha=alpha,
        seeds=seeds,
        confirmatory_seeds=confirmatory_seeds,
        exploratory=exploratory,
        audit_ok=audit_ok,
        audit_reasons=tuple(audit_reasons),
        collateral=_collateral(trained_task.task, collateral, rules),
    )


def _untaught(scores: TaskScores, rules: Rules) -> list[str]:
    """Which of base and controls these very checkpoints are not above on the task they were trained on.

    The seeds are taken as they are: whether training would teach it again is for "learned" to say, while a study needs
    only that these models were taught. So few seeds, of which little can be inferred, do not make it invalid.
    """
    sample = read_sample(scores.task, scores.clusters, outcome_rows(scores))
    found = []
    for before in (BASE, *rules.controls):
        if before in sample.arms:
            contrast = measure_contrast(
                sample, TRAINED, before, {}, required=True, margin=rules.margin, alpha=rules.alpha
            )
            if not contrast.change.interval.low > 0:
                found.append(f"{scores.task} was trained but changed by only {wording.changes([contrast])}")
    return found


def _check(tasks: Sequence[TaskScores], targets: int, rules: Rules) -> None:
    """Refuse a study that cannot be judged at all."""
    names = [scores.task for scores in tasks]
    if not targets:
        raise DataError("a study needs at least 1 target task, but got 0; add a task that was not trained")
    if len(set(names)) < len(names):
        raise DataError(f"every task must stand once in a study, but got {', '.join(names)}")
    if not 0 < rules.margin < 1 or not 0 < rules.alpha < 1:
        raise DataError(f"margin and alpha must lie in (0, 1), but got margin={rules.margin}, alpha={rules.alpha}")


def gather(targets: Sequence[TaskScores], rules: Rules) -> list[Evidence]:
    """Measure every target of a declared family: contrasts, p-values after Holm, and the strict ones beside."""
    samples = [read_sample(target.task, target.clusters, outcome_rows(target)) for target in targets]
    strict = [
        read_sample(target.task, target.clusters, scored_rows(target.task, len(target.clusters), target.strict))
        for target in targets
    ]
    variances = seed_variances([sample.arms for sample in samples])
    strict_variances = seed_variances([sample.arms for sample in strict])
    contrasts = [_contrasts(sample, own, rules) for sample, own in zip(samples, variances, strict=True)]
    gains, losses = (
        holm([_gain_p(_required(found)) for found in contrasts]),
        holm([_loss_p(found[0]) for found in contrasts]),
    )
    return [
        Evidence(
            scores=targets[k],
            sample=samples[k],
            variances=variances[k],
            arms=accuracies(samples[k]),
            contrasts=contrasts[k],
            gain_p=_gain_p(_required(contrasts[k])),
            gain_p_adjusted=float(gains[k]),
            loss_p_adjusted=float(losses[k]),
            strict=_strict_contrasts(strict[k], strict_variances[k], rules),
            skill=_skill_contrasts(targets[k], samples[k], variances[k], rules),
        )
        for k in range(len(targets))
    ]


def _contrasts(sample: Sample, variances: Variances, rules: Rules) -> tuple[Contrast, ...]:
    """The required contrasts, undefined where an arm is missing, then every other arm against the base."""
    found = []
    for before in (BASE, *rules.controls):
        missing = missing_arms(sample, (TRAINED, before))
        found.append(
            no_contrast(TRAINED, before, " and ".join(missing), rules.margin)
            if missing
            else measure_contrast(
                sample, TRAINED, before, variances, required=True, margin=rules.margin, alpha=rules.alpha
            )
        )
    if not missing_arms(sample, (BASE,)):
        found += [
            measure_contrast(sample, arm, BASE, variances, required=False, margin=rules.margin, alpha=rules.alpha)
            for arm in sample.arms
            if arm not in (BASE, TRAINED)
        ]
    return tuple(found)


def _strict_contrasts(sample: Sample, variances: Variances, rules: Rules) -> tuple[Contrast, ...]:
    """The required contrasts by strict score, where all their arms have one."""
    if missing_arms(sample, (BASE, TRAINED, *rules.controls)):
        return ()
    return tuple(
        measure_contrast(sample, TRAINED, before, variances, required=True, margin=rules.margin, alpha=rules.alpha)
        for before in (BASE, *rules.controls)
    )


def _skill_contrasts(scores: TaskScores, sample: Sample, variances: Variances, rules: Rules) -> tuple[Contrast, ...]:
    """Base and trained against the best answer that needs no skill, where such answers were scored."""
    rivals = scored_rows(scores.task, sample.n_items, scores.rivals)
    if not rivals or not sample.n_items:
        return ()
    best = max(rivals, key=lambda name: float(rivals[name].mean()))
    beside = read_sample(scores.task, scores.clusters, {**sample.rows, best: rivals[best]})
    return tuple(
        measure_contrast(beside, arm, best, variances, required=False, margin=rules.margin, alpha=rules.alpha)
        for arm in (BASE, TRAINED)
        if arm in sample.arms
    )


def _required(contrasts: Sequence[Contrast]) -> list[Contrast]:
    return [contrast for contrast in contrasts if contrast.required]


def _gain_p(required: Sequence[Contrast]) -> float:
    """P of "better than both": the larger p, 1 unless both changes are positive, NaN when one is undefined."""
    if any(math.isnan(contrast.change.p) for contrast in required):
        return NAN
    if not all(contrast.change.estimate > 0 for contrast in required):
        return 1.0
    return max(contrast.change.p for contrast in required)


def _loss_p(against_base: Contrast) -> float:
    """P of "worse than the base", 1 unless the change is negative, NaN when it is undefined."""
    change = against_base.change
    return change.p if math.isnan(change.p) or change.estimate < 0 else 1.0


def _incomplete(sample: Sample, rules: Rules) -> list[str]:
    return missing_arms(sample, (BASE, TRAINED, *rules.controls))


def _trouble(found: Evidence, rules: Rules) -> list[str]:
    """What makes this target invalid before any number is read."""
    share = found.scores.disagreement
    broken = f"broken boundary: one-pass and generated verdicts disagree on {100 * share:.1f}% of the items"
    return [*_incomplete(found.sample, rules), *([broken] if share > MOST_DISAGREEMENT else [])]


def _target(
    trained: str, found: Evidence, trouble: Sequence[str], rules: Rules, confirmatory_seeds: int
) -> TargetVerdict:
    """One target's verdict from its measured contrasts."""
    sample, required = found.sample, found.required
    against = [*trouble, *_trouble(found, rules)]
    verdict, reason = (Verdict.INVALID, "; ".join(against)) if against else decide(found, rules)
    words, words_reason = NAN, "only an inconclusive verdict needs it"
    if verdict is Verdict.INCONCLUSIVE:
        words, words_reason = words_to_decide(sample, required, found.variances, rules.margin, found.scores.pool)
        reason = wording.undecided(required, words, words_reason, found.gain_p_adjusted)
    exploratory = sample.seeds < confirmatory_seeds
    normalised, gap = normalised_transfer(sample, found.variances)
    return TargetVerdict(
        task=sample.task,
        verdict=verdict,
        reason=reason,
        headline=target_headline(trained, sample.task, verdict, reason, exploratory, sample.seeds),
        exploratory=exploratory,
        n_items=sample.n_items,
        n_clusters=sample.n_clusters,
        seeds=sample.seeds,
        arms=found.arms,
        contrasts=found.contrasts,
        claim_p=found.gain_p,
        claim_p_adjusted=found.gain_p_adjusted,
        harm_p_adjusted=found.loss_p_adjusted,
        normalised=normalised,
        ceiling_gap=gap,
        words_to_decide=words,
        words_reason=words_reason,
        strict=found.strict,
        form=split_change(found.scores, sample),
    )


def _overall(targets: Sequence[TargetVerdict], trouble: Sequence[str]) -> tuple[Verdict, list[str]]:
    """The study's verdict word and its reasons."""
    valid = [target for target in targets if target.verdict is not Verdict.INVALID]
    reasons = [f"{target.task}: {target.reason}" for target in targets]
    if trouble or not valid:
        return Verdict.INVALID, list(trouble) or reasons
    words = {target.verdict for target in valid}
    for word in SHOWN_OVER:
        if word in words:
            return word, reasons
    return (words.pop() if len(words) == 1 else Verdict.INCONCLUSIVE), reasons


def _collateral(trained: str, tasks: Sequence[TaskScores], rules: Rules) -> tuple[Collateral, ...]:
    """Whether training harmed the tasks that no claim is made about; those without base or trained are left out."""
    samples = [read_sample(scores.task, scores.clusters, outcome_rows(scores)) for scores in tasks]
    samples = [sample for sample in samples if not missing_arms(sample, (BASE, TRAINED))]
    variances = seed_variances([sample.arms for sample in samples])
    measured = [
        tuple(
            measure_contrast(sample, TRAINED, before, own, required=False, margin=rules.margin, alpha=rules.alpha)
            for before in (BASE, FORMAT)
            if before in sample.arms
        )
        for sample, own in zip(samples, variances, strict=True)
    ]
    adjusted = holm([_loss_p(contrasts[0]) for contrasts in measured])
    found = []
    for sample, contrasts, p in zip(samples, measured, adjusted, strict=True):
        change, seeds = contrasts[0].change, sample.arms[TRAINED].seeds
        harmed = bool(p < rules.alpha) and change.interval.high < 0 and seeds > 1
        excluded = change.interval90.low > -rules.margin and seeds > 1
        said = collateral_headline(trained, sample.task, contrasts[0], harmed, excluded, seeds)
        sizes = (sample.n_items, sample.n_clusters, seeds)
        found.append(Collateral(sample.task, harmed, excluded, said, float(p), *sizes, accuracies(sample), contrasts))
    return tuple(found)
