"""Tasks of a recipe: local rows, brought to a task's columns, and everything checked before the first is used."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cache, partial

from graft import tasks
from graft.data.encodings import SHOWN
from graft.data.file_form import FileForm
from graft.data.files import FileRows, file_rows, whole_row
from graft.data.formats import TEXT_FILES, Shape, recognise, told, turns, used_columns
from graft.data.rows import Table
from graft.data.task_rows import RenamedRows, TurnRows, look, not_used, one_sided
from graft.errors import ConfigError, DataError, choices
from graft.tasks.base import Kind, TaskCard
from graft.tasks.custom import (
    OwnCompletions,
    OwnLabels,
    OwnLabelSets,
    OwnTurns,
    TaskSpec,
    Template,
    column,
    group_of,
    label_keys,
    make,
    make_like,
    place_of,
)
from graft.tasks.dataset import DatasetTask, Row
from graft.tasks.labels import is_missing, label_key
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
    return _completed(spec, files, prompt) if spec.label is None else _labelled(spec, files, prompt)


def _completed(spec: TaskSpec, files: FileRows, prompt: Template) -> DatasetTask:
    """A task whose prompt and answer are both templates."""
    answer = Template(spec.completion or "", spec.columns, f"task {spec.name}: completion")
    _require(spec, files.table(), answer.columns, f"completion {_USED}")
    notes = _unused(spec, files.table(), (*prompt.columns, *answer.columns))
    summary = f"Your own prompt and completion, from {', '.join(prompt.columns)}."
    made = make(OwnCompletions, files, spec, _card(spec, "answer", summary, files, notes))
    for part in _parts(spec):
        look(made, files(part))
    return made


def _labelled(spec: TaskSpec, files: FileRows, prompt: Template) -> DatasetTask:
    """A classification by the labels that the recipe names, or else by those that stand in the files."""
    name = _column(spec, spec.label)
    _require(spec, files.table(), (name,), f"label is {_NAMED}")
    if not spec.labels:
        spec = replace(spec, labels=_labels_there(spec, files.given()))
    labels = tuple(dict.fromkeys(spec.labels.values()))
    if clash := next((label for label in labels if spec.several is not None and spec.several in label), None):
        raise DataError(
            f"task {spec.name}: the label {clash!r} holds {spec.several!r}, which stands between labels; name another "
            "character in several, or another word in labels"
        )
    if len(labels) < 2:
        raise DataError(
            f"task {spec.name}: {labels[0]!r} is its only label, so there is nothing to tell apart; name another column"
            " in label, all labels in labels, or write completion instead"
        )
    base: type[OwnLabels] | type[OwnLabelSets] = OwnLabels if spec.several is None else OwnLabelSets
    kind: Kind = "classification" if spec.several is None else "answer"
    card = _card(spec, kind, f"Label {', '.join(labels)}{', several a row' * (spec.several is not None)}.", files)
    task = make(base, files, spec, card)
    looked = {part: look(task, files(part)) for part in _parts(spec)}
    sides = one_sided(looked, labels) if spec.several is None else ()
    notes = (*_unused(spec, files.table(), (*prompt.columns, name)), *sides)
    return make(base, files, spec, replace(card, notes=notes))


def _column(spec: TaskSpec, name: str | None) -> str:
    """The column that a name of the recipe stands for."""
    return spec.columns.get(name or "", name or "")


def _unused(spec: TaskSpec, table: Table, used: Sequence[str]) -> tuple[str, ...]:
    """The sentence about the columns that play no part, those aside that are made of files and folders."""
    made = ("file", "label") if table.columns in TEXT_FILES else ()
    lists = (spec.explode or "").replace("[]", "").split(".")
    return tuple(not_used(table.columns, (*used, *made, *lists, *filter(None, [_column(spec, spec.group)]))))


def _files(spec: TaskSpec, key: Callable[[Row], str]) -> FileRows:
    form = FileForm(
        encoding=spec.encoding,
        separator=spec.separator,
        quote=spec.quote,
        header=spec.header,
        unit=spec.unit,
        explode=spec.explode,
        by_folder=_column(spec, spec.label) == "label",
    )
    together = key if spec.group is None else partial(group_of, name=_column(spec, spec.group))
    files = file_rows(spec.train, spec.eval, held_out=spec.held_out, form=form, key=together)
    if spec.group is not None:
        _require(spec, files.table(), (spec.group,), f"group is {_NAMED}")
        _require_apart(spec, files)
    return files


def _require_apart(spec: TaskSpec, files: FileRows) -> None:
    """Refuse two files that share a group, which the recipe says belongs together."""
    name = _column(spec, spec.group)
    sides = [{group_of(row, name) for row in files(part)} for part in ("train", "eval")]
    if spec.eval is not None and (shared := sorted(sides[0] & sides[1])):
        raise DataError(
            f"task {spec.name}: {len(shared):,} groups of {name} stand in train and in eval "
            f"({', '.join(shared[:SHOWN])}{' …' if len(shared) > SHOWN else ''}); move each to one side, or leave out "
            "eval"
        )


def _parts(spec: TaskSpec) -> tuple[str, ...]:
    return ("train", "eval") if spec.train is not None else ("eval",)


def _card(spec: TaskSpec, kind: Kind, summary: str, files: FileRows, notes: tuple[str, ...] = ()) -> TaskCard:
    source, size = files.table().words, _size(spec, files)
    return TaskCard(spec.name, summary, "", "that of the files", source, kind, size, notes=notes)


def _size(spec: TaskSpec, rows: Callable[[str], Sequence[Row]]) -> str:
    return ", ".join(f"{len(rows(part)):,} {part}" for part in _parts(spec))


_USED, _NAMED = "uses {{{0}}}, but {1} has no such column", "{0}, but in {1} there is no column {0}"


def _require(spec: TaskSpec, table: Table, names: Sequence[str], told: str) -> None:
    """Make sure that columns are there, before any row is looked at; `told` says of a column and a file what lacks."""
    for wanted in names:
        name = _column(spec, wanted)
        if name not in table.columns and name.partition(".")[0] not in table.columns:
            what = f"task {spec.name}: {told.format(name, table.words.partition(':')[0])}"
            text = "file" in table.columns and "text" in table.columns
            lines = " If its lines hold columns, name the character between them in separator." if text else ""
            raise DataError(f"{what}. {choices(name, table.columns)}{lines}")


def _labels_there(spec: TaskSpec, files: Iterable[Iterable[Row]]) -> Mapping[str, str]:
    """The values of the label column in all files, in alphabetical order."""
    name = _column(spec, spec.label)
    found: set[str] = set()
    for rows in files:
        empty: list[str] = []
        count = 0
        for count, row in enumerate(rows, 1):
            value = column(row, name) if name.partition(".")[0] in row else None
            if isinstance(value, dict) or (isinstance(value, list) and spec.several is None):
                raise DataError(
                    f"{place_of(row)}: the column {name} holds {value!r:.60}, but a row has one label; keep one in the "
                    f'column, set several: "," for several, or write completion: "{{{name}}}" instead of label'
                )
            keys = [label_key(value)] if spec.several is None else label_keys(value, spec.several)
            if spec.several is None and (is_missing(value) or not keys[0]):
                empty.append(place_of(row, count - 1))
                continue
            found.update(keys)
            if len(found) > MOST_LABELS:
                raise DataError(
                    f"task {spec.name}: the column {name} holds more than {MOST_LABELS} different values, so they are "
                    "no labels; name another column in label, or write completion instead"
                )
        _require_labels(spec, name, empty, count)
    return {value: value for value in sorted(found)}


def _require_labels(spec: TaskSpec, name: str, empty: Sequence[str], rows: int) -> None:
    """Refuse rows without a label; `empty` says where they are."""
    if empty:
        next_ones = f" ({'; '.join(empty[1:SHOWN])} …)" if len(empty) > 1 else ""
        raise DataError(
            f"task {spec.name}: {empty[0]}: the label column {name} is empty, as in {len(empty):,} of {rows:,} rows"
            f"{next_ones}; fill it in, or delete these rows"
        )


def _liked(spec: TaskSpec) -> type[DatasetTask]:
    name = spec.like or ""
    found = tasks.find(name) if name in tasks.names() else None
    if found is None or not issubclass(found, DatasetTask):
        known = [other for other in tasks.names() if not tasks.is_word_task(other) and other != ProseTask.card.name]
        raise ConfigError(f"task {spec.name} is like {name}, which is no dataset task. {choices(name, known)}")
    return found


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

    task = make_like(base, rows, spec, table.words, _size(spec, files))
    looked = {part: look(task, task.rows(part)) for part in _parts(spec)}
    used = [_column(spec, name) for name in (*base.source.columns, *base.original)]
    notes = [*_unused(spec, table, used), *one_sided(looked, base.labels)]
    for part, found in looked.items():
        if found.left_out == len(task.rows(part)):
            raise DataError(
                f"task {spec.name}: none of its {len(task.rows(part)):,} {part} rows has a label; fill them in"
            )
        if found.left_out:
            notes.append(f"{found.left_out:,} of {len(task.rows(part)):,} {part} rows have no label and are left out")
    return make_like(base, rows, spec, table.words, _size(spec, files), tuple(notes))


def _asked(spec: TaskSpec, row: Row) -> str:
    """What a row asks, by which it is held out: rows that ask the same are on one side, whatever they answer.

    Instructions of the system are no part of it, as they are none for the leak audit.
    """
    named = spec.format not in ("auto", "columns")
    shape: Shape = spec.format if named else recognise(tuple(row), spec.columns, spec.name)  # type: ignore[assignment]
    if shape == "text":
        return whole_row(row)
    first = turns(row, shape, spec.columns)[0]
    before = [(message.role, message.content) for message in first.history if message.role not in ("system", "tools")]
    return json.dumps([*before, first.prompt])


def _by_shape(spec: TaskSpec) -> DatasetTask:
    files = _files(spec, partial(_asked, spec))
    table = files.table()
    if spec.format == "auto" or spec.format == "columns":
        shape, found = recognise(table.columns, spec.columns, spec.name), "Recognised "
    else:
        shape, found = spec.format, "Given as "

    @cache
    def rows(part: str) -> TurnRows:
        return TurnRows(files(part), shape, spec)

    kind: Kind = "corpus" if shape == "text" else "answer"
    summary = f"{found}{told(shape, table.columns, spec.columns)}."
    odd = {name for part in _parts(spec) for name in rows(part).odd}
    notes = list(_unused(spec, table, [name for name in used_columns(shape, spec.columns) if name not in odd]))
    fields = dict.fromkeys(name for part in _parts(spec) for name in rows(part).unused)
    notes += not_used(tuple(fields), (), "fields of turns")
    for part in _parts(spec):
        if left := rows(part).left_out:
            notes.append(f"{left:,} of {len(files(part)):,} {part} rows say that they are not to be trained")
        if silent := rows(part).silent:
            notes.append(
                f"{silent:,} {part} answers call tools, which the model's chat template does not write; they are left "
                "out"
            )
    card = TaskCard(
        spec.name, summary, "", "that of the files", table.words, kind, _size(spec, rows), notes=tuple(notes)
    )
    return make(OwnTurns, rows, spec, card)
