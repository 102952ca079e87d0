"""A recipe for a table of one's own: what its columns are is found out, and what cannot be is asked for."""

from __future__ import annotations

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from graft.config.scalars import to_text
from graft.data.chat import NO_THINKING
from graft.data.files import read_rows
from graft.data.formats import SHAPES, recognise
from graft.data.rows import Table
from graft.data.survey import ShownExample, show
from graft.data.tokens import token_ids
from graft.data.user_tasks import load_user_task
from graft.errors import ConfigError, DataError, choices
from graft.models.loading import load_tokenizer
from graft.tasks.custom import TaskSpec
from graft.tasks.labels import is_missing, label_key

LOOKED_AT = 20_000
"""Rows by which columns are told apart."""

MEASURED = 1_000
"""Rows by whose lengths `data.max_length` is chosen."""

MOST_LABELS = 20
LONGEST_LABEL = 40
LABEL_NAMES = ("label", "labels", "class", "category", "kind", "target", "sentiment", "topic", "intent", "y")
ANSWER_NAMES = ("answer", "completion", "output", "response", "reply", "target", "summary", "translation")
GROUP = re.compile(
    r"(^|_)(id|user|author|customer|patient|thread|conversation|session|group|source|url)$", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class Proposal:
    """What is proposed for a table.

    Attributes:
        text: the recipe.
        found: what was found in the table, a sentence each.
        shown: its first row token by token.
    """

    text: str
    found: tuple[str, ...]
    shown: ShownExample


@dataclass(frozen=True, slots=True)
class Columns:
    """The parts that columns play.

    Attributes:
        texts: what the prompt shows.
        label: what is called; ``None`` without labels.
        answer: what is written; ``None`` with labels.
        group: whose equal values belong together; ``None`` for none.
    """

    texts: tuple[str, ...]
    label: str | None
    answer: str | None
    group: str | None


def propose(path: Path, *, model: str = "sprout", label: str | None = None, texts: Sequence[str] = ()) -> Proposal:
    """Look at a table and write a recipe of about 20 lines.

    Args:
        path: a file that `graft.data.files.read_rows` reads.
        model: the model that is to be trained.
        label: the column of labels or answers; found out when unset.
        texts: the columns of the prompt; found out when empty.

    Raises:
        ConfigError: a column cannot be found out, or is not there.
        DataError: the file cannot be read.
        ModelError: the tokenizer cannot be loaded.
    """
    table = read_rows(path)
    for name in (*texts, *([label] if label else [])):
        if name not in table.columns:
            raise ConfigError(f"{path} has no column {name!r}. {choices(name, table.columns)}")
    rows = [dict(table[index]) for index in range(min(len(table), LOOKED_AT))]
    name = re.sub(r"\W+", "_", path.name.partition(".")[0]).strip("_") or "mine"
    shape = None if label or texts else _shape(table, name)
    columns = None if shape else find_columns(table.columns, rows, path, label, texts)
    settings = _settings(columns, rows, len(table))
    spec = TaskSpec(name=name, train=path, held_out=settings["held_out"], **_asked(columns, rows))
    task = load_user_task(spec)
    tokenizer = load_tokenizer(model)
    examples = list(islice(task.examples("train", limit=None, seed=0), MEASURED))
    read = list(token_ids(tokenizer, examples, policy=NO_THINKING))
    lengths, answers = sorted(len(ids) for _, ids, _ in read), sorted(len(ids) - cut for _, ids, cut in read)
    settings |= {"max_length": _at_least(lengths, 64), "max_new_tokens": _at_least(answers, 8)}
    shown = show(tokenizer, examples[0], max_length=settings["max_length"])
    return Proposal(_recipe(spec, settings, model), tuple(_found(table, rows, shape, columns)), shown)


def _shape(table: Table, name: str) -> str | None:
    try:
        return recognise(table.columns, {}, name)
    except DataError:
        return None


def find_columns(
    names: Sequence[str], rows: Sequence[Mapping[str, Any]], path: Path, label: str | None, texts: Sequence[str]
) -> Columns:
    """Which column plays which part.

    Raises:
        ConfigError: it is not clear; the message names the flag that says it.
    """
    cells = {name: [row.get(name) for row in rows if not is_missing(row.get(name))] for name in names}
    labels = [name for name in names if _may_be_label(cells[name])]
    group = next((name for name in names if GROUP.search(name) and 1 < len({*map(str, cells[name])}) < len(rows)), None)
    called = label if label is not None and _may_be_label(cells[label]) else None
    answer = label if label is not None and called is None else None
    if label is None:
        labels = [name for name in labels if name != group]
        named = [name for name in labels if name.lower() in LABEL_NAMES]
        answer = next((name for name in names if name.lower() in ANSWER_NAMES and name not in labels), None)
        called = named[0] if named else labels[0] if len(labels) == 1 and answer is None else None
        answer = None if called else answer
    if called is None and answer is None:
        may = f"several may be ({', '.join(labels)})" if labels else "none has few short values"
        raise ConfigError(f"{path}: which column holds the answer is not clear: {may}; name it: --label COLUMN")
    rest = [name for name in names if name not in (called, answer, group, *labels)]
    written = [name for name in rest if _words(cells[name]) >= 2]
    shown = tuple(texts) or tuple(written or [name for name in rest if _is_text(cells[name])])
    if not shown:
        raise ConfigError(f"{path}: no column holds text to ask about ({', '.join(names)}); name it: --text COLUMN")
    return Columns(shown, called, answer, group)


def _may_be_label(cells: Sequence[Any]) -> bool:
    kinds = Counter(label_key(cell) for cell in cells if isinstance(cell, str | int | float))
    few = 2 <= len(kinds) <= MOST_LABELS and len(kinds) * 3 <= len(cells)
    return few and all(0 < len(kind) <= LONGEST_LABEL for kind in kinds)


def _is_text(cells: Sequence[Any]) -> bool:
    return bool(cells) and all(isinstance(cell, str) for cell in cells)


def _words(cells: Sequence[Any]) -> float:
    return sum(len(cell.split()) for cell in cells) / len(cells) if _is_text(cells) else 0.0


def _settings(columns: Columns | None, rows: Sequence[Mapping[str, Any]], count: int) -> dict[str, Any]:
    """The numbers of a recipe that follow from the size of the table and the balance of its labels."""
    kinds = Counter(label_key(row.get(columns.label)) for row in rows) if columns and columns.label else Counter()
    uneven = bool(kinds) and max(kinds.values()) > 0.6 * sum(kinds.values())
    held_out = 0.1 if count >= 5_000 else 0.2 if count >= 500 else 0.3
    epochs = 2 if count >= 5_000 else 4 if count >= 500 else 10
    return {"held_out": held_out, "epochs": epochs, "metric": "macro_f1" if uneven else "auto"}


def _asked(columns: Columns | None, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The part of a task that says what is asked; nothing where the shape of the rows does."""
    if columns is None:
        return {}
    shown = "\n".join(f"{name}: {{{name}}}" for name in columns.texts)
    group = {"group": columns.group} if columns.group else {}
    if columns.label is None:
        only = f"{{{columns.texts[0]}}}" if len(columns.texts) == 1 else shown
        return {"prompt": only, "completion": f"{{{columns.answer}}}", **group}
    kinds = sorted({label_key(row.get(columns.label)) for row in rows if not is_missing(row.get(columns.label))})
    asked = f"What is the {columns.label}: {', '.join(kinds[:-1])} or {kinds[-1]}?"
    prompt = f"{asked}\n\n{shown}\n{columns.label}:"
    return {"prompt": prompt, "label": columns.label, "labels": {kind: kind for kind in kinds}, **group}


def _at_least(lengths: Sequence[int], least: int) -> int:
    """The length that 99 of 100 rows keep to, and some room, in steps of 8."""
    at = lengths[min(len(lengths) - 1, math.ceil(0.99 * len(lengths)))]
    return max(least, 8 * math.ceil(1.1 * at / 8))


def _found(table: Table, rows: Sequence[Mapping[str, Any]], shape: str | None, columns: Columns | None) -> list[str]:
    found = [table.words]
    if columns is None:
        return [*found, f"its rows are {SHAPES[shape][0] if shape in SHAPES else shape}"]  # type: ignore[index]
    if columns.label:
        kinds = Counter(label_key(row.get(columns.label)) for row in rows)
        told = ", ".join(f"{kind} {count / len(rows):.0%}" for kind, count in kinds.most_common())
        found.append(f"label {columns.label}: {told}")
    else:
        found.append(f"answer {columns.answer}")
    found.append(f"text {', '.join(columns.texts)}: {_scripts(rows, columns.texts)}")
    asked = Counter(tuple(str(row.get(name)) for name in columns.texts) for row in rows)
    if repeated := sum(count - 1 for count in asked.values()):
        found.append(f"{repeated:,} of {len(rows):,} rows repeat the text of another; equal ones stay on one side")
    if columns.group:
        found.append(f"group {columns.group}: rows with equal values stay on one side of the held-out share")
    return found


def _scripts(rows: Sequence[Mapping[str, Any]], texts: Sequence[str]) -> str:
    """The scripts that the texts are written in, by the share of their letters."""
    letters = Counter(
        letter for row in rows[:MEASURED] for name in texts for letter in str(row.get(name)) if letter.isalpha()
    )
    scripts: Counter[str] = Counter()
    for letter, count in letters.items():
        scripts[unicodedata.name(letter, "other").split()[0].lower()] += count
    total = sum(scripts.values()) or 1
    return ", ".join(f"{script} letters {count / total:.0%}" for script, count in scripts.most_common(3))


def _recipe(spec: TaskSpec, settings: Mapping[str, Any], model: str) -> str:
    """The recipe; what the table decided is said beside it."""
    own = model == "sprout"
    lines = [f"# {spec.name}, from {spec.train}. Look before you run: graft check RECIPE; then: graft run RECIPE"]
    lines += [f"model: {{id: {to_text(model)}}}", "data:", f"  train: {spec.name}"]
    lines += [f"  max_length: {settings['max_length']}  # tokens; 99 of 100 rows are shorter"]
    lines += ["  tasks:", f"    - name: {spec.name}", f"      train: {to_text(str(spec.train))}"]
    lines += [f"      held_out: {settings['held_out']}  # share that is scored and never trained"]
    if spec.group:
        lines += [f"      group: {to_text(spec.group)}  # equal values are never on both sides"]
    if spec.prompt:
        lines += ["      prompt: |-", *(f"        {line}".rstrip() for line in spec.prompt.splitlines())]
    if spec.label:
        lines += [f"      label: {to_text(spec.label)}"]
        numbers = all(kind.isdecimal() for kind in spec.labels)
        told = "numbers say little: write their words, {0: bad, 1: good}" if numbers else "each with the word to write"
        lines += [f"      labels: {to_text(dict(spec.labels))}  # {told}"]
    if spec.completion:
        lines += [f"      completion: {to_text(spec.completion)}"]
    if settings["metric"] != "auto":
        lines += [f"      metric: {settings['metric']}  # one label is much more frequent than the others"]
    lines += [f"adapter: {{kind: {'none' if own else 'lora'}}}"]
    lines += ["train:", f"  epochs: {settings['epochs']}", f"  learning_rate: {'5e-4' if own else '2e-4'}"]
    lines += ["eval: {seen_items: 0}", f"sampling: {{max_new_tokens: {settings['max_new_tokens']}}}"]
    lines += ["study: {arms: [base, trained], seeds: [0]}  # five seeds and the arms format and self for a firm claim"]
    return "\n".join(lines) + "\n"
