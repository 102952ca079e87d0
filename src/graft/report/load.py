"""Everything the report is made from, read from one run directory.

A file that is not there leaves its field empty, and the page leaves its section out; a damaged one is an error that
names the file and the line.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from graft.errors import RunError
from graft.report.decode import decode
from graft.runs.directory import RunDirectory
from graft.runs.files import read_json, read_jsonl
from graft.runs.metrics import read_metrics
from graft.runs.samples import SLASH
from graft.stats.arms import BASE, CONTROLS, TRAINED
from graft.stats.asides import Aside
from graft.stats.intervals import Interval
from graft.stats.label_study import LabelStudy
from graft.stats.learned import TrainedCheck
from graft.stats.links import Link
from graft.stats.study import StratumRow, Study
from graft.types import Sampling

NAN = float("nan")
EVAL, SEEN = "eval", "seen"
"""The two splits of scored items: words held out from training, and words that were trained."""

SHOWN_ARMS = (BASE, TRAINED, *CONTROLS)
"""The arms whose replies are read for browsing."""

_SEED = re.compile(r"-seed\d+$")
_SAMPLES = re.compile(r"(?P<arm>.+?)(?:-seed(?P<seed>\d+))?\.(?P<task>[^.]+)\.jsonl")


@dataclass(frozen=True, slots=True)
class ThinkingFacts:
    """What thinking took in one arm, seed, task and split.

    Attributes:
        samples: replies drawn per item.
        think_tokens: mean tokens of thinking per reply.
        unclosed: share of replies that ended inside their thinking.
        truncated: share of replies cut at the token limit.
        sampling: what the replies were drawn with.
    """

    samples: int
    think_tokens: float = NAN
    unclosed: float = NAN
    truncated: float = NAN
    sampling: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ResultRow:
    """Scores of one arm, seed, task and split; shares in [0, 1], NaN when they were not measured.

    Attributes:
        arm: the arm's name without its seed.
        seed: training seed; None for arms that are not trained.
        task: task name.
        split: ``eval`` (held-out words) or ``seen`` (training words).
        n: items.
        right: mean of the outcome that the verdict is about.
        metric: what `score` is, for people.
        score: the task's own metric; what is right where a run did not store it.
        exact: one-pass greedy exact match including the end of turn.
        strict, lenient, parsed: the scorer's verdicts on the generated replies.
        constrained: share of items whose likeliest answer is right, or of letters; NaN where answers are open.
        agreement: share of items of which ``exact`` and the generated reply say the same, checked on a sample of those
            that ``exact`` calls right.
        reply_tokens: mean length of a reply in tokens.
        details: the task's further measures, means over items.
        phrasings: accuracy by phrasing.
        sampling: how the replies were generated; None in runs that did not store it.
        exact_from: ``one pass`` over the right answer, ``strict reply`` where a server wrote the replies, or ``field
            style`` by the rule of a benchmark's field.
        thinking: what thinking took; None for replies without it.
    """

    arm: str
    seed: int | None
    task: str
    split: str
    n: int
    right: float = NAN
    exact: float = NAN
    strict: float = NAN
    lenient: float = NAN
    constrained: float = NAN
    parsed: float = NAN
    agreement: float = NAN
    reply_tokens: float = NAN
    details: Mapping[str, float] = field(default_factory=dict)
    phrasings: Mapping[str, float] = field(default_factory=dict)
    thinking: ThinkingFacts | None = None
    sampling: Sampling | None = None
    exact_from: str = "one pass"
    metric: str = "accuracy"
    score: float = NAN


@dataclass(frozen=True, slots=True)
class GridRow:
    """Scores of one arm, seed, task and split under one combination of a sampling grid."""

    arm: str
    seed: int | None
    task: str
    split: str
    sampling: Sampling
    n: int
    strict: float = NAN
    lenient: float = NAN
    parsed: float = NAN
    finished: float = NAN
    reply_tokens: float = NAN


@dataclass(frozen=True, slots=True)
class Grid:
    """sampling_grid.json."""

    rows: tuple[GridRow, ...] = ()


@dataclass(frozen=True, slots=True)
class CorpusRow:
    """How well one arm and seed predicts a corpus."""

    arm: str
    seed: int | None
    task: str
    texts: int
    tokens: int
    bytes: int
    perplexity: float = NAN
    bits_per_byte: float = NAN


@dataclass(frozen=True, slots=True)
class CorpusChange:
    """Trained − base on a corpus, over all seeds."""

    task: str
    seeds: int
    bits_per_byte: Interval
    perplexity_ratio: Interval


@dataclass(frozen=True, slots=True)
class Corpora:
    """The part of results.json about corpora."""

    rows: tuple[CorpusRow, ...] = ()
    changes: tuple[CorpusChange, ...] = ()


@dataclass(frozen=True, slots=True)
class Results:
    """results.json: the rows, the accuracy of trivial answers by task and name, and the corpora."""

    rows: tuple[ResultRow, ...] = ()
    baselines: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    corpora: Corpora = field(default_factory=Corpora)


@dataclass(frozen=True, slots=True)
class Conclusion:
    """verdict.json."""

    study: Study | None = None
    learned: tuple[TrainedCheck, ...] = ()
    strata: tuple[StratumRow, ...] = ()
    asides: tuple[Aside, ...] = ()
    links: tuple[Link, ...] = ()
    leaks: Mapping[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Reply:
    """One scored reply, as far as the page shows it."""

    id: str
    split: str
    exact: bool
    right: bool | float
    word: str = ""
    phrasing: str = ""
    prompt: str | None = ""
    gold: str = ""
    reply: str = ""
    strict: bool | None = None
    lenient: bool | None = None
    constrained: bool | float | None = None
    constrained_answer: str = ""
    parsed: bool | None = None
    finished: bool | None = None
    answer: str | None = None
    details: Mapping[str, float] = field(default_factory=dict)
    strata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SamplesFile:
    """Where the replies of one arm, seed and task are."""

    path: Path
    arm: str
    seed: int | None
    task: str


@dataclass(frozen=True, slots=True)
class RunFiles:
    """One run, read.

    Attributes:
        path: the run directory.
        name: its name.
        recipe_text: recipe.yaml as written, with its comments; empty when missing.
        recipe: the same as nested dicts.
        state, provenance, audit, forecast, preflight: the JSON files of those names; empty when missing.
        metrics: lines of metrics.jsonl.
        results: results.json.
        grid: rows of sampling_grid.json; empty when missing.
        conclusion: verdict.json.
        labels: labels.json; no tasks when missing.
        samples: all samples files.
        replies: held-out items by task, then arm, of the first seed of every shown arm, in file order.
    """

    path: Path
    name: str
    recipe_text: str = ""
    recipe: Mapping[str, Any] = field(default_factory=dict)
    state: Mapping[str, Any] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)
    audit: Mapping[str, Any] = field(default_factory=dict)
    forecast: Mapping[str, Any] = field(default_factory=dict)
    preflight: Mapping[str, Any] = field(default_factory=dict)
    metrics: tuple[Mapping[str, Any], ...] = ()
    results: Results = field(default_factory=Results)
    grid: tuple[GridRow, ...] = ()
    conclusion: Conclusion = field(default_factory=Conclusion)
    labels: LabelStudy = field(default_factory=LabelStudy)
    samples: tuple[SamplesFile, ...] = ()
    replies: Mapping[str, Mapping[str, tuple[Reply, ...]]] = field(default_factory=dict)

    @property
    def study(self) -> Study | None:
        """The verdict, None for a plain training."""
        return self.conclusion.study

    def setting(self, dotted: str, default: Any = None) -> Any:
        """A value of the resolved recipe by its dotted path."""
        value: Any = self.recipe
        for key in dotted.split("."):
            if not isinstance(value, Mapping) or key not in value:
                return default
            value = value[key]
        return value

    @property
    def tasks(self) -> tuple[str, ...]:
        """Every scored task: the trained ones first, then the targets, then the rest."""
        names: list[str] = []
        if self.study is not None:
            names += [self.study.trained.task] if self.study.trained else []
            names += [target.task for target in self.study.targets]
        scored = [row.task for row in self.results.rows]
        names += [task for task in [*self.trained_tasks, *(self.setting("eval.tasks") or ())] if task in scored]
        return tuple(dict.fromkeys([*names, *scored]))

    @property
    def trained_tasks(self) -> tuple[str, ...]:
        """Tasks named in the recipe's training mixture."""
        return trained_tasks(self.recipe)

    def rows(self, task: str, split: str = EVAL) -> tuple[ResultRow, ...]:
        """Result rows of one task and split."""
        return tuple(row for row in self.results.rows if row.task == task and row.split == split)


