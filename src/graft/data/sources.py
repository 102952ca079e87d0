"""Where words and training examples come from, as a recipe states it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from graft import tasks
from graft.data.mixture import draw_order
from graft.errors import DataError
from graft.tasks.words.english import single_token_words
from graft.tasks.words.pool import Word, WordSets, pseudo_words, read_word_file
from graft.tasks.words.split import package_sets, sample_words, split_words
from graft.types import Example

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def word_sets(
    source: str, tokenizer: PreTrainedTokenizerBase, *, pool: str, train: int, eval: int, seed: int
) -> WordSets:
    """The training and held-out words of a run.

    Args:
        source: ``package``, ``tokenizer`` or the path of a word file.
        tokenizer: only read when it is the source.
        pool: ``experiment``, or ``base`` for the packaged words that only Sprout's own training sees.
        train: number of training words.
        eval: number of held-out words.
        seed: seeds the split.

    Raises:
        DataError: the source has too few words or cannot be read.
    """
    if source == "package":
        sets = package_sets(train=train if pool == "experiment" else 1, eval=eval, seed=seed)
        return sets if pool == "experiment" else replace(sets, train=sample_words("base", train, seed))
    words = tokenizer_words(tokenizer) if source == "tokenizer" else read_word_file(Path(source).expanduser())
    return split_words(words, train=train, eval=eval, seed=seed, source=source)


def tokenizer_words(tokenizer: PreTrainedTokenizerBase) -> tuple[Word, ...]:
    """The English words that are one token after a space: the founding experiment's words.

    A token counts when it decodes to a space and four or more letters a–z that stand in the packaged English list.
    """
    return single_token_words(tokenizer.batch_decode([[index] for index in range(len(tokenizer))]))


@dataclass(frozen=True, slots=True)
class Source:
    """One training source.

    Attributes:
        task: task name.
        rate: share of the training examples, in (0, 1].
        words: at most this many distinct training words.
        pseudo: share of items about made-up words, in [0, 1].
    """

    task: str
    rate: float = 1.0
    words: int | None = None
    pseudo: float = 0.0


def training_examples(
    sources: Sequence[Source], words: WordSets, corpus: Sequence[Path], *, count: int, seed: int
) -> list[Example]:
    """Draw training examples from all sources at their rates, in a seeded order.

    Args:
        sources: tasks with rates that sum to 1.
        words: the words of the run.
        corpus: text files of the task ``prose``.
        count: number of examples.
        seed: seeds every source.

    Raises:
        DataError: a source runs out before its share is drawn.
    """
    order = draw_order([source.rate for source in sources], count)
    streams = []
    for index, source in enumerate(sources):
        task = tasks.load(source.task, _for_source(source, words, seed), corpus)
        streams.append(task.examples("train", limit=order.count(index), seed=seed))
    examples = [example for index in order if (example := next(streams[index], None)) is not None]
    if len(examples) < count:
        raise DataError(f"the training sources gave {len(examples)} examples, but {count} are wanted; add rows")
    return examples


def _for_source(source: Source, words: WordSets, seed: int) -> WordSets:
    real = words.train[: source.words]
    if source.pseudo == 0:
        return replace(words, train=real)
    avoid = [word.text for word in words.eval]
    if source.pseudo == 1:
        return replace(words, train=pseudo_words(len(real), seed, avoid))
    wanted = round(len(real) * source.pseudo / (1 - source.pseudo))
    return replace(words, train=(*real, *pseudo_words(wanted, seed, avoid)))
