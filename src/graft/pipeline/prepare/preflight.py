"""The first stage of every run: what would be trained and scored is looked at before anything heavy begins."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any

from graft.data.chat import PLAIN
from graft.data.leaks import LeakReport
from graft.data.survey import ShownExample, Survey, show, survey
from graft.errors import ConfigError, DataError
from graft.evals.labels import encode_options, has_labels
from graft.models.boundary import Certificate
from graft.pipeline.branches import Branch, branches
from graft.pipeline.outcome import Table
from graft.pipeline.prepare.adapters import rehearse_adapters
from graft.pipeline.prepare.boundary import certificate_json, certify, check_positions
from graft.pipeline.prepare.estimate import Estimate, estimate, usable_steps
from graft.pipeline.prepare.examples import branch_examples
from graft.pipeline.prepare.forecast import detectable, forecast, require_power
from graft.pipeline.prepare.lab import ANY_LENGTH, Baselines, Lab, baselines, knows_tokens
from graft.pipeline.prepare.lab import warnings as lab_warnings
from graft.pipeline.prepare.leaks import audit_leaks
from graft.pipeline.prepare.modes import MODES
from graft.pipeline.prepare.oddities import cut_answers, oddities, require_held_out, small_losses
from graft.pipeline.prepare.plan import rehearse_training
from graft.pipeline.prepare.served import is_remote
from graft.pipeline.progress import Progress
from graft.stats.study import CONFIRMATORY_SEEDS
from graft.types import Example

SURVEYED = 20_000
"""Training examples that are looked at; all of them when there are fewer."""

SURVEYED_CHARACTERS = 1 << 24
"""Characters of answers and texts after which no further example is looked at."""

SHOWN_PER_TASK = 2


@dataclass(frozen=True, slots=True)
class Preflight:
    """What was found before anything heavy.

    Attributes:
        surveys: training and held-out examples by task.
        leaks: held-out texts among the training texts, by task.
        shown: examples token by token.
        baselines: scored trivial answers to the held-out items, by task; stored in files of their own.
        detectable: the smallest change that each task's items can show.
        estimate: what training will take; ``None`` when nothing is trained.
        adapters: what share of which weights stays without an adapter; ``None`` without adapters.
        warnings: what may spoil the result, though the recipe can run.
        notes: what is not used and what is left out of the data.
        max_leaked: largest share of leaked held-out items.
        boundary: where texts begin and answers end; ``None`` behind a server whose tokenizer is unknown.
    """

    surveys: tuple[Survey, ...]
    leaks: tuple[LeakReport, ...]
    shown: tuple[ShownExample, ...]
    baselines: Baselines
    detectable: dict[str, Any]
    estimate: Estimate | None
    adapters: str | None
    warnings: tuple[str, ...]
    notes: tuple[str, ...]
    max_leaked: float
    boundary: Certificate | None

    def require(self) -> None:
        """Fail closed.

        Raises:
            DataError: more held-out items stand among the training rows than the recipe allows, or a verdict could not
                show anything.
        """
        require_power(self.detectable)
        for report in self.leaks:
            if report.share > self.max_leaked:
                first = report.examples[0]
                raise DataError(
                    f"leak audit failed: {sum(report.counts.values()):,} of {report.held_out:,} held-out items of "
                    f"{report.task} ({report.share:.1%}) stand among the training rows, and check.max_leaked is "
                    f"{self.max_leaked:.1%} (first: {first.held_out} in {first.trained}, {first.kind}); remove them "
                    "from the training rows, or raise check.max_leaked if that is meant"
                )

    def to_json(self) -> dict[str, Any]:
        """Everything as stored in ``preflight.json``."""
        stored = {name: value for name, value in asdict(self).items() if name != "baselines"}
        return {**stored, "boundary": certificate_json(self.boundary)}


def preflight(lab: Lab, progress: Progress) -> Preflight:
    """Look at a recipe's examples, without a model.

    Args:
        lab: the shared parts of the run.
        progress: told while it looks.

    Raises:
        ConfigError: the optimizer or the schedule cannot be built, the learning rate never reaches its peak, or
            `model.template` is set for a model that has a template of its own.
        ModelError: an adapter cannot be put where the recipe says.
        DataError: an example has nothing to train, is longer than the model reads, two labels cannot be told apart, or
            a source cannot be used.
    """
    _check_template(lab)
    boundary = certify(lab)
    _check_labels(lab)
    known = baselines(lab)
    trained = next((branch for branch in branches(lab.recipe) if branch.seed is not None), None)
    by_task = _training_examples(lab, trained) if trained is not None else {}
    parts = [(task, "train", own, lab.policy) for task, own in by_task.items()]
    if knows_tokens(lab.recipe):
        held_out = [items for items in lab.items if items.split == "eval"]
        parts += [(of.task.card.name, "eval", [*of.examples, *of.too_long], of.policy) for of in held_out]
    bar = progress.task("look at the examples", len(parts))
    surveys = []
    for task, part, examples, policy in parts:
        length = ANY_LENGTH if policy.raw else lab.recipe.data.max_length
        surveys.append(survey(lab.tokenizer, task, part, examples, max_length=length, policy=policy))
        bar.advance(1)
    bar.finish()
    check_positions(lab, surveys)
    adapters = None
    if trained is not None:
        rehearse_training(lab, trained, usable_steps(lab, surveys))
        adapters = rehearse_adapters(lab.recipe)
    shown = [
        show(lab.tokenizer, example, max_length=lab.recipe.data.max_length, policy=lab.policy)
        for examples in by_task.values()
        for example in examples[:SHOWN_PER_TASK]
    ]
    require_held_out(surveys, lab.recipe.data.max_length, lab.recipe.check.max_dropped)
    leaks = audit_leaks(lab, progress) if trained is not None else ()
    return Preflight(
        surveys=tuple(surveys),
        leaks=leaks,
        shown=tuple(shown),
        baselines=known,
        detectable=forecast(lab, known),
        estimate=estimate(lab, surveys),
        adapters=adapters,
        warnings=tuple(_warnings(lab, surveys, leaks)),
        notes=tuple(_notes(lab, surveys)),
        max_leaked=lab.recipe.check.max_leaked,
        boundary=boundary,
    )


def survey_table(found: Preflight) -> Table:
    """Examples, lengths and what is odd about them, by task and part."""
    columns = ("task", "part", "examples", "tokens: shortest", "median", "longest", "too long", "repeats", "labels")
    rows = tuple(
        (
            one.task,
            "training" if one.part == "train" else "held out",
            f"{one.examples:,}",
            f"{one.shortest:,}",
            f"{one.median:,}",
            f"{one.longest:,}",
            f"{one.too_long:,}",
            f"{one.repeated:,}",
            ", ".join(f"{name} {count / one.examples:.0%}" for name, count in list(one.labels.items())[:4]),
        )
        for one in found.surveys
    )
    return Table(columns, rows)


def leak_table(found: Preflight) -> Table:
    """Held-out items among the training rows, by task."""
    columns = ("task", "held out", "trained", "exact", "but for form", "near", "contained", "share")
    rows = tuple(
        (
            one.task,
            f"{one.held_out:,}",
            f"{one.trained:,}",
            *(f"{one.counts[kind]:,}" for kind in ("exact", "normalised", "near", "contained")),
            f"{one.share:.2%}",
        )
        for one in found.leaks
    )
    return Table(columns, rows)


def task_table(found: Preflight) -> Table:
    """Scored tasks with their items and the smallest change they can show."""
    rows = tuple(
        (_styled(name, facts["style"]), facts["role"], facts["outcome"], f"{facts['items']:,}", detectable(facts))
        for name, facts in found.detectable["tasks"].items()
    )
    return Table(("task", "role", "outcome", "held-out items", "smallest detectable change"), rows)


def _styled(name: str, style: str) -> str:
    return f"{name} ({style} style)" if style else name


def _check_template(lab: Lab) -> None:
    """Of two templates only the model's is used; whether it has one is not known before its tokenizer is there."""
    template = lab.recipe.model.template
    if template != PLAIN and lab.tokenizer.chat_template is not None and not is_remote(lab.recipe):
        raise ConfigError(
            f"model.template is {template!r}, but {lab.recipe.model.id} has a chat template of its own, which is used; "
            "leave it out, or remove the model's chat_template.jinja"
        )


