"""The registered tasks by name; a new task is one file and one line here, or an entry point ``graft.tasks``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path

from graft import errors
from graft.tasks.base import Split, Task, TaskCard
from graft.tasks.contains import ContainsTask
from graft.tasks.count import CountTask
from graft.tasks.dataset import DatasetTask, Rows
from graft.tasks.echo import EchoTask
from graft.tasks.ends import FirstTask, LastTask
from graft.tasks.length import LengthTask
from graft.tasks.position import PositionTask
from graft.tasks.prose import ProseTask
from graft.tasks.spelling import SpellingTask
from graft.tasks.style import StyleTask
from graft.tasks.unspell import UnspellTask
from graft.tasks.words.pool import WordSets
from graft.tasks.words.task import WordTask

__all__ = ["Split", "Task", "TaskCard", "card", "find", "is_dataset", "is_word_task", "load", "names"]

_WORD_TASKS: dict[str, type[WordTask]] = {
    task.card.name: task
    for task in (
        SpellingTask,
        PositionTask,
        CountTask,
        LengthTask,
        FirstTask,
        LastTask,
        ContainsTask,
        EchoTask,
        UnspellTask,
    )
}

_DATASETS: dict[str, str] = {
    "imdb": "imdb:ImdbTask",
    "glue/cola": "glue_cola:ColaTask",
    "glue/sst2": "glue_sst2:Sst2Task",
    "glue/mrpc": "glue_mrpc:MrpcTask",
    "glue/qqp": "glue_qqp:QqpTask",
    "glue/mnli": "glue_mnli:MnliTask",
    "glue/qnli": "glue_qnli:QnliTask",
    "glue/rte": "glue_rte:RteTask",
    "glue/wnli": "glue_wnli:WnliTask",
    "financial-phrasebank": "financial_phrasebank:FinancialPhrasebankTask",
    "twitter-financial-sentiment": "twitter_financial_sentiment:TwitterFinancialSentimentTask",
    "twitter-financial-topic": "twitter_financial_topic:TwitterFinancialTopicTask",
    "fiqa-sentiment": "fiqa_sentiment:FiqaSentimentTask",
    "fingpt-sentiment": "fingpt_sentiment:FingptSentimentTask",
    "mmlu": "mmlu:MmluTask",
    "mmlu-pro": "mmlu_pro:MmluProTask",
    "finance-tasks/fpb": "finance_fpb:FinanceFpbTask",
    "finance-tasks/fiqa-sa": "finance_fiqa_sa:FinanceFiqaSaTask",
    "finance-tasks/headline": "finance_headline:FinanceHeadlineTask",
    "finance-tasks/ner": "finance_ner:FinanceNerTask",
    "finance-tasks/convfinqa": "finance_convfinqa:FinanceConvFinQaTask",
    "fiqa": "fiqa:FiqaTask",
    "finance-alpaca": "finance_alpaca:FinanceAlpacaTask",
    "financial-qa-10k": "financial_qa_10k:FinancialQa10KTask",
    "gsm8k": "gsm8k:Gsm8kTask",
    "finance-math": "finance_math:FinanceMathTask",
    "math-dataset": "math_dataset:MathDatasetTask",
    "bigcodebench": "bigcodebench:BigCodeBenchTask",
    "sujet-finance-qa": "sujet_finance_qa:SujetFinanceQaTask",
    "financial-reports-sec": "financial_reports_sec:FinancialReportsSecTask",
    "openwebtext": "openwebtext:OpenWebTextTask",
    "bookcorpus": "bookcorpus:BookCorpusTask",
    "wikitext": "wikitext:WikitextTask",
    "common-corpus": "common_corpus:CommonCorpusTask",
}
"""Dataset tasks by name, as ``module:class`` of `graft.tasks.datasets`; each is imported when its task is used."""

ENTRY_POINTS = "graft.tasks"
"""Group of the entry points by which other packages bring task classes."""


def names() -> tuple[str, ...]:
    """All task names, the ones that experiments compare first."""
    return (*_WORD_TASKS, ProseTask.card.name, *_DATASETS, *_foreign())


def find(name: str) -> type[Task]:
    """The class of a task.

    Raises:
        ConfigError: there is no such task, or its package cannot be imported.
    """
    if name == ProseTask.card.name:
        return ProseTask
    if name == StyleTask.card.name:  # not among the names: it is made of a recipe's control tokens
        return StyleTask
    if name in _WORD_TASKS:
        return _WORD_TASKS[name]
    if name in _DATASETS:
        module, _, attribute = _DATASETS[name].partition(":")
        found: type[Task] = getattr(import_module(f"graft.tasks.datasets.{module}"), attribute)
        return found
    if name in _foreign():
        return _load_foreign(name)
    raise errors.ConfigError(f"unknown task '{name}'. {errors.choices(name, names())}")


def card(name: str) -> TaskCard:
    """The card of a task.

    Raises:
        ConfigError: there is no such task.
    """
    return find(name).card


def is_word_task(name: str) -> bool:
    """Whether a task asks about words of the word list."""
    return name in _WORD_TASKS


def is_dataset(name: str) -> bool:
    """Whether a task reads rows of a dataset."""
    return name not in _WORD_TASKS and issubclass(find(name), DatasetTask)


def load(name: str, words: WordSets | None = None, paths: Sequence[Path] = (), rows: Rows | None = None) -> Task:
    """Build a task.

    Args:
        name: one of `names()`.
        words: the words of a word task.
        paths: the text files of the task ``prose``.
        rows: the rows of a dataset task.

    Raises:
        ConfigError: there is no such task, or it does not get what it is made of.
        DataError: a file of the task ``prose`` cannot be used.
    """
    task = find(name)
    if issubclass(task, ProseTask):
        return ProseTask(paths)
    if issubclass(task, WordTask):
        if words is None:
            raise errors.ConfigError(f"task {name} needs words, but got none; choose a word source")
        return task(words)
    if issubclass(task, DatasetTask):
        if rows is None:
            raise errors.ConfigError(f"task {name} needs the rows of a dataset, but got none; name their source")
        return task(rows)
    return task()


@cache
def _foreign() -> Mapping[str, str]:
    """Tasks of other packages: name and ``module:class``."""
    found: Iterable[tuple[str, str]] = ((point.name, point.value) for point in entry_points(group=ENTRY_POINTS))
    return dict(found)


def _load_foreign(name: str) -> type[Task]:
    module, _, attribute = _foreign()[name].partition(":")
    try:
        found = getattr(import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise errors.ConfigError(
            f"task {name} is brought by {module}, which cannot be used: {error}; mend or uninstall that package"
        ) from error
    if not (isinstance(found, type) and issubclass(found, Task)):
        raise errors.ConfigError(f"task {name} is {module}:{attribute}, which is no task class; derive it from Task")
    return found