def folder_of(run: RunDirectory | Path | str) -> Path:
    """The folder of a run.

    Raises:
        RunError: it does not exist.
    """
    path = run.path if isinstance(run, RunDirectory) else Path(run)
    if not path.is_dir():
        raise RunError(f"{path} is not a run directory: there is no such folder. List the runs with 'graft runs'.")
    return path


def load(run: RunDirectory | Path | str) -> RunFiles:
    """Read what a run left behind.

    Args:
        run: a run directory or its path.

    Raises:
        RunError: the folder does not exist, or a file in it is damaged.
    """
    path = folder_of(run)
    text, recipe = read_recipe(path / "recipe.yaml")
    files = list_samples(path)
    return RunFiles(
        path=path,
        name=path.resolve().name,
        recipe_text=text,
        recipe=recipe,
        state=_read_object(path / "run.json"),
        provenance=_read_object(path / "provenance.json"),
        audit=_read_object(path / "audit.json"),
        forecast=_read_object(path / "forecast.json"),
        preflight=_read_object(path / "preflight.json"),
        metrics=_read_metrics(path / "metrics.jsonl"),
        results=_read_results(path / "results.json"),
        grid=_read_grid(path / "sampling_grid.json"),
        conclusion=decode(Conclusion, _read_object(path / "verdict.json"), str(path / "verdict.json")),
        labels=decode(LabelStudy, _read_object(path / "labels.json"), str(path / "labels.json")),
        samples=files,
        replies=_read_shown(files),
    )