def _check_labels(lab: Lab) -> None:
    """Refuse labels that scoring could not tell apart, before anything is trained for it."""
    if not is_remote(lab.recipe):
        for items in lab.items:
            if not items.think and has_labels(items):
                encode_options(lab.tokenizer, items)


def _training_examples(lab: Lab, branch: Branch) -> dict[str, list[Example]]:
    """The first training examples by task."""
    found: dict[str, list[Example]] = defaultdict(list)
    characters = 0
    for example in branch_examples(lab, branch, min(SURVEYED, lab.examples)):
        found[example.task].append(example)
        characters += len(example.gold)
        if characters > SURVEYED_CHARACTERS:
            break
    return found


def _warnings(lab: Lab, surveys: Sequence[Survey], leaks: Sequence[LeakReport]) -> Iterator[str]:
    recipe = lab.recipe
    yield from lab_warnings(lab)
    if len(recipe.study.seeds) < CONFIRMATORY_SEEDS and any(branch.seed is not None for branch in branches(recipe)):
        meant = (
            "that gives no verdict" if len(recipe.study.seeds) == 1 else f"under {CONFIRMATORY_SEEDS} is exploratory"
        )
        yield f"study.seeds has {len(recipe.study.seeds)}; {meant}"
    compared = "trained" in recipe.study.arms and MODES[recipe.mode].answers  # the others have no control
    if compared and not recipe.study.claims:
        yield "study.arms lacks base or a control (format, self); without both, transfer cannot be claimed"
    steps, wanted = usable_steps(lab, surveys), recipe.train.warmup_steps or 0
    if wanted >= steps and any(branch.seed is not None for branch in branches(recipe)):
        yield f"train.warmup_steps is {wanted}, but there are {steps} steps; the warm-up takes {steps // 2} of them"
    for one in surveys:
        yield from oddities(one, recipe.data.max_length, plain=lab.book.card(one.task).kind == "corpus")
    for items in lab.items:
        if items.split == "eval" and not items.think:
            yield from cut_answers(items, recipe.sampling.max_new_tokens)
    for report in leaks:
        if report.share > 0:
            found = sum(report.counts.values())
            yield f"{report.task}: {found:,} held-out items stand among the training rows ({report.share:.2%})"


