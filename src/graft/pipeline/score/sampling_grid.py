"""`graft eval --sampling-grid`: the same items under several ways of sampling, side by side."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from graft.config.schema import Recipe, SamplingSection
from graft.errors import ConfigError
from graft.evals.scoring import summarise
from graft.evals.thinking import summarise_thinking
from graft.models.sampling import describe, from_section
from graft.pipeline.branches import Branch, branches
from graft.pipeline.places import GRID_FILE, journal_path, samples_path, weights_hash
from graft.pipeline.prepare.lab import Lab
from graft.pipeline.prepare.served import is_remote
from graft.pipeline.prepare.thinking import used_sampling, ways
from graft.pipeline.progress import Progress
from graft.pipeline.score.backends import open_backend
from graft.pipeline.score.branch import score_task
from graft.runs.directory import RunDirectory
from graft.runs.files import write_json
from graft.runs.journal import journal_of
from graft.runs.manifest import sentences
from graft.runs.markers import Leaves
from graft.runs.samples import read_samples, samples_name, write_samples
from graft.types import Sampling

if TYPE_CHECKING:
    from transformers import PreTrainedModel

LOG = logging.getLogger(__name__)

MEASURES = ("n", "strict", "lenient", "parsed", "finished", "reply_tokens")
"""What is tabled of each combination; exact match is about the greedy reply, so no sampling changes it."""


@dataclass(frozen=True, slots=True)
class Point:
    """One combination for one branch.

    Attributes:
        branch: whose model it is.
        recipe: the run's recipe with the sampling of this combination.
        thinks: the model thinks before it answers.
        own: the run's own sampling, which has been scored already.
    """

    branch: Branch
    recipe: Recipe
    thinks: bool
    own: bool

    @property
    def sampling(self) -> Sampling:
        """What is used."""
        return used_sampling(self.recipe, thinks=self.thinks)

    @property
    def label(self) -> str:
        """Name in files: every value, so that no two combinations share one."""
        s = self.sampling
        values = (f"t{s.temperature:g}", f"p{s.top_p:g}", f"k{s.top_k}", f"m{s.min_p:g}")
        return "-".join(
            (self.branch.label, *values, f"r{s.repetition_penalty:g}", f"n{s.max_new_tokens}", f"s{s.seed}")
        )

    @property
    def stage(self) -> str:
        """Name of its stage."""
        return f"grid-{self.label}"

    def path(self, run: RunDirectory, task: str) -> Path:
        """Where its scored items of a task are."""
        return (
            samples_path(run, self.branch, task)
            if self.own
            else run.samples / "grid" / f"{samples_name(self.label, task)}.jsonl"
        )


def grid_points(recipe: Recipe, grid: Sequence[SamplingSection]) -> list[Point]:
    """Every combination for every branch, those that mean the same once.

    Raises:
        ConfigError: a combination is greedy, but the model is to think.
    """
    found: dict[tuple[Branch, Sampling], Point] = {}
    for branch in branches(recipe):
        way, thinks = next(ways(recipe, branch))
        for section in grid:
            if thinks and from_section(section).greedy:
                raise ConfigError("--sampling-grid holds temperature 0, but thinking is on; thinking is never greedy")
            varied = recipe.model_copy(update={"sampling": section})
            sampling = used_sampling(varied, thinks=thinks)
            own = sampling == used_sampling(recipe, thinks=thinks)
            found.setdefault((branch, sampling), Point(way, varied, thinks, own))
    return list(found.values())


def score_grid(
    run: RunDirectory,
    lab: Lab,
    points: Sequence[Point],
    load: Callable[[Branch], PreTrainedModel],
    progress: Progress,
) -> dict[str, Any]:
    """Score all items under every combination that has not been scored yet, and table all of them.

    Args:
        run: a run whose branches are scored; it is given ``sampling_grid.json``.
        lab: its shared parts.
        points: the combinations.
        load: gives the model of a branch; not called where it is behind a server.
        progress: what is told.

    Returns:
        What the file holds: ``rows`` by task, arm, seed and sampling.
    """
    for branch, own in groupby(points, key=lambda point: point.branch):
        left = [point for point in own if not point.own and not _is_scored(run, point)]
        model = load(branch) if left and not is_remote(lab.recipe) else None
        for point in left:
            _score_point(run, lab, point, model, progress)
    rows = [row for task in _tasks(lab) for point in points for row in _rows(run, point, task)]
    table = {"rows": rows}
    write_json(run.path / GRID_FILE, table)
    return table


def _is_scored(run: RunDirectory, point: Point) -> bool:
    """Whether the items of a combination are stored and are what was written."""
    found = run.damage(point.stage)
    for sentence in sentences(found):
        LOG.warning("%s; it is scored again", sentence)
    return run.is_done(point.stage) and not found


def _score_point(run: RunDirectory, lab: Lab, point: Point, model: PreTrainedModel | None, progress: Progress) -> None:
    words = describe(point.sampling)
    progress.stage(f"score {point.branch.label}: {words}")
    bar = progress.task(f"score {point.branch.label}", sum(len(items) for items in lab.items if not items.policy.raw))
    varied = replace(lab, recipe=point.recipe)
    with (
        run.stage(point.stage, Leaves([point.path(run, task) for task in _tasks(lab)])) as outputs,
        journal_of(journal_path(run, point.stage), weights_hash(run, point.branch)) as journal,
        closing(open_backend(point.recipe, lab.tokenizer, model, thinking=point.thinks, journal=journal)) as backend,
    ):
        for task in _tasks(lab):
            records = score_task(varied, point.branch, task, backend, thinks=point.thinks, on_done=bar.advance)
            outputs[task] = write_samples(point.path(run, task), records)
    LOG.info("%s scored with %s", point.branch.label, words)
    bar.finish()


def _tasks(lab: Lab) -> list[str]:
    """The tasks whose replies the sampling decides: corpora have none, and the field writes in one way alone."""
    return list(dict.fromkeys(items.task.card.name for items in lab.items if not items.policy.raw))


def _rows(run: RunDirectory, point: Point, task: str) -> Iterator[dict[str, Any]]:
    records = read_samples(point.path(run, task))
    for split in ("eval", "seen"):
        chosen = [record for record in records if record["split"] == split]
        if chosen:
            means = summarise_thinking(chosen, point.sampling) if point.thinks else summarise(chosen)
            head = {"arm": point.branch.label, "seed": point.branch.seed, "task": task, "split": split}
            yield {**head, "sampling": asdict(point.sampling), **{key: means[key] for key in MEASURES}}
