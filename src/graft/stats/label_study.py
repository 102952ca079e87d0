"""What is known of a task with a closed set of answers: data only, every field converts to JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from graft.stats.calibration import Calibration, Temperature
from graft.stats.classification import Classification
from graft.stats.intervals import NAN, Interval
from graft.stats.paired import Change

CLASSES, CHOICE = "classification", "choice"
"""The two kinds of tasks: one set of labels for all rows, or options of each row's own (also bare letters)."""


@dataclass(frozen=True, slots=True)
class Generation:
    """The free replies to the same items, beside the label that is likeliest; shares in [0, 1], means over seeds.

    Attributes:
        strict: the reply is the right label and nothing else.
        lenient: the label found in the reply is right.
        parsed: a label was found at all.
        agreement: the reply's label is the likeliest one; a reply without a label does not agree.
        agreement_parsed: the same among replies with a label; NaN when there is none.
    """

    strict: float = NAN
    lenient: float = NAN
    parsed: float = NAN
    agreement: float = NAN
    agreement_parsed: float = NAN


@dataclass(frozen=True, slots=True)
class LabelArm:
    """One arm on one task.

    Attributes:
        arm: its name without seed.
        scores: how the likeliest labels were right.
        brier: mean Brier score with its interval (first over seeds, then over items).
        raw: calibration as the model is; items of all seeds together.
        temperatures: fitted for each seed on rows that are not scored.
        calibrated: the same items with each seed's own temperature; None when one is undefined.
        generation: the free replies; None when there are none.
    """

    arm: str
    scores: Classification
    brier: Interval
    raw: Calibration
    temperatures: tuple[Temperature, ...]
    calibrated: Calibration | None = None
    generation: Generation | None = None


@dataclass(frozen=True, slots=True)
class LabelChange:
    """The paired change of one measure (``accuracy``, ``macro_f1`` or ``mcc``) from one arm to another."""

    after: str
    before: str
    measure: str
    change: Change


@dataclass(frozen=True, slots=True)
class Category:
    """Accuracy on the items of one category, by arm."""

    name: str
    n: int
    accuracy: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class LabelTask:
    """One task.

    Attributes:
        task: its name.
        kind: ``classification`` or ``choice``.
        way: how a label's log-likelihood became its score: ``sum``, ``mean`` or ``prior``.
        labels: the classes; for a choice the places of the options.
        n: held-out items.
        majority: share of the most frequent right answer.
        arms: in the order of the study.
        changes: of trained against base and format control.
        stratum: what `categories` are levels of; empty without them.
        categories: accuracy by category, for a choice.
    """

    task: str
    kind: str
    way: str
    labels: tuple[str, ...]
    n: int
    majority: float
    arms: tuple[LabelArm, ...]
    changes: tuple[LabelChange, ...] = ()
    stratum: str = ""
    categories: tuple[Category, ...] = ()


@dataclass(frozen=True, slots=True)
class LabelStudy:
    """labels.json."""

    tasks: tuple[LabelTask, ...] = ()