def _notes(lab: Lab, surveys: Sequence[Survey]) -> Iterator[str]:
    for section in lab.recipe.data.tasks:
        yield from (f"{section.name}: {note}" for note in lab.book.card(section.name).notes)
    for one in surveys:
        yield from small_losses(one, lab.recipe.data.max_length)


def shown_first(examples: Sequence[ShownExample], count: int) -> list[ShownExample]:
    """The first examples of each task."""
    by_task: dict[str, list[ShownExample]] = defaultdict(list)
    for example in examples:
        by_task[example.task].append(example)
    return [example for own in by_task.values() for example in islice(own, count)]


def estimate_lines(found: Estimate) -> list[str]:
    """The forecast in words."""
    known = not math.isnan(found.seconds)
    took = f"about {duration(found.seconds)} ({found.basis})" if known else f"unknown: {found.basis}"
    lines = [
        f"training  {found.branches} × {found.steps:,} steps, {found.tokens:,} tokens in all",
        f"time      {took}",
        f"memory    {found.memory}",
        f"disk      {found.disk_bytes / 1e6:,.0f} MB of {found.free_bytes / 1e9:,.1f} GB free",
    ]
    return lines if math.isnan(found.cost) else [*lines, f"cost      about {found.cost:,.2f}"]


def duration(seconds: float) -> str:
    """Seconds for people: ``40 s``, ``12 min``, ``3.4 h``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
