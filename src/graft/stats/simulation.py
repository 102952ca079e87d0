"""Whole studies drawn at random and judged by the real rules: how often is the verdict wrong?

A study has targets × arms × seeds × words. Every word has a difficulty that all arms share, a part that the seeds of
one arm share, and a part of its own, all standard normal; a word is right when their sum lies below the threshold that
gives the arm its accuracy under that seed. Seeds differ by normal shifts of that accuracy.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from graft.errors import DataError
from graft.stats.arms import BASE, FORMAT, SELF, TRAINED, TaskScores
from graft.stats.study import Study, Verdict
from graft.stats.transfer import judge

MOST_FALSE_TRANSFER = 0.025
"""Share of studies that may claim a transfer that does not exist."""

MOST_FALSE_NULL = 0.05
"""Share of studies that may say "no transfer" of a change that reaches the margin."""

COVERAGE = (0.93, 0.97)
"""Share of 95% intervals that should hold the truth. Below is a failure, above is reported as cautious."""

_QUADRATURE = ndtri((np.arange(4000) + 0.5) / 4000)


@dataclass(frozen=True, slots=True)
class Cell:
    """One kind of study.

    Attributes:
        name: what it stands for.
        seeds: training seeds S.
        words: words of each target.
        seed_sd: spread of the trained arm's accuracy between seeds, in proportion units.
        format_sd: the same of the controls; None for the same as ``seed_sd``.
        other_sd: the same of all arms on every target but the first; None for no difference.
        gain: how much the trained arm's accuracy lies above the base's, in expectation.
        format_gain: the same of the format control.
        self_gain: the same of a second control, the arm ``self``; None without one.
        accuracy: the base's.
        targets: declared targets, all alike.
        items: items a word has, which share its difficulties.
        discordance: share of items that change sides between base and a seed without gain, at a base of 50%.
        shared: correlation between two seeds of an item's change.
        seed_correlation: correlation of a seed's shifts between targets.
        format_only: strict scores of trained and format rise by this much while the outcome does not.
        margin: smallest change worth having.
    """

    name: str
    seeds: int
    words: int = 1000
    seed_sd: float = 0.0
    format_sd: float | None = None
    other_sd: float | None = None
    gain: float = 0.0
    format_gain: float = 0.0
    self_gain: float | None = None
    accuracy: float = 0.5
    targets: int = 1
    items: int = 1
    discordance: float = 0.2
    shared: float = 0.5
    seed_correlation: float = 0.0
    format_only: float = 0.0
    margin: float = 0.02

    def spread(self, arm: str, target: int) -> float:
        """The seed SD of one arm on one target."""
        if target and self.other_sd is not None:
            return self.other_sd
        return self.format_sd if arm != TRAINED and self.format_sd is not None else self.seed_sd

    @property
    def gains(self) -> dict[str, float]:
        """The expected gain of every trained arm, the trained one first."""
        found = {TRAINED: self.gain, FORMAT: self.format_gain}
        return found if self.self_gain is None else {**found, SELF: self.self_gain}

    @property
    def controls(self) -> tuple[str, ...]:
        """The controls that a claim must beat."""
        return tuple(self.gains)[1:]

    def truth(self, arm: str, target: int) -> float:
        """Expected accuracy of an arm over all seeds and words; the shifts are cut at 0 and 1."""
        gain = self.gains.get(arm, 0.0)
        shifts = 0.0 if arm == BASE else self.spread(arm, target) * _QUADRATURE
        return float(np.mean(np.clip(self.accuracy + gain + shifts, 0, 1)))

    def change(self, before: str, target: int = 0) -> float:
        """The true change from an arm to the trained one."""
        return self.truth(TRAINED, target) - self.truth(before, target)


@dataclass(frozen=True, slots=True)
class CellResult:
    """How the verdicts of one cell came out; shares in [0, 1], NaN where a mistake is impossible.

    Attributes:
        cell: the kind of study.
        studies: how many were judged.
        false_transfer: share that claims a transfer, of any target, that does not exist.
        false_null: share that says "no transfer" of a target whose change reaches the margin on all contrasts.
        false_harm: share that says "harmed" of a target that is not.
        coverage_base, coverage_control: share of 95% intervals of trained − base and − controls that hold the truth.
        verdicts: share of targets by verdict word.
        half: median half-width of the interval of trained − format, in proportion units.
    """

    cell: Cell
    studies: int
    false_transfer: float
    false_null: float
    false_harm: float
    coverage_base: float
    coverage_control: float
    verdicts: dict[str, float]
    half: float

    def failures(self) -> tuple[str, ...]:
        """The thresholds that this cell breaks by more than two standard errors of its own simulation."""
        found = []
        for name, share, limit in (
            ("false transfer", self.false_transfer, MOST_FALSE_TRANSFER),
            ("false no transfer", self.false_null, MOST_FALSE_NULL),
            ("false harm", self.false_harm, MOST_FALSE_TRANSFER),
        ):
            if share > limit + self._error(limit):
                found.append(f"{name} in {100 * share:.1f}% of studies, at most {100 * limit:g}% are allowed")
        for name, share in ((BASE, self.coverage_base), ("a control", self.coverage_control)):
            if share < COVERAGE[0] - self._error(COVERAGE[0]):
                found.append(f"the 95% interval against {name} covers {100 * share:.1f}%")
        return tuple(found)

    def cautious(self) -> bool:
        """An interval holds the truth more often than it promises, by more than the simulation's error."""
        limit = COVERAGE[1] + self._error(COVERAGE[1])
        return max(self.coverage_base, self.coverage_control) > limit

    def _error(self, share: float) -> float:
        return 2 * math.sqrt(share * (1 - share) / self.studies)


