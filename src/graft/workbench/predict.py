"""Answers to the rows of a file by a branch of a run or a model, as `graft predict` gives them.

The prompt is the task's own and labels are scored as in an evaluation. A column that holds right answers is not read.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

from graft import tasks
from graft.config.schema import Recipe
from graft.data.chat import ChatPolicy
from graft.data.file_form import FileForm
from graft.data.files import read_rows
from graft.data.rows import Table
from graft.errors import ConfigError, DataError, choices
from graft.evals.items import Items, item_prompt, prepare_items
from graft.models.backends.base import Backend
from graft.pipeline.branches import Branch, trained_tasks
from graft.pipeline.judge.labels import own_temperature
from graft.pipeline.places import calibration_path
from graft.pipeline.prepare.boundary import run_date
from graft.pipeline.prepare.lab import chat_policy, recipe_limits, recipe_tokenizer
from graft.pipeline.prepare.prompts import asked_as_field, own_task
from graft.pipeline.prepare.served import is_remote
from graft.pipeline.prepare.taskbook import TaskBook, task_names
from graft.pipeline.prepare.thinking import used_sampling
from graft.pipeline.progress import Progress
from graft.pipeline.score.backends import open_backend
from graft.pipeline.score.labels import label_records
from graft.pipeline.train.weights import load_branch, load_untouched
from graft.runs.directory import RunDirectory
from graft.runs.files import append_line, read_json, read_jsonl, write_json
from graft.runs.samples import read_samples
from graft.stats.calibration import probabilities
from graft.tasks.custom import OwnCompletions, OwnLabels
from graft.tasks.dataset import DatasetTask, Row
from graft.tasks.field import FieldTask
from graft.tasks.labels import ClassificationTask
from graft.tasks.style import StyleTask
from graft.workbench.answer_files import require_writable, write_answers

CHUNK = 256
"""Rows that are answered, written and safe together."""

ERROR, LABEL, REPLY = "error", "label", "reply"


@dataclass(slots=True)
class Predictor:
    """What answers rows.

    Attributes:
        recipe: its settings.
        task: makes a row a prompt.
        backend: the model.
        tokenizer: the model's.
        policy: how prompts are rendered.
        temperature: what scores of labels are divided by; 1 where none was fitted.
        name: whose answers they are.
    """

    recipe: Recipe
    task: DatasetTask
    backend: Backend
    tokenizer: Any
    policy: ChatPolicy
    temperature: float
    name: str

    def answers(self, rows: Sequence[Row], first: int, least: float) -> list[dict[str, Any]]:
        """What is said of each row: a label with its probabilities, or a reply, or an error.

        Args:
            rows: the rows.
            first: place of the first one in the file.
            least: smallest probability of a label that is given.
        """
        found: dict[str, dict[str, Any]] = {}
        examples = []
        for index, row in enumerate(rows, first):
            name = f"{self.task.card.name}/{index}"
            try:
                made = self.task.example(_without_answer(self.task, row), index)
                if made is None:
                    raise DataError("the row is left out by its task")
                examples.append(replace(made, id=name))
                found[name] = {}
            except DataError as error:
                found[name] = {ERROR: str(error)}
        thinks = self.recipe.thinking == "on"
        length, known = self.recipe.data.max_length, None if is_remote(self.recipe) else self.tokenizer
        items = prepare_items(
            known, self.task, "predict", examples, max_length=length, policy=self.policy, think=thinks
        )
        for example in items.too_long:
            found[example.id] = {ERROR: f"longer than data.max_length={length} tokens"}
        if items.examples:
            for example, answer in zip(items.examples, self._of_items(items, thinks, least), strict=True):
                found[example.id] = answer
        return list(found.values())

    def prompt(self, text: str) -> str:
        """The task's prompt about one text.

        Raises:
            DataError: the task makes no prompt of it.
        """
        (column,) = _wanted(self.task)
        made = self.task.example(_without_answer(self.task, {column: text}), 0)
        if made is None or made.prompt is None:
            raise DataError(f"task {self.task.card.name} makes no prompt of {text!r:.60}")
        return made.prompt

    def probabilities(self, text: str) -> dict[str, float]:
        """The labels of one text, the likeliest first; none for a task without labels."""
        (column,) = _wanted(self.task)
        answer = self.answers([{column: text}], 0, 0.0)[0]
        found = {key[2:-1]: share for key, share in answer.items() if key.startswith("p(")}
        return dict(sorted(found.items(), key=lambda item: -item[1]))

    def _of_items(self, items: Items, thinks: bool, least: float) -> list[dict[str, Any]]:
        scored = label_records(self.backend, items, way=self.recipe.eval.labels)
        if all(scored):
            return [self._labelled(record, least) for record in scored]
        prompts = [item_prompt(items, index) for index in range(len(items))]
        replies = self.backend.generate(prompts, used_sampling(self.recipe, thinks=thinks))
        judged = [self.task.score(example, reply.text) for example, reply in zip(items.examples, replies, strict=True)]
        if not all(example.options for example in items.examples):
            return [{REPLY: reply.text} for reply in replies]
        return [{LABEL: score.answer, REPLY: reply.text} for score, reply in zip(judged, replies, strict=True)]

    def _labelled(self, record: Mapping[str, Any], least: float) -> dict[str, Any]:
        shares = probabilities([record["option_scores"]], self.temperature)[0].tolist()
        first, second = sorted(shares, reverse=True)[:2]
        label = record["options"][shares.index(first)] if first >= least else None
        each = {f"p({option})": share for option, share in zip(record["options"], shares, strict=True)}
        return {LABEL: label, "confidence": first, "margin": first - second, **each}


@dataclass(frozen=True, slots=True)
class Answered:
    """What came of a file.

    Attributes:
        out: the written file.
        name: whose answers they are.
        rows: rows of the file.
        errors: rows that could not be asked.
        first_error: why the first of them could not.
        abstained: rows whose likeliest label was below the wanted confidence.
        temperature: of the label probabilities.
        labels: rows by label.
    """

    out: Path
    name: str
    rows: int
    errors: int
    first_error: str
    abstained: int
    temperature: float
    labels: dict[str, int] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """For machines."""
        return {**asdict(self), "out": str(self.out)}


def open_predictor(
    recipe: Recipe, name: str, task: str | None = None, *, run: RunDirectory | None = None, branch: Branch | None = None
) -> Predictor:
    """Load a model and the task that asks it.

    Args:
        recipe: the run's, or settings for a model.
        name: how the model is called.
        task: the task; the one that the recipe trains when unset.
        run: the run of the branch.
        branch: a branch of the run.

    Raises:
        ConfigError: the task is not there, is not clear, or has no rows of columns.
        ModelError: the model cannot be loaded.
        RunError: the branch was not trained to its end.
    """
    made = _task(recipe, task)
    tokenizer = recipe_tokenizer(recipe)
    policy = chat_policy(recipe, tokenizer, recipe_limits(recipe), date=run_date(run) if run else None)
    model = None
    if not is_remote(recipe):
        model = load_branch(run, recipe, branch) if run and branch else load_untouched(recipe)
    backend = open_backend(recipe, tokenizer, model, thinking=recipe.thinking == "on")
    return Predictor(recipe, made, backend, tokenizer, policy, _temperature(recipe, made, run, branch), name)


def asker(
    recipe: Recipe, run: RunDirectory, branch: Branch, tokenizer: Any, policy: ChatPolicy, backend: Backend
) -> Predictor | None:
    """What asks one text with the prompt of the run's task; ``None`` where that is not clear or takes several texts.

    Args:
        recipe: the run's.
        run: the run.
        branch: the branch that answers.
        tokenizer: the branch's.
        policy: how prompts are rendered.
        backend: the branch's model.

    Raises:
        GraftError: the task's own rows are not there any more.
    """
    names = trained_tasks(recipe)
    if len(names) != 1 or not _reads_rows(recipe, names[0]):
        return None
    made = _task(recipe, names[0])
    if len(_wanted(made)) != 1:
        return None
    return Predictor(recipe, made, backend, tokenizer, policy, _temperature(recipe, made, run, branch), branch.label)


def _reads_rows(recipe: Recipe, name: str) -> bool:
    """Whether a task asks about the columns of a row; control tokens stand in one's own texts."""
    return own_task(recipe, name) is not None or (tasks.is_dataset(name) and name != StyleTask.card.name)


