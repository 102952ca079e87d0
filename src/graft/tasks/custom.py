"""Tasks without code: a recipe says how the columns of a row become a prompt and an answer.

One row: whatever the files hold. Licence: that of the files. Split: two files, or a share of one by hash of the prompt.
Metric: as the recipe says; accuracy with labels and exact match without.
"""

from __future__ import annotations

import random
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from string import Formatter
from typing import Any, Literal, TypeAlias

from graft import errors
from graft.tasks.answers.choices import NO_LABEL, find_labels
from graft.tasks.answers.numbers import number_of, score_number, score_value
from graft.tasks.answers.spans import score_span
from graft.tasks.base import Split, TaskCard
from graft.tasks.dataset import HELD_OUT_SHARE, DatasetTask, Row, Rows, same_text
from graft.tasks.labels import LabelTask, digest, is_missing, label_key, length_bucket
from graft.tasks.metric import CALLED, GOLD, NUMERIC
from graft.types import Example, Message, Score, Stratum

Paths: TypeAlias = Path | tuple[Path, ...]
"""One file, folder or pattern, or several of them."""

Metric = Literal[
    "auto", "accuracy", "macro_f1", "micro_f1", "mcc", "exact", "f1", "number", "mae", "rmse", "pearson", "spearman",
    "none",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class TaskSpec:
    """What a recipe says about a task of its own; the fields are those of `graft.config.schema.TaskSection`.

    `trains_calls` says of the model that its chat template writes calls of tools; without it they are only history.
    """

    name: str
    like: str | None = None
    train: Paths | None = None
    eval: Paths | None = None
    held_out: float = HELD_OUT_SHARE
    format: Literal["auto", "columns", "completion", "preference", "alpaca", "sharegpt", "messages", "text"] = "auto"
    unit: Literal["auto", "file", "paragraph", "line"] = "auto"
    separator: str | None = None
    quote: str | None = None
    header: tuple[str, ...] = ()
    explode: str | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    group: str | None = None
    encoding: str | None = None
    prompt: str | None = None
    label: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    several: str | None = None
    completion: str | None = None
    tolerance: float | None = None
    metric: Metric = "auto"
    trains_calls: bool = True


def place_of(row: Row, index: int | None = None) -> str:
    """Where a row stands, for people."""
    return getattr(row, "place", None) or ("the row" if index is None else f"row {index + 1}")


def column(row: Row, name: str) -> Any:
    """The value of a column; ``doc.title`` is the entry ``title`` of the object, or of each object, in the column;
    ``answers.0.text`` is that of the first.

    Raises:
        DataError: the row has no such column.
    """
    if name in row:
        return row[name]
    return _entry(row, row, name, name.split("."))


def _entry(row: Row, value: Any, name: str, parts: list[str]) -> Any:
    if not parts:
        return value
    if isinstance(value, list) and parts[0].isdecimal():
        if int(parts[0]) >= len(value):
            raise errors.DataError(f"{place_of(row)}: {name} asks for entry {parts[0]}, but there are {len(value)}")
        return _entry(row, value[int(parts[0])], name, parts[1:])
    if isinstance(value, list):
        return [_entry(row, part, name, parts) for part in value]
    if not isinstance(value, Mapping) or parts[0] not in value:
        raise errors.DataError(f"{place_of(row)}: there is no column {name}. {errors.choices(name, row)}")
    return _entry(row, value[parts[0]], name, parts[1:])


CELLS = " | "
"""Between the cells of a table, which is a list of lists."""


class Template:
    """Text with columns in braces; ``{{`` and ``}}`` are braces themselves.

    Args:
        text: such as ``"{title}: {body}"``.
        columns: names that the text uses, each with the column that holds it.
        where: what the text is, for errors.

    Raises:
        ConfigError: a brace is not closed, or holds no plain name.
    """

    def __init__(self, text: str, columns: Mapping[str, str], where: str) -> None:
        try:
            parts = list(Formatter().parse(text))
        except ValueError as error:
            raise errors.ConfigError(f"{where} is {text!r:.80}: {error}; write a brace itself twice") from None
        if any(name == "" or spec or conversion for _, name, spec, conversion in parts):
            raise errors.ConfigError(
                f"{where} is {text!r:.80}, but braces hold the name of a column and nothing else; write a brace itself "
                "twice"
            )
        self.where = where
        self.parts = [(literal, None if name is None else columns.get(name, name)) for literal, name, _, _ in parts]

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that are used, once each."""
        return tuple(dict.fromkeys(name for _, name in self.parts if name is not None))

    def fill(self, row: Row) -> str:
        """The text for one row: a list as lines, a list of lists as a table, an empty cell (null, NaN) as nothing.

        Raises:
            DataError: a column is missing or holds an object.
        """
        return "".join(
            literal if name is None else literal + self._text(row, name, column(row, name))
            for literal, name in self.parts
        )

    def _text(self, row: Row, name: str, value: Any, depth: int = 0) -> str:
        if isinstance(value, list | tuple):
            between = "\n" if depth == 0 else CELLS
            return between.join(self._text(row, name, entry, depth + 1) for entry in value)
        if isinstance(value, Mapping):
            raise errors.DataError(
                f"{place_of(row)}: {self.where} uses {name}, which holds an object with {', '.join(map(str, value))}; "
                f"name one entry of it, such as {name}.{next(iter(value), 'x')}"
            )
        return "" if is_missing(value) else str(value)


def group_of(row: Row, name: str) -> str:
    """What a row belongs together with, by a column that the recipe names.

    Raises:
        DataError: the cell is empty, or there is no such column.
    """
    value = column(row, name)
    if is_missing(value) or value == "":
        raise errors.DataError(f"{place_of(row)}: the group column {name} is empty; fill it in or delete the row")
    return str(value)


def cluster_of(row: Row, spec: TaskSpec, otherwise: str) -> str:
    """The resampling unit of a row: its group where the recipe names such a column, else what is given."""
    return otherwise if spec.group is None else digest(group_of(row, spec.columns.get(spec.group, spec.group)))


class OwnLabels(LabelTask):
    """A classification: the answer is one of a closed set of labels.

    Args:
        rows: gives the rows of ``train`` and ``eval``.
        spec: what the recipe says; it has a prompt and a label.

    Raises:
        ConfigError: the prompt is no template.
    """

    def __init__(self, rows: Rows, spec: TaskSpec) -> None:
        super().__init__(rows)
        self.spec = spec
        self.prompt = Template(spec.prompt or "", spec.columns, f"task {spec.name}: prompt")
        self.column = spec.columns.get(spec.label or "", spec.label or "")
        self.words = {label_key(key): word for key, word in spec.labels.items()}
        # YAML writes a truth in several ways, and a file in others
        self.words |= {key.lower(): word for key, word in self.words.items() if key.lower() in ("true", "false")}

    def example(self, row: Row, index: int) -> Example:
        """The prompt and the label's word.

        Raises:
            DataError: a column is missing, or the label is not in the set.
        """
        value = column(row, self.column)
        key = label_key(value)
        word = self.words.get(key) or self.words.get(key.lower() if key in ("True", "False", "TRUE", "FALSE") else key)
        if word is None:
            raise errors.DataError(
                f"task {self.spec.name}: {place_of(row, index)}: {self.column} is {value!r:.60}, which is no label. "
                f"{errors.choices(key, self.words)}"
            )
        prompt = self.prompt.fill(row)
        return Example(
            id=f"{self.card.name}/{index}",
            task=self.card.name,
            prompt=prompt,
            gold=word,
            cluster=cluster_of(row, self.spec, digest(prompt)),
            strata={"length": length_bucket(prompt)},
            options=self.labels,
        )


class OwnAnswers(DatasetTask):
    """Base of the tasks of a recipe whose answer is free text.

    Args:
        rows: gives the rows of ``train`` and ``eval``.
        spec: what the recipe says.
    """

    def __init__(self, rows: Rows, spec: TaskSpec) -> None:
        super().__init__(rows)
        self.spec = spec

    def score(self, example: Example, reply: str) -> Score:
        """Judge one reply by the metric of the recipe."""
        if self.spec.metric == "f1":
            return score_span(example.gold, reply)
        if self.spec.metric in NUMERIC or (self.spec.metric == "number" and self.spec.tolerance is not None):
            return score_value(example.gold, reply, self.spec.tolerance)
        if self.spec.metric == "number":
            return score_number(example.gold, reply)
        return super().score(example, reply)

    def trivial_answers(self, examples: Sequence[Example]) -> Mapping[str, Sequence[str]]:
        """Of numbers also their median, which of all constant answers is off by the least."""
        found = dict(super().trivial_answers(examples))
        if self.spec.metric in NUMERIC:
            golds = sorted((example.gold for example in examples), key=lambda gold: number_of(gold) or 0.0)
            found["median"] = [golds[len(golds) // 2]] * len(examples) if golds else []
        return found

    def checked(self, gold: str, where: str) -> str:
        """The right answer, which is a number where the metric asks for one.

        Raises:
            DataError: it is none.
        """
        asked = self.spec.metric in NUMERIC or self.spec.tolerance is not None
        if asked and number_of(gold) is None:
            raise errors.DataError(
                f"task {self.spec.name}: {where}: the right answer is {gold!r:.60}, but metric {self.spec.metric} is "
                "about numbers; mend the row or take another metric"
            )
        return gold


class OwnCompletions(OwnAnswers):
    """Prompt and answer are both templates.

    Raises:
        ConfigError: one of them is none.
    """

    def __init__(self, rows: Rows, spec: TaskSpec) -> None:
        super().__init__(rows, spec)
        self.prompt = Template(spec.prompt or "", spec.columns, f"task {spec.name}: prompt")
        self.answer = Template(spec.completion or "", spec.columns, f"task {spec.name}: completion")

    def example(self, row: Row, index: int) -> Example:
        """Both texts, filled in.

        Raises:
            DataError: a column is missing, or the answer is empty.
        """
        answer = self.answer.fill(row)  # white space belongs to it
        if not answer.strip():
            raise errors.DataError(
                f"task {self.spec.name}: {place_of(row, index)}: the completion is empty, so nothing would be trained; "
                "fill it in or delete the row"
            )
        prompt = self.prompt.fill(row)
        cluster = cluster_of(row, self.spec, digest(prompt))
        gold = self.checked(answer, place_of(row, index))
        return Example(f"{self.card.name}/{index}", self.card.name, prompt, gold, cluster=cluster)


class OwnLabelSets(OwnAnswers):
    """Several labels a row: the answer lists them, or says that none fits.

    Raises:
        ConfigError: the prompt is no template.
    """

    def __init__(self, rows: Rows, spec: TaskSpec) -> None:
        super().__init__(rows, spec)
        self.prompt = Template(spec.prompt or "", spec.columns, f"task {spec.name}: prompt")
        self.column = spec.columns.get(spec.label or "", spec.label or "")
        self.words = {label_key(key): word for key, word in spec.labels.items()}
        self.names = tuple(dict.fromkeys(spec.labels.values()))

    def example(self, row: Row, index: int) -> Example:
        """The prompt, and the labels' words in the order of the labels.

        Raises:
            DataError: a column is missing, or a label is not in the set.
        """
        keys = label_keys(column(row, self.column), self.spec.several or "")
        if unknown := next((key for key in keys if key not in self.words), None):
            raise errors.DataError(
                f"task {self.spec.name}: {place_of(row, index)}: {self.column} holds {unknown!r:.60}, which is no "
                f"label. {errors.choices(unknown, self.words)}"
            )
        prompt = self.prompt.fill(row)
        had = {self.words[key] for key in keys}
        gold = f"{self.spec.several} ".join(name for name in self.names if name in had) or NO_LABEL
        cluster = cluster_of(row, self.spec, digest(prompt))
        strata: Mapping[str, Stratum] = {"labels": len(had), "length": length_bucket(prompt)}
        return Example(f"{self.card.name}/{index}", self.card.name, prompt, gold, cluster=cluster, strata=strata)

    def score(self, example: Example, reply: str) -> Score:
        """Compare sets: strict as written, lenient in any order and form; details count for F1 over all items."""
        gold, said = self._set(example.gold), find_labels(reply, self.names)
        called = set(said or ())
        strict = same_text(reply, example.gold)
        details = {
            "true_positives": float(len(gold & called)),
            "predicted": float(len(called)),
            "expected": float(len(gold)),
        }
        if self.spec.metric == "macro_f1":
            for name in self.names:
                details |= {f"{GOLD}{name}": float(name in gold), f"{CALLED}{name}": float(name in called)}
        answer = None if said is None else f"{self.spec.several} ".join(said) or NO_LABEL
        return Score(strict, strict or (said is not None and called == gold), said is not None, answer, details)

    def _set(self, gold: str) -> set[str]:
        return set(gold.split(f"{self.spec.several} ")) & set(self.names)


def label_keys(value: Any, separator: str) -> list[str]:
    """The labels of a cell that may hold several: a list, or a text with a separator; none for an empty one."""
    parts = value if isinstance(value, list | tuple) else [] if is_missing(value) else str(value).split(separator)
    return [key for part in parts if (key := label_key(part))]


class Conversations(Sequence[Row]):  # type: ignore[type-arg, unused-ignore]
    """Rows that are the answers of conversations, those of one next to each other."""

    @abstractmethod
    def blocks(self) -> list[range]:
        """The rows of each conversation."""


class OwnTurns(OwnAnswers):
    """Rows that are answers already, each with its ``prompt``, ``asker``, ``history`` and ``conversation``.

    Conversations are trained in a random order, and the answers of each in their own, so that a step reads them once.
    """

    def _round(self, rows: Sequence[Row], split: Split, seed: int, number: int) -> Iterator[Example]:
        if split != "train" or not isinstance(rows, Conversations):
            yield from super()._round(rows, split, seed, number)
            return
        blocks = rows.blocks()
        random.Random(f"{self.card.name}/{split}/{seed}/{number}").shuffle(blocks)
        yield from (self.example(rows[index], index) for block in blocks for index in block)

    def example(self, row: Row, index: int) -> Example:
        """The answer with what was said before it; answers of one conversation are one cluster."""
        history: tuple[Message, ...] = row["history"]
        name = f"{self.card.name}/{row['conversation']}"
        return Example(
            id=f"{name}/{row['turn']}" if row["prompt"] is not None else name,
            task=self.card.name,
            prompt=row["prompt"],
            gold=self.checked(row["answer"], place_of(row, index)),
            cluster=name if row["group"] is None else digest(row["group"]),
            reasoning=row["reasoning"],
            history=history,
            asker=row["asker"],
            asked=row["asked"],
            calls=row["calls"],
        )


Own = OwnLabels | OwnLabelSets | OwnCompletions | OwnTurns

_METRICS = {"exact": "strict", "number": "lenient"}
"""Fields of `Score` that the metrics of a recipe stand for, where the names differ."""


def make(base: type[Own], rows: Rows, spec: TaskSpec, card: TaskCard) -> Own:
    """A task of one of these classes under a card of its own.

    Args:
        base: `OwnLabels`, `OwnLabelSets`, `OwnCompletions` or `OwnTurns`.
        rows: gives the rows.
        spec: what the recipe says.
        card: what ``graft tasks`` shows; its metric is replaced by that of the recipe.
    """
    usual = {"classification": "accuracy", "corpus": "none"}.get(card.kind, "exact")
    usual = "micro_f1" if spec.several is not None else usual
    metric = usual if spec.metric == "auto" else spec.metric
    card = replace(card, metric=_METRICS.get(metric, metric))
    labels = tuple(dict.fromkeys(spec.labels.values()))
    made: Own = type(base.__name__, (base,), {"card": card, "labels": labels})(rows, spec)
    return made


def make_like(
    base: type[DatasetTask], rows: Rows, spec: TaskSpec, source: str, size: str, notes: tuple[str, ...] = ()
) -> DatasetTask:
    """A dataset task over rows of one's own, under a name of one's own.

    Args:
        base: the class of the dataset task.
        rows: rows with the columns of that dataset.
        spec: what the recipe says; its name is the new task's.
        source: the files, for people.
        size: number of rows by split, for people.
        notes: what is not used or left out.
    """
    old, name = base.card.name, spec.name
    card = replace(
        base.card, name=name, summary=f"As {old}: {base.card.summary}", licence="that of the files", source=source,
        size=size, label="", notes=notes,
    )  # fmt: skip

    labelled: str = getattr(base, "label_column", "")

    def example(self: DatasetTask, row: Row, index: int) -> Example | None:
        if labelled in row and (is_missing(row[labelled]) or row[labelled] == ""):
            raise errors.DataError(
                f"task {name}: {place_of(row, index)}: the label column {labelled} is empty; fill it in, delete the "
                "row, or write -1 where no label is published"
            )
        try:
            found = base.example(self, row, index)
        except KeyError as error:
            raise errors.DataError(
                f"task {name}: {place_of(row, index)} has no {error.args[0]}; mend or delete it"
            ) from None
        if found is None:
            return None
        own = found.id.removeprefix(f"{old}/").removeprefix(f"{name}/")  # by class or card, as the task names its rows
        return replace(found, task=name, id=f"{name}/{own}", cluster=cluster_of(row, spec, found.cluster))

    made: DatasetTask = type(base.__name__, (base,), {"card": card, "example": example})(rows)
    return made