def simulate(cell: Cell, studies: int, rng: np.random.Generator) -> CellResult:
    """Draw and judge studies of one kind.

    Args:
        cell: the kind.
        studies: how many, at least 1.
        rng: source of randomness.

    Raises:
        DataError: if ``studies`` is below 1.
    """
    if studies < 1:
        raise DataError(f"a simulation needs at least 1 study, but got {studies}; 1000 show a share of 2.5% within 1")
    judged = [
        judge(_learned(), targets, audit_ok=True, margin=cell.margin, controls=cell.controls)
        for targets in draw_studies(cell, studies, rng)
    ]
    gains = [min(cell.change(before, k) for before in (BASE, *cell.controls)) for k in range(cell.targets)]
    return CellResult(
        cell,
        studies,
        false_transfer=_share(judged, Verdict.TRANSFER, [gain <= 1e-9 for gain in gains]),
        false_null=_share(judged, Verdict.NO_TRANSFER, [gain >= cell.margin - 1e-9 for gain in gains]),
        false_harm=_share(judged, Verdict.HARMED, [cell.change(BASE, k) >= -1e-9 for k in range(cell.targets)]),
        coverage_base=_coverage(judged, cell, (BASE,)),
        coverage_control=_coverage(judged, cell, cell.controls),
        verdicts=_words(judged),
        half=float(np.median([_width(study) for study in judged])),
    )


def draw_studies(cell: Cell, studies: int, rng: np.random.Generator) -> Iterator[list[TaskScores]]:
    """The targets of many studies, one study after another."""
    words = np.repeat(np.arange(cell.words), cell.items)
    agreement = math.cos(math.pi * cell.discordance)  # of the latent difficulties, for changes at a base of 50%
    for _ in range(studies):
        shifts = _seed_shifts(cell, rng)
        yield [_target(cell, k, words, agreement, shifts[:, k], rng) for k in range(cell.targets)]


def _seed_shifts(cell: Cell, rng: np.random.Generator) -> NDArray[np.float64]:
    """(arms, targets, seeds) shifts of the trained arms, not yet scaled."""
    common = rng.normal(size=(len(cell.gains), 1, cell.seeds))
    own = rng.normal(size=(len(cell.gains), cell.targets, cell.seeds))
    mixed: NDArray[np.float64] = math.sqrt(cell.seed_correlation) * common + math.sqrt(1 - cell.seed_correlation) * own
    return mixed


def _target(
    cell: Cell,
    target: int,
    words: NDArray[np.intp],
    agreement: float,
    shifts: NDArray[np.float64],
    rng: np.random.Generator,
) -> TaskScores:
    """One target: base, and every trained arm under every seed."""

    def part(*rows: int) -> NDArray[np.float64]:
        return (
            rng.normal(size=(*rows, cell.words))[..., words] if cell.items > 1 else rng.normal(size=(*rows, cell.words))
        )

    difficulty = part()
    base = difficulty < ndtri(cell.accuracy)
    arms = {}
    for row, (arm, gain) in enumerate(cell.gains.items()):
        accuracy = np.clip(cell.accuracy + gain + cell.spread(arm, target) * shifts[row], 0, 1)
        change = math.sqrt(cell.shared) * part() + math.sqrt(1 - cell.shared) * part(cell.seeds)
        latent = agreement * difficulty + math.sqrt(1 - agreement**2) * change
        arms[arm] = latent < ndtri(accuracy)[:, None]
    strict = {}
    if cell.format_only:
        formed = {arm: rng.random(rows.shape) < cell.format_only for arm, rows in arms.items()}
        strict = {BASE: np.zeros_like(base)[None], **{arm: rows & formed[arm] for arm, rows in arms.items()}}
    return TaskScores(f"target {target}", words, base, arms, strict=strict)


def _learned() -> TaskScores:
    """A trained task that clearly improved, so that no study is invalid for want of training."""
    words = np.arange(40)
    return TaskScores("trained task", words, words < 0, {TRAINED: np.tile(words < 38, (2, 1))})


def _share(studies: list[Study], verdict: Verdict, wrong: list[bool]) -> float:
    """Share of studies that say the word of a target of which it is wrong; NaN where it is wrong of none."""
    if not any(wrong):
        return math.nan
    return float(
        np.mean([any(t.verdict is verdict and bad for t, bad in zip(s.targets, wrong, strict=True)) for s in studies])
    )


def _coverage(studies: list[Study], cell: Cell, arms: tuple[str, ...]) -> float:
    """Share of the intervals against some arms, over all targets, that hold the truth."""
    truth = {(before, k): cell.change(before, k) for before in arms for k in range(cell.targets)}
    held = [
        contrast.change.interval.low <= truth[contrast.before, k] <= contrast.change.interval.high
        for study in studies
        for k, target in enumerate(study.targets)
        for contrast in target.contrasts
        if contrast.required and contrast.before in arms
    ]
    return float(np.mean(held))


def _words(studies: list[Study]) -> dict[str, float]:
    said = [target.verdict.value for study in studies for target in study.targets]
    return {word.value: said.count(word.value) / len(said) for word in Verdict if word.value in said}


def _width(study: Study) -> float:
    interval = study.targets[0].contrasts[1].change.interval
    return (interval.high - interval.low) / 2