def _temperature(recipe: Recipe, task: DatasetTask, run: RunDirectory | None, branch: Branch | None) -> float:
    """What was fitted on the run's calibration items; 1 without any, or where the field's labels were scored."""
    if asked_as_field(recipe, task.card.name):
        return 1.0
    path = calibration_path(run, branch, task.card.name) if run is not None and branch is not None else None
    return own_temperature(read_samples(path)) if path is not None and path.is_file() else 1.0


def predict(
    predictor: Predictor, path: Path, out: Path, *, least: float = 0.0, force: bool = False, progress: Progress
) -> Answered:
    """Answer every row of a file, in its order; what was answered before a stop is not asked again.

    Args:
        predictor: what answers.
        path: CSV, JSONL, Parquet or another table.
        out: `.csv`, `.jsonl` or `.parquet`: the columns of the file and the answers.
        least: smallest probability of a label that is given; below it the row has none.
        force: replace the file if it is there.
        progress: how far it is.

    Raises:
        ConfigError: the output cannot be written so, or exists.
        DataError: the file has not the columns that the task reads, or one that an answer takes.
    """
    require_writable(out, force=force)
    table = read_rows(path, _form(predictor, path))
    _require_columns(predictor, table, path)
    partial, answers = _begin(predictor, path, out, least)
    bar = progress.task(f"answer {path.name}", len(table))
    bar.advance(len(answers))
    rows = iter(table[index] for index in range(len(answers), len(table)))
    while chunk := list(islice(rows, CHUNK)):
        found = predictor.answers(chunk, len(answers), least)
        for answer in found:
            append_line(partial, json.dumps(answer, ensure_ascii=False))
        answers += found
        bar.advance(len(chunk))
    bar.finish()
    write_answers(out, [dict(table[index]) for index in range(len(table))], answers)
    partial.unlink(missing_ok=True)
    _head(partial).unlink(missing_ok=True)
    wrong = [answer[ERROR] for answer in answers if ERROR in answer]
    labels = [answer[LABEL] for answer in answers if answer.get(LABEL) is not None]
    counts = {label: labels.count(label) for label in sorted(set(labels))}
    silent = sum(LABEL in answer and answer[LABEL] is None for answer in answers)
    return Answered(
        out, predictor.name, len(table), len(wrong), wrong[0] if wrong else "", silent, predictor.temperature, counts
    )


