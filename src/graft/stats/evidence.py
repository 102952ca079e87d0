"""Measuring every target of a declared family: contrasts, p-values after Holm, and what stands beside them."""

from __future__ import annotations

import math
from collections.abc import Sequence

from graft.stats.arms import BASE, TRAINED, Contrast, TaskScores
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
from graft.stats.decide import Evidence, Rules
from graft.stats.intervals import NAN
from graft.stats.multiplicity import holm
from graft.stats.spread import seed_variances


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
        holm([gain_p(_required(found)) for found in contrasts]),
        holm([loss_p(found[0]) for found in contrasts]),
    )
    return [
        Evidence(
            scores=targets[k],
            sample=samples[k],
            variances=variances[k],
            arms=accuracies(samples[k]),
            contrasts=contrasts[k],
            gain_p=gain_p(_required(contrasts[k])),
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


def gain_p(required: Sequence[Contrast]) -> float:
    """P of "better than both": the larger p, 1 unless both changes are positive, NaN when one is undefined."""
    if any(math.isnan(contrast.change.p) for contrast in required):
        return NAN
    if not all(contrast.change.estimate > 0 for contrast in required):
        return 1.0
    return max(contrast.change.p for contrast in required)


def loss_p(against_base: Contrast) -> float:
    """P of "worse than the base", 1 unless the change is negative, NaN when it is undefined."""
    change = against_base.change
    return change.p if math.isnan(change.p) or change.estimate < 0 else 1.0
