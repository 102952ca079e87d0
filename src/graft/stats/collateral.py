"""Tasks of which only harm is reported: what training should leave alone."""

from __future__ import annotations

from collections.abc import Sequence

from graft.stats.arms import BASE, COMPARED, TRAINED, TaskScores
from graft.stats.contrasts import accuracies, measure_contrast, missing_arms, outcome_rows, read_sample
from graft.stats.decide import Rules
from graft.stats.evidence import loss_p
from graft.stats.headlines import collateral_headline
from graft.stats.multiplicity import holm
from graft.stats.spread import seed_variances
from graft.stats.study import Collateral


def judge_collateral(trained: str, tasks: Sequence[TaskScores], rules: Rules) -> tuple[Collateral, ...]:
    """Whether training harmed the tasks that no claim is made about; those without base or trained are left out."""
    samples = [read_sample(scores.task, scores.clusters, outcome_rows(scores)) for scores in tasks]
    samples = [sample for sample in samples if not missing_arms(sample, (BASE, TRAINED))]
    variances = seed_variances([sample.arms for sample in samples])
    measured = [
        tuple(
            measure_contrast(sample, TRAINED, before, own, required=False, margin=rules.margin, alpha=rules.alpha)
            for before in COMPARED
            if before in sample.arms
        )
        for sample, own in zip(samples, variances, strict=True)
    ]
    adjusted = holm([loss_p(contrasts[0]) for contrasts in measured])
    found = []
    for sample, contrasts, p in zip(samples, measured, adjusted, strict=True):
        change, seeds = contrasts[0].change, sample.arms[TRAINED].seeds
        harmed = bool(p < rules.alpha) and change.interval.high < 0 and seeds > 1
        excluded = change.interval90.low > -rules.margin and seeds > 1
        said = collateral_headline(trained, sample.task, contrasts[0], harmed, excluded, seeds)
        sizes = (sample.n_items, sample.n_clusters, seeds)
        found.append(Collateral(sample.task, harmed, excluded, said, float(p), *sizes, accuracies(sample), contrasts))
    return tuple(found)