def trained_tasks(recipe: Mapping[str, Any]) -> tuple[str, ...]:
    """Tasks named in the training mixture of a resolved recipe."""
    sources = recipe.get("data", {}).get("train") or ()
    return tuple(source["task"] for source in sources if isinstance(source, Mapping) and "task" in source)


def read_recipe(path: Path) -> tuple[str, dict[str, Any]]:
    """The resolved recipe as text and as nested dicts; both empty when the file is missing.

    Raises:
        RunError: it is not YAML or not a mapping.
    """
    if not path.exists():
        return "", {}
    try:
        text = path.read_text(encoding="utf-8")
        value = YAML(typ="safe", pure=True).load(text)
    except MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise RunError(f"{path}, line {line} is damaged: it must be YAML, but {error.problem}.") from error
    except (OSError, UnicodeDecodeError, YAMLError) as error:
        raise RunError(f"{path} cannot be read: {error}.") from error
    if value is not None and not isinstance(value, dict):
        raise RunError(f"{path}, line 1 is damaged: a recipe must be a mapping, but is a {type(value).__name__}.")
    return text, dict(value or {})


def list_samples(folder: Path) -> tuple[SamplesFile, ...]:
    """The samples files of a run, ordered by arm, seed and task; those of corpora hold no replies and are left out."""
    found = []
    for path in sorted((folder / "samples").glob("*.jsonl")):
        match = _SAMPLES.fullmatch(path.name)
        if match and not _holds_texts(path):
            seed = int(match["seed"]) if match["seed"] else None
            found.append(SamplesFile(path, match["arm"], seed, match["task"].replace(SLASH, "/")))
    return tuple(sorted(found, key=lambda file: (file.arm, -1 if file.seed is None else file.seed, file.task)))


def _holds_texts(path: Path) -> bool:
    with path.open(encoding="utf-8", errors="replace") as file:
        return '"nats":' in file.readline()


def read_replies(path: Path) -> tuple[Reply, ...]:
    """The replies of one samples file.

    Raises:
        RunError: a line is damaged; the message names it.
    """
    return tuple(decode(Reply, row, f"{path}, line {line}") for line, row in enumerate(read_jsonl(path), start=1))


def first_seed(files: Sequence[SamplesFile], arm: str, task: str) -> SamplesFile | None:
    """The samples file of an arm's first seed on a task, None when there is none."""
    return next((file for file in files if file.arm == arm and file.task == task), None)


def _read_shown(files: Sequence[SamplesFile]) -> dict[str, dict[str, tuple[Reply, ...]]]:
    """Only the shown arms' first seeds are read: every samples file of a large study would not fit in memory."""
    shown: dict[str, dict[str, tuple[Reply, ...]]] = {}
    for task in dict.fromkeys(file.task for file in files):
        for arm in SHOWN_ARMS:
            file = first_seed(files, arm, task)
            if file is not None:
                kept = tuple(reply for reply in read_replies(file.path) if reply.split == EVAL)
                shown.setdefault(task, {})[arm] = kept
    return shown


def _read_results(path: Path) -> Results:
    """The seed has a field of its own, so it is taken off the arm's label (``trained-seed0``)."""
    results = decode(Results, _read_object(path), str(path))
    rows = tuple(
        replace(row, arm=_SEED.sub("", row.arm), score=row.right if math.isnan(row.score) else row.score)
        for row in results.rows
    )
    texts = tuple(replace(row, arm=_SEED.sub("", row.arm)) for row in results.corpora.rows)
    return Results(rows, results.baselines, Corpora(texts, results.corpora.changes))


def _read_grid(path: Path) -> tuple[GridRow, ...]:
    grid = decode(Grid, _read_object(path), str(path))
    return tuple(replace(row, arm=_SEED.sub("", row.arm)) for row in grid.rows)


def _read_object(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    value = read_json(path)
    if not isinstance(value, dict):
        raise RunError(f"{path}, line 1 is damaged: it must be a JSON object, but is a {type(value).__name__}.")
    return value


def _read_metrics(path: Path) -> tuple[Mapping[str, Any], ...]:
    if not path.exists():
        return ()
    lines = read_metrics(path)
    for number, line in enumerate(lines, start=1):
        if not isinstance(line, dict):
            raise RunError(f"{path}, line {number} is damaged: it must be a JSON object, but is {line!r}.")
    return tuple(lines)
