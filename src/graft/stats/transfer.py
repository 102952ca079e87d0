"""The verdict: did training on one task change tasks that were never trained?

Rules, for each target task
    1. Required contrasts: trained − base and trained − each control that must be beaten. The p of each is the larger of
       its interval's and of the exact test's, so that McNemar's test is a gate of every claim. The claim "it
       transferred" is their intersection: its p is the largest, and 1 unless all changes are positive. Such an
       intersection-union test needs no further correction (Berger 1982); since the p-values are two-sided, a gain is
       claimed falsely in at most about alpha/2 of studies.
    2. Holm over the claims of all targets, and over their losses.
    3. *invalid* if the leak audit failed, base or a control is missing, these checkpoints are not above all of them on
       the trained task, one-pass and generated verdicts disagree, or the strict scores contradict the outcome.
    4. *no verdict* with one seed: it says what this checkpoint does, not what training does.
    5. *transfer*, *harmed*, *floor*, *ceiling*, *no transfer* or *inconclusive*, in the order of
       :mod:`graft.stats.decide`.

Sources: Berger (1982), Technometrics 24:295–300; Holm (1979); Schuirmann (1987).
"""

from __future__ import annotations

from collections.abc import Sequence

from graft.errors import DataError
from graft.stats import wording
from graft.stats.arms import BASE, FORMAT, TRAINED, TaskScores
from graft.stats.ceiling import normalised_transfer
from graft.stats.collateral import judge_collateral
from graft.stats.contrasts import (
    Sample,
    accuracies,
    measure_contrast,
    missing_arms,
    outcome_rows,
    read_sample,
)
from graft.stats.decide import Evidence, Rules, decide
from graft.stats.evidence import gather
from graft.stats.form import split_change
from graft.stats.headlines import study_headline, target_headline
from graft.stats.intervals import NAN
from graft.stats.learned import manipulation_check
from graft.stats.needed import words_to_decide
from graft.stats.study import CONFIRMATORY_SEEDS, Study, TargetVerdict, Verdict

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
    trained, missing = manipulation_check(trained_task, margin=margin, alpha=alpha, controls=controls)
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
        collateral=judge_collateral(trained_task.task, collateral, rules),
    )


def _untaught(scores: TaskScores, rules: Rules) -> list[str]:
    """Which of base and controls these very checkpoints are not above on the task they were trained on.

    The seeds are taken as they are: whether training would teach it again is for "learned" to say, while a study needs
    only that these models were taught. So few seeds, of which little can be inferred, do not make it invalid. A base
    that leaves no room for a gain is named as the likely cause.
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
    full = wording.no_room(BASE, accuracies(sample)[0].accuracy, rules.margin) if found else ""
    return [*found, full] if full else found


def _check(tasks: Sequence[TaskScores], targets: int, rules: Rules) -> None:
    """Refuse a study that cannot be judged at all."""
    names = [scores.task for scores in tasks]
    if not targets:
        raise DataError("a study needs at least 1 target task, but got 0; add a task that was not trained")
    if len(set(names)) < len(names):
        raise DataError(f"every task must stand once in a study, but got {', '.join(names)}")
    if not 0 < rules.margin < 1 or not 0 < rules.alpha < 1:
        raise DataError(f"margin and alpha must lie in (0, 1), but got margin={rules.margin}, alpha={rules.alpha}")


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