def _head(partial: Path) -> Path:
    return partial.with_suffix(".json")


def _begin(predictor: Predictor, path: Path, out: Path, least: float) -> tuple[Path, list[dict[str, Any]]]:
    """Where answers are kept until all are there, and those of the same question that are there already."""
    asked = {
        "model": predictor.name,
        "recipe": hashlib.sha256(predictor.recipe.model_dump_json().encode()).hexdigest(),
        "file": [str(path.resolve()), path.stat().st_size, path.stat().st_mtime_ns],
        "least": least,
    }
    partial = out.with_name(f".{out.name}.partial.jsonl")
    head = _head(partial)
    if partial.is_file() and head.is_file() and read_json(head) == asked:
        return partial, read_jsonl(partial)
    partial.unlink(missing_ok=True)
    write_json(head, asked)
    return partial, []


def _task(recipe: Recipe, name: str | None) -> DatasetTask:
    known = [one for one in task_names(recipe) if _reads_rows(recipe, one)]
    if name is None:
        trained = [one for one in trained_tasks(recipe) if one in known]
        if len(trained) != 1:
            raise ConfigError(
                f"which task asks is not clear: {', '.join(trained) or 'none that reads rows'} is trained; name it: "
                f"--task. {', '.join(known)}"
            )
        name = trained[0]
    if own_task(recipe, name) is None:
        if not _reads_rows(recipe, name):
            raise ConfigError(f"--task is {name}, which reads no rows of a file. {choices(name, known)}")
        found = tasks.find(name)
        assert issubclass(found, DatasetTask)
        return found(lambda part: ())  # its own rows are not read
    made = TaskBook(recipe, None).load(name)
    if isinstance(made, FieldTask):
        made = made.task  # asked as it was trained
    if not isinstance(made, OwnLabels | OwnCompletions | ClassificationTask):
        raise ConfigError(f"task {name} has no prompt with columns in braces, so a row of columns cannot be asked")
    return made


def _form(predictor: Predictor, path: Path) -> FileForm:
    """As the task's own files are read, where both are text."""
    section = own_task(predictor.recipe, predictor.task.card.name)
    if section is None or path.suffix not in (".csv", ".tsv", ".txt", ""):
        return FileForm()
    return FileForm(separator=section.separator, quote=section.quote, header=section.header)


def _wanted(task: DatasetTask) -> tuple[str, ...]:
    """The columns that a prompt reads."""
    if isinstance(task, OwnLabels | OwnCompletions):
        return task.prompt.columns
    answer = task.label_column if isinstance(task, ClassificationTask) else ""
    return tuple(name for name in task.source.columns if name != answer)


def _without_answer(task: DatasetTask, row: Row) -> Row:
    """The row with some answer in the place of the right one, which is not known or not to be looked at."""
    if isinstance(task, OwnLabels):
        return {**row, task.column: next(iter(task.words))}
    if isinstance(task, OwnCompletions):
        unread = [name for name in task.answer.columns if name not in task.prompt.columns]
        return {**row, **dict.fromkeys((name.partition(".")[0] for name in unread), "0")}
    return {**row, task.label_column: 0} if isinstance(task, ClassificationTask) else row


def _require_columns(predictor: Predictor, table: Table, path: Path) -> None:
    missing = [name for name in _wanted(predictor.task) if name.partition(".")[0] not in table.columns]
    if missing:
        raise DataError(
            f"{path}: task {predictor.task.card.name} reads {', '.join(_wanted(predictor.task))}, but the file has "
            f"{', '.join(table.columns)}; {missing[0]} is missing: rename a column"
        )
    taken = [name for name in _columns(predictor) if name in table.columns]
    if taken:
        raise DataError(f"{path} has a column {taken[0]}, which the answers need; rename it")


def _columns(predictor: Predictor) -> Iterator[str]:
    """The columns that answers may take."""
    yield from (LABEL, "confidence", "margin") if predictor.task.labels else (REPLY,)
    yield ERROR
