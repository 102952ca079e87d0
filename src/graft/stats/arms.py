"""The arms of a study: their names, their item scores, and what is measured on them.

Accuracies, changes and intervals are proportions (0.02 is two percentage points).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray

from graft.stats.equivalence import Equivalence
from graft.stats.intervals import NAN, Interval
from graft.stats.paired import Change, McNemar

BASE = "base"
TRAINED = "trained"
FORMAT = "format"
SELF = "self"
CONTROLS = (FORMAT, SELF)
"""Arms that are trained without the skill."""
COMPARED = (BASE, *CONTROLS)
"""What the trained arm is compared with, the controls where they were scored."""
DIRECT = "direct"


@dataclass(frozen=True, slots=True)
class TaskScores:
    """The item scores of one task under every arm, on the same N items in the same order.

    Attributes:
        task: the task's name as a reader knows it.
        clusters: (N,) label of each item's resampling unit, for word tasks the word.
        base: (N,) the untouched model's outcome; None when it was not scored.
        arms: (S, N) outcomes by arm name, one row per seed: ``trained``, ``format`` and optionally ``shuffled``,
            ``self``, ``direct``, ``prompted``. Arms may have different numbers of seeds.
        strict: (S, N) strict scores by arm name, ``base`` among them; empty where the outcome is strict itself.
        parsed: (S, N) whether an answer could be read off the reply, by arm name, ``base`` among them; may be empty.
        disagreement: share of items on which the one-pass and the generated verdict disagree; NaN when not measured.
        pool: words that could be scored at most; None when that is unknown.
        metric: what the mean of an arm's outcomes is, for people.
        rivals: (N,) outcomes of answers that need no skill, by the name of their rule.

    An outcome is right or wrong, or a number whose mean is the metric (see `graft.stats.shares`).
    """

    task: str
    clusters: NDArray[Any]
    base: NDArray[Any] | None
    arms: Mapping[str, NDArray[Any]]
    strict: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    parsed: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    disagreement: float = NAN
    pool: int | None = None
    metric: str = "accuracy"
    rivals: Mapping[str, NDArray[Any]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ArmAccuracy:
    """How often one arm was right.

    Attributes:
        arm: ``base`` or the arm's name.
        accuracy: mean over seeds with a Wilson interval on N items: scoring the same items under more seeds adds no
            items, so N and not S·N is the sample size.
        per_seed: one Wilson interval for each seed.
    """

    arm: str
    accuracy: Interval
    per_seed: tuple[Interval, ...]


@dataclass(frozen=True, slots=True)
class Contrast:
    """The paired change from one arm to another on one task.

    Attributes:
        after: the arm that is judged.
        before: the arm it is compared with.
        required: True when the claim of transfer rests on this contrast, False for a diagnostic.
        change: estimate, 95% and 90% intervals and p.
        equivalence: whether the change is shown to lie inside ± margin.
        mcnemar: the exact test of every seed.
        smallest_detectable: the change that this many words and seeds detect with about 80% power at the study's alpha,
            from the spread that was seen. NaN when the spread is undefined.
    """

    after: str
    before: str
    required: bool
    change: Change
    equivalence: Equivalence
    mcnemar: tuple[McNemar, ...]
    smallest_detectable: float
