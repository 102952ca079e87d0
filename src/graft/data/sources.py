"""Where words come from, as a recipe states it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from graft.tasks.words.english import single_token_words
from graft.tasks.words.pool import Word, WordSets, pseudo_words, read_word_file
from graft.tasks.words.split import package_sets, sample_words, split_words

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def word_sets(
    source: str, tokenizer: PreTrainedTokenizerBase, *, pool: str, train: int, eval: int, pseudo: float, seed: int
) -> WordSets:
    """The training and held-out words of a run.

    Args:
        source: ``package``, ``tokenizer`` or the path of a word file.
        tokenizer: only read when it is the source.
        pool: ``experiment``, or ``base`` for the packaged words that only Sprout's own training sees.
        train: number of training words.
        eval: number of held-out words.
        pseudo: share of these that are made up, in [0, 1); they too are related to no training word.
        seed: seeds the split.

    Raises:
        DataError: the source has too few words or cannot be read.
    """
    made_up = round(eval * pseudo)
    words = _real_words(source, tokenizer, pool=pool, train=train, eval=eval - made_up, seed=seed)
    return replace(words, eval=(*words.eval, *pseudo_words(made_up, seed, [word.text for word in words.train])))


def _real_words(
    source: str, tokenizer: PreTrainedTokenizerBase, *, pool: str, train: int, eval: int, seed: int
) -> WordSets:
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


def narrowed(words: WordSets, *, most: int | None, pseudo: float, seed: int) -> WordSets:
    """The words of one training source: some of the run's, with made-up ones among them.

    Args:
        words: all words of the run.
        most: at most this many training words; all when ``None``.
        pseudo: share of the items that ask about made-up words, in [0, 1].
        seed: seeds these.
    """
    real = words.train[:most]
    if pseudo == 0:
        return replace(words, train=real)
    avoid = [word.text for word in words.eval]
    if pseudo == 1:
        return replace(words, train=pseudo_words(len(real), seed, avoid))
    wanted = round(len(real) * pseudo / (1 - pseudo))
    return replace(words, train=(*real, *pseudo_words(wanted, seed, avoid)))
