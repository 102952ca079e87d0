"""Whether the verdict keeps its promises: a grid of simulated studies, each judged by the rules that judge a run."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from graft.stats.plain import to_json
from graft.stats.simulation import Cell, CellResult, simulate

COLUMNS = (
    "study",
    "targets",
    "words",
    "seeds",
    "seed SD",
    "false transfer",
    "false no transfer",
    "false harm",
    "coverage, base",
    "coverage, control",
    "promise",
)

_BOTH = Cell("both arms gain 10", seeds=2, gain=0.10, format_gain=0.10, targets=2)
_THREE = Cell("a true gain of 3", seeds=2, gain=0.03, targets=2)
_NULL = Cell("nothing changes", seeds=2, targets=2)
_WORSE = Cell("the control falls by 10", seeds=2, format_gain=-0.10, targets=2)
_FLOOR = Cell("true gain of 5 from 1%", seeds=2, words=12, accuracy=0.01, gain=0.05)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the self-test found, one result for each kind of study."""

    results: tuple[CellResult, ...]

    @property
    def kept(self) -> bool:
        """No kind of study breaks a threshold."""
        return not any(result.failures() for result in self.results)

    def to_json(self) -> dict[str, Any]:
        """Everything as plain JSON values."""
        found = [{**to_json(result), "failures": list(result.failures())} for result in self.results]
        return {"kept": self.kept, "cells": found}


def check_science(studies: int, *, full: bool, seed: int = 0) -> Iterator[CellResult]:
    """Simulate every kind of study; each draws from a stream of its own, so that a row does not depend on the others.

    Args:
        studies: studies of each kind, at least 1.
        full: every kind instead of the few that break first.
        seed: of the draws.
    """
    for index, cell in enumerate(full_grid() if full else small_grid()):
        yield simulate(cell, studies, np.random.default_rng([seed, index]))


def small_grid() -> tuple[Cell, ...]:
    """The kinds in which wrong rules fail first."""
    return (
        replace(_BOTH, seed_sd=0.04),
        replace(_BOTH, seeds=5, seed_sd=0.04),
        replace(_BOTH, seeds=5, seed_sd=0.04, format_sd=0.01, name="both arms gain 10, format SD 1"),
        replace(_THREE, seed_sd=0.04),
        replace(_THREE, seeds=5),
        _FLOOR,
        replace(_BOTH, seeds=5, seed_sd=0.04, self_gain=0.10, name="all arms gain 10"),
    )


def full_grid() -> tuple[Cell, ...]:
    """Every kind: seeds and their spread, unequal arms, floors, ceilings, few words, words of many items."""
    spreads = [(seeds, sd) for seeds in (2, 3, 5, 10) for sd in (0.0, 0.02, 0.04)]
    main = [replace(cell, seeds=seeds, seed_sd=sd) for cell in (_BOTH, _THREE) for seeds, sd in spreads]
    few = [cell for seeds in (2, 5) for cell in _unequal(seeds)]
    five = replace(_BOTH, seeds=5)
    return (
        *main,
        *few,
        replace(_NULL, seeds=5, seed_sd=0.02),
        replace(_THREE, seeds=5, words=2000, gain=0.02, targets=1, name="a true gain of just the margin"),
        replace(five, words=60, seed_sd=0.02, name="both arms gain 10, few words"),
        replace(five, words=250, items=4, seed_sd=0.02, name="both arms gain 10, four items a word"),
        replace(five, discordance=0.05, name="both arms gain 10, few items change"),
        replace(five, discordance=0.40, name="both arms gain 10, many items change"),
        replace(five, seed_sd=0.04, seed_correlation=0.7, name="both arms gain 10, lucky seeds are lucky twice"),
        _FLOOR,
        replace(_FLOOR, seeds=5, words=40),
        replace(_NULL, seeds=5, words=300, accuracy=0.01, targets=1, name="nothing changes at 1%"),
        replace(_NULL, seeds=5, words=300, accuracy=0.97, seed_sd=0.01, targets=1, name="nothing changes at 97%"),
        replace(_BOTH, seeds=5, accuracy=0.02, seed_sd=0.02, name="both arms gain 10 from 2%"),
        replace(_NULL, seeds=5, format_only=0.3, name="only the form is learned"),
        *(cell for seeds in (2, 5) for cell in _two_controls(seeds)),
    )


def _two_controls(seeds: int) -> Iterator[Cell]:
    """Random answers wreck a small model, so that only the second control holds a claim back; or both do, or none."""
    both, three = (replace(cell, seeds=seeds, seed_sd=0.02) for cell in (_BOTH, _THREE))
    yield replace(both, format_gain=-0.3, self_gain=0.10, name="format falls by 30, trained and self gain 10")
    yield replace(both, self_gain=0.10, name="all arms gain 10")
    yield replace(three, self_gain=0.0, name="a true gain of 3, two controls")


def _unequal(seeds: int) -> Iterator[Cell]:
    yield replace(_BOTH, seeds=seeds, seed_sd=0.04, targets=1, name="both arms gain 10, one target")
    yield replace(_BOTH, seeds=seeds, seed_sd=0.04, format_sd=0.01, name="both arms gain 10, format SD 1")
    yield replace(_BOTH, seeds=seeds, seed_sd=0.01, format_sd=0.04, name="both arms gain 10, format SD 4")
    yield replace(_WORSE, seeds=seeds, seed_sd=0.04, format_sd=0.01, name="the control falls by 10, its SD 1")
    yield replace(_BOTH, seeds=seeds, seed_sd=0.04, other_sd=0.0, name="both arms gain 10, second target SD 0")


def row(result: CellResult) -> tuple[str, ...]:
    """One line of the table; changes in points, shares in percent."""
    cell = result.cell
    promise = "; ".join(result.failures()) or ("kept, cautious" if result.cautious() else "kept")
    shares = (
        result.false_transfer,
        result.false_null,
        result.false_harm,
        result.coverage_base,
        result.coverage_control,
    )
    sizes = (str(cell.targets), str(cell.words), str(cell.seeds), f"{100 * cell.seed_sd:g}")
    return (cell.name, *sizes, *("–" if share != share else f"{100 * share:.1f}" for share in shares), promise)
