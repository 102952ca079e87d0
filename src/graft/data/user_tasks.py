"""Tasks of a recipe: local rows, brought to a task's columns, and everything checked before the first is used."""

from __future__ import annotations

import json
from array import array
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cache, partial

from graft import tasks
from graft.data.file_form import FileForm
from graft.data.files import FileRows, file_rows, whole_row
from graft.data.formats import Shape, recognise, told, turns
from graft.data.rows import FileRow, Table
from graft.errors import ConfigError, DataError, choices
from graft.tasks.base import Kind, TaskCard
from graft.tasks.custom import (
    OwnCompletions,
    OwnLabels,
    OwnTurns,
    TaskSpec,
    Template,
    column,
    group_of,
    is_missing,
    label_key,
    make,
    make_like,
    place_of,
)
from graft.tasks.dataset import DatasetTask, Row
from graft.tasks.prose import ProseTask

__all__ = ["TaskSpec", "check_spec", "load_user_task"]

MOST_LABELS = 100
"""More distinct values than this in a label column are no labels."""


def check_spec(spec: TaskSpec) -> None:
    """Check the names of a task without reading its rows.

    Raises:
        ConfigError: a built-in task has its name, `like` is no dataset task, or a text in braces is none.
    """
    if spec.name in tasks.names():
        raise ConfigError(f"data.tasks names {spec.name}, but there is a built-in task of that name; choose another")
    if spec.like is not None:
        _liked(spec)
    for where, text in (("prompt", spec.prompt), ("completion", spec.completion)):
        Template(text or "", spec.columns, f"task {spec.name}: {where}")


def load_user_task(spec: TaskSpec) -> DatasetTask:
    """Build a task from local files, having looked at every row.

    Raises:
        ConfigError: the names of the task do not fit.
        DataError: a file cannot be used, a column is missing, or rows hold unknown labels or nothing to train.
        MissingExtra: a format needs a package that is not installed.
    """
    check_spec(spec)
    if spec.like is not None:
        return _like(spec)
    if spec.prompt is None:
        return _by_shape(spec)
    prompt = Template(spec.prompt, spec.columns, f"task {spec.name}: prompt")
    files = _files(spec, prompt.fill)
    _require(spec, files.table(), prompt.columns, f"prompt {_USED}")
    if spec.label is None:
        answer = Template(spec.completion or "", spec.columns, f"task {spec.name}: completion")
        _require(spec, files.table(), answer.columns, f"completion {_USED}")
        card = _card(spec, "answer", f"Your own prompt and completion, from {', '.join(prompt.columns)}.", files)
        made: OwnLabels | OwnCompletions | OwnTurns = make(OwnCompletions, files, spec, card)
    else:
        _require(spec, files.table(), (spec.label,), f"label is {_NAMED}")
        if not spec.labels:
            spec = replace(spec, labels=_labels_there(spec, files.given()))
        card = _card(spec, "classification", f"Label {', '.join(dict.fromkeys(spec.labels.values()))}.", files)
        made = make(OwnLabels, files, spec, card)
    for part in _parts(spec):
        _check_rows(made, files(part))
    return made


def _files(spec: TaskSpec, key: Callable[[Row], str]) -> FileRows:
    label = None if spec.label is None else spec.columns.get(spec.label, spec.label)
    form = FileForm(
        encoding=spec.encoding,
        separator=spec.separator,
        quote=spec.quote,
        header=spec.header,
        unit=spec.unit,
        explode=spec.explode,
        by_folder=label == "label",
    )
    together = key if spec.group is None else partial(group_of, name=spec.columns.get(spec.group, spec.group))
    files = file_rows(spec.train, spec.eval, held_out=spec.held_out, form=form, key=together)
    if spec.group is not None:
        _require(spec, files.table(), (spec.group,), f"group is {_NAMED}")
    return files


def _parts(spec: TaskSpec) -> tuple[str, ...]:
    return ("train", "eval") if spec.train is not None else ("eval",)


def _card(spec: TaskSpec, kind: Kind, summary: str, files: FileRows) -> TaskCard:
    return TaskCard(spec.name, summary, "", "that of the files", files.table().words, kind, _size(spec, files))


def _size(spec: TaskSpec, rows: Callable[[str], Sequence[Row]]) -> str:
    return ", ".join(f"{len(rows(part)):,} {part}" for part in _parts(spec))


_USED, _NAMED = "uses {{{0}}}, but {1} has no such column", "{0}, but in {1} there is no column {0}"


def _require(spec: TaskSpec, table: Table, names: Sequence[str], told: str) -> None:
    """Make sure that columns are there, before any row is looked at; `told` says of a column and a file what lacks."""
    for wanted in names:
        name = spec.columns.get(wanted, wanted)
        if name not in table.columns and name.partition(".")[0] not in table.columns:
            what = f"task {spec.name}: {told.format(name, table.words.partition(':')[0])}"
            text = "file" in table.columns and "text" in table.columns
            lines = " If its lines hold columns, name the character between them in separator." if text else ""
            raise DataError(f"{what}. {choices(name, table.columns)}{lines}")


