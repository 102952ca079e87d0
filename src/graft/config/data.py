"""The sections about rows: what is trained, on which words, and tasks of the user's own."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from graft.config.section import NonNegative, Positive, Section, Share


class TrainSource(Section):
    """One source of training examples."""

    task: str
    """A task name from `graft tasks`."""

    rate: Annotated[float, Field(gt=0.0, le=1.0)] = 1.0
    """Share of the training examples drawn from this source; the rates of all sources sum to 1."""

    words: Positive | None = None
    """At most this many distinct training words (word tasks); all of `words.train` when unset."""

    pseudo: Share = 0.0
    """Share of the items that ask about made-up, pronounceable words (word tasks)."""


def one_source(value: Any) -> Any:
    """Accept `spelling` for `[{task: spelling, rate: 1.0}]`."""
    return ({"task": value},) if isinstance(value, str) else value


def _as_mapping(value: Any) -> Any:
    """Accept a list of labels for a mapping of each to itself; keys are text, whatever YAML read."""
    if isinstance(value, (list, tuple)):
        return {str(label): str(label) for label in value}
    return {str(key): label for key, label in value.items()} if isinstance(value, dict) else value


class TaskSection(Section):
    """A task of your own: rows of local files, made into prompts and answers without code."""

    name: str
    """Its name in `data.train` and `eval.tasks`."""

    like: str | None = None
    """A dataset task whose prompts, labels and scorer are used on these rows; the settings below are then left out."""

    train: Path | tuple[Path, ...] | None = None
    """Files or folders with the training rows, or patterns such as `rows/*.csv`: CSV, TSV, JSON, JSONL or text, also
    compressed (.gz, .xz, .bz2, .zst, .zip), Parquet, Arrow or Feather."""

    eval: Path | tuple[Path, ...] | None = None
    """Files or folders with the held-out rows; without any a share of the training rows is held out."""

    held_out: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.1
    """Share of the rows that is held out when there is no `eval`."""

    format: Literal["auto", "columns", "completion", "preference", "alpaca", "sharegpt", "messages", "text"] = "auto"
    """What a row looks like; `auto` tells by the names of its columns, and what it found is shown."""

    unit: Literal["auto", "file", "paragraph", "line"] = "auto"
    """What one row of text files is; `auto` takes the file in folders, and in a single file the paragraph or, where
    there are no blank lines, the line."""

    separator: Annotated[str, Field(min_length=1, max_length=1)] | None = None
    """Character between the columns of a line, such as `"|"`; text files with one are tables. Found out when unset: a
    comma, a semicolon or a tab."""

    quote: str | None = None
    """Character around fields that hold separators, or `none` where quotation marks are letters; found out when
    unset."""

    header: tuple[str, ...] = ()
    """Names of the columns of files whose first line is a row already."""

    explode: str | None = None
    """Lists inside the rows whose entries are the rows that are meant: `paragraphs[].questions[]`. Fields of what they
    lie in are columns too."""

    columns: Annotated[dict[str, str], BeforeValidator(_as_mapping, json_schema_input_type=dict[str, str])] = Field(
        default_factory=dict
    )
    """Names that the prompt or the task uses, each with the column that holds it: `{text: review_body}`."""

    group: str | None = None
    """Column whose equal values are never on both sides of a held-out share, and are one cluster of the statistics; the
    prompt when unset."""

    encoding: str | None = None
    """Character encoding of the files; found out when unset."""

    prompt: str | None = None
    """The prompt, with columns in braces: `"Is this good or bad?\\n\\n{text}\\nAnswer:"`."""

    label: str | None = None
    """Column that holds the label of a classification."""

    labels: Annotated[
        dict[str, str], BeforeValidator(_as_mapping, json_schema_input_type=list[str] | dict[str, str])
    ] = Field(default_factory=dict)
    """The labels, as a list or as what the column holds with the word that is written for it: `{0: bad, 1: good}`."""

    several: Annotated[str, Field(min_length=1, max_length=1)] | None = None
    """What stands between the labels of a row that may have several, in the cell and in the answer: `","`. A cell may
    also be a list; an empty one has none of them."""

    completion: str | None = None
    """The answer of a task without labels, with columns in braces: `"{answer}"`."""

    tolerance: Annotated[float, Field(ge=0.0)] | None = None
    """Largest difference from the right number that is right, for answers that are numbers; when unset half a unit of
    the last decimal that is written, and 1% of a number with decimals for the metric `number`."""

    metric: Literal[
        "auto", "accuracy", "macro_f1", "micro_f1", "mcc", "exact", "f1", "number", "mae", "rmse", "pearson",
        "spearman", "none",
    ] = "auto"  # fmt: skip
    """What is reported first; `auto` is accuracy with labels, micro-F1 with several a row, and exact match without.
    `mae` and `rmse` are shown as skill: the share of the error of the best constant answer that is gone."""

    @model_validator(mode="after")
    def _has_rows(self) -> TaskSection:
        if self.train is None and self.eval is None:
            raise ValueError(f"task {self.name} has no rows; name a file or folder in train, in eval or in both")
        return self

    @model_validator(mode="after")
    def _files_fit(self) -> TaskSection:
        if self.quote is not None and self.quote != "none" and len(self.quote) != 1:
            raise ValueError(f"task {self.name} has quote {self.quote!r}, but it is one character or none")
        if self.explode is not None and not re.fullmatch(r"[^.\[\]]+\[\](\.[^.\[\]]+\[\])*", self.explode):
            raise ValueError(
                f"task {self.name} has explode {self.explode!r}, but it names lists from the outside to the inside, "
                "such as paragraphs[].questions[]"
            )
        return self

    @model_validator(mode="after")
    def _parts_fit(self) -> TaskSection:
        own = [name for name in ("prompt", "label", "labels", "completion") if getattr(self, name)]
        if self.like is not None and own:
            raise ValueError(f"task {self.name} is like {self.like}, which has its own {' and '.join(own)}; drop one")
        if self.like is None and own and (self.prompt is None or (self.label is None) == (self.completion is None)):
            raise ValueError(
                f"task {self.name} has {' and '.join(own)}, but needs a prompt with either a label or a completion"
            )
        if own and self.format not in ("auto", "columns"):
            raise ValueError(f"task {self.name} has {own[0]} and format {self.format}, which makes its own; drop one")
        if self.format == "columns" and not own:
            raise ValueError(f"task {self.name} has format columns, but no prompt; write one with columns in braces")
        if self.labels and self.label is None:
            raise ValueError(f"task {self.name} has labels, but no label; name the column that holds them")
        return self

    @model_validator(mode="after")
    def _metric_fits(self) -> TaskSection:
        numeric = self.metric in ("mae", "rmse", "pearson", "spearman")
        if self.label is None and self.metric in ("accuracy", "macro_f1", "micro_f1", "mcc") and self.like is None:
            raise ValueError(f"task {self.name} has metric {self.metric}, which needs labels; take exact, f1 or number")
        if self.several is not None and (self.label is None or self.metric in ("accuracy", "mcc")):
            what = "no label" if self.label is None else f"metric {self.metric}"
            raise ValueError(
                f"task {self.name} has several labels a row, but {what}; name the column in label, and take micro_f1, "
                "macro_f1 or exact"
            )
        if self.label is not None and (self.metric in ("f1", "number") or numeric):
            raise ValueError(f"task {self.name} has metric {self.metric}, but labels; take accuracy, macro_f1 or mcc")
        if self.metric == "micro_f1" and self.several is None:
            raise ValueError(f"task {self.name} has metric micro_f1, which needs several labels a row; set several")
        if self.tolerance is not None and self.metric != "number" and not numeric:
            raise ValueError(
                f"task {self.name} has tolerance {self.tolerance:g}, but metric {self.metric}; take number, mae or rmse"
            )
        return self


class DataSection(Section):
    """What is trained."""

    train: Annotated[
        tuple[TrainSource, ...],
        BeforeValidator(one_source, json_schema_input_type=str | tuple[TrainSource, ...]),
        Field(min_length=1),
    ] = (TrainSource(task="spelling"),)
    """Training sources with their rates; a bare task name means that task alone."""

    tasks: tuple[TaskSection, ...] = ()
    """Tasks of your own, from local files."""

    exhausted: Literal["repeat", "stop", "error"] = "repeat"
    """When a source has given all its rows: `repeat` begins it again in a new order, `stop` ends the training there,
    `error` refuses the recipe."""

    corpus: tuple[Path, ...] = ()
    """Plain-text files for the task `prose`; without any, it scores the packaged passages."""

    max_length: Annotated[int, Field(ge=8)] = 512
    """Longest row in tokens, prompt and completion together; longer rows are dropped, counted and reported."""

    prompt_style: Literal["auto", "field", "instruct"] = "auto"
    """How held-out rows of benchmarks are asked. `field` is as lm-evaluation-harness asks and scores them (MMLU,
    MMLU-Pro, GSM8K, GLUE, IMDB): plain text of any length without chat template, with its worked examples; `instruct`
    is an instruction in the chat template, as training rows always are. `auto` is `field` for benchmarks of the hub
    that are not trained, and `instruct` for all else, with thinking and behind servers."""

    @model_validator(mode="after")
    def _task_names_are_unique(self) -> DataSection:
        names = [task.name for task in self.tasks]
        if repeated := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"the names of tasks must differ, but {', '.join(repeated)} is there more than once")
        return self

    @model_validator(mode="after")
    def _rates_sum_to_one(self) -> DataSection:
        total = sum(source.rate for source in self.train)
        if abs(total - 1.0) > 1e-6:
            rates = " + ".join(f"{source.rate:g}" for source in self.train)
            raise ValueError(f"the rates must sum to 1, but {rates} = {total:g}")
        return self


class WordsSection(Section):
    """Which words the word tasks ask about, and how they are split."""

    source: str = "package"
    """`package` (the list that ships with Graft), `tokenizer` (the model's English multi-character tokens), or a path
    to a file with one word per line."""

    pool: Literal["experiment", "base"] = "experiment"
    """Part of the packaged list: `experiment`, or `base`, the words that only Sprout's own training may see."""

    train: Positive = 9000
    """Number of training words."""

    eval: Positive = 2000
    """Number of held-out words, related to no training word by form, lemma, containment, irregular form or spelling."""

    pseudo: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    """Share of the held-out words that are made up and pronounceable; the stratum `pseudo` tells them apart."""

    seed: NonNegative = 0
    """Seed of the split."""


class StyleSection(Section):
    """Control tokens that open the user turn and decide the style of the reply."""

    tokens: tuple[str, ...] = ()
    """New plain tokens, such as `["<STYLE_TERSE>", "<STYLE_VERBOSE>"]`; only their embeddings are trained, beside the
    adapter."""

    data: Path | None = None
    """JSONL rows with prompt, terse and verbose answers, or with messages whose user turn begins with a token."""

    held_out: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.1
    """Share of the prompts that is kept for measuring the separation."""