def _labels_there(spec: TaskSpec, rows: Iterable[Row]) -> Mapping[str, str]:
    """The values of the label column, in alphabetical order."""
    name = spec.columns.get(spec.label or "", spec.label or "")
    found: set[str] = set()
    empty: list[str] = []
    count = 0
    for count, row in enumerate(rows, 1):
        value = column(row, name)
        if isinstance(value, list | dict):
            raise DataError(
                f"{place_of(row)}: the column {name} holds {value!r:.60}, but a row has one label; keep one in the "
                f'column, or write completion: "{{{name}}}" instead of label'
            )
        if is_missing(value) or not label_key(value):
            empty.append(place_of(row, count - 1))
            continue
        found.add(label_key(value))
        if len(found) > MOST_LABELS:
            raise DataError(
                f"task {spec.name}: the column {name} holds more than {MOST_LABELS} different values, so they are no "
                "labels; name another column in label, or write completion instead"
            )
    if empty:
        raise DataError(
            f"task {spec.name}: {empty[0]}: the label column {name} is empty, as in {len(empty):,} of {count:,} rows; "
            "fill it in, or delete these rows"
        )
    return {value: value for value in sorted(found)}


def _check_rows(task: DatasetTask, rows: Sequence[Row]) -> None:
    """Make every example once, so that all bad rows are told together and none stops a training later."""
    bad, first = 0, ""
    for index in range(len(rows)):
        try:
            task.example(rows[index], index)
        except DataError as error:
            bad += 1
            first = first or str(error)
    if bad:
        raise DataError(first if bad == 1 else f"{first} ({bad:,} of {len(rows):,} rows cannot be used)")


def _liked(spec: TaskSpec) -> type[DatasetTask]:
    name = spec.like or ""
    found = tasks.find(name) if name in tasks.names() else None
    if found is None or not issubclass(found, DatasetTask):
        known = [other for other in tasks.names() if not tasks.is_word_task(other) and other != ProseTask.card.name]
        raise ConfigError(f"task {spec.name} is like {name}, which is no dataset task. {choices(name, known)}")
    return found


class RenamedRows(Sequence[Row]):  # type: ignore[type-arg, unused-ignore]
    """Rows with further names for some of their columns."""

    def __init__(self, rows: Sequence[Row], renamed: Mapping[str, str]) -> None:
        self.rows = rows
        self.renamed = renamed

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Row:  # type: ignore[override]
        row = self.rows[index]
        named = {wanted: column(row, there) for wanted, there in self.renamed.items()}
        return FileRow({**row, **named}, place_of(row, index))


def _like(spec: TaskSpec) -> DatasetTask:
    base = _liked(spec)
    first = spec.columns.get(base.source.columns[0], base.source.columns[0])
    files = _files(spec, lambda row: str(row[first]) if first in row else whole_row(row))
    table = files.table()
    there = {*table.columns, *spec.columns}
    missing = [name for name in base.source.columns if name not in there]
    if missing and not (base.original and there.issuperset(base.original)):
        raise DataError(
            f"task {spec.name} is like {spec.like}, which reads {', '.join(base.source.columns)}, but "
            f"{table.words.partition(':')[0]} has {', '.join(table.columns)}; name the one for {missing[0]} in columns"
        )

    @cache
    def rows(part: str) -> Sequence[Row]:
        return RenamedRows(files(part), spec.columns) if spec.columns else files(part)

    made = make_like(base, rows, spec, table.words, _size(spec, files))
    for part in _parts(spec):
        _check_rows(made, made.rows(part))
    return made


class TurnRows(Sequence[Row]):  # type: ignore[type-arg, unused-ignore]
    """The answers of rows, one after the other; each takes 16 bytes of memory.

    Args:
        rows: the rows.
        shape: what a row looks like.
        spec: what the recipe says.
    """

    def __init__(self, rows: Sequence[Row], shape: Shape, spec: TaskSpec) -> None:
        self.rows = rows
        self.shape = shape
        self.spec = spec
        self.places, self.numbers = array("q"), array("q")
        for place in range(len(rows)):
            for number in range(len(turns(rows[place], shape, spec.columns))):
                self.places.append(place)
                self.numbers.append(number)

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, index: int) -> Row:  # type: ignore[override]
        place, number = self.places[index], self.numbers[index]
        row, name = self.rows[place], self.spec.group
        turn = turns(row, self.shape, self.spec.columns)[number]
        values = {
            "prompt": turn.prompt,
            "answer": turn.answer,
            "reasoning": turn.reasoning,
            "history": turn.history,
            "asker": turn.asker,
            "conversation": place,
            "turn": number,
            "group": None if name is None else group_of(row, self.spec.columns.get(name, name)),
        }
        return FileRow(values, place_of(row, place))


def _asked(spec: TaskSpec, row: Row) -> str:
    """What a row asks, by which it is held out: rows that ask the same are on one side, whatever they answer.

    Instructions of the system are no part of it, as they are none for the leak audit.
    """
    named = spec.format not in ("auto", "columns")
    shape: Shape = spec.format if named else recognise(tuple(row), spec.columns, spec.name)  # type: ignore[assignment]
    if shape == "text":
        return whole_row(row)
    first = turns(row, shape, spec.columns)[0]
    before = [(message.role, message.content) for message in first.history if message.role != "system"]
    return json.dumps([*before, first.prompt])


def _by_shape(spec: TaskSpec) -> DatasetTask:
    files = _files(spec, partial(_asked, spec))
    table = files.table()
    if spec.format == "auto" or spec.format == "columns":
        shape, found = recognise(table.columns, spec.columns, spec.name), "Recognised "
    else:
        shape, found = spec.format, "Given as "

    @cache
    def rows(part: str) -> Sequence[Row]:
        return TurnRows(files(part), shape, spec)

    kind: Kind = "corpus" if shape == "text" else "answer"
    summary = f"{found}{told(shape, table.columns, spec.columns)}."
    card = TaskCard(spec.name, summary, "", "that of the files", table.words, kind, _size(spec, rows))
    return make(OwnTurns, rows, spec, card)
