"""Links of gains: simulated words whose gains go together, or only seem to because the base knew some."""

from __future__ import annotations

import numpy as np
import pytest

from graft.errors import DataError
from graft.stats.arms import TaskScores
from graft.stats.correlation import Association
from graft.stats.links import Link, link_gains

WORDS = [f"word{n:03}" for n in range(300)]
LENGTHS = {word: float(4 + n % 7) for n, word in enumerate(WORDS)}


def scores(task: str, base: np.ndarray, trained: np.ndarray) -> TaskScores:
    return TaskScores(task, np.array(WORDS), base > 0.5, {"trained": trained > 0.5})


def linked(strength: float, seeds: int = 2) -> Link:
    """Each word learns or not; with `strength` both tasks learn it together."""
    draw = np.random.default_rng(5)
    learned = draw.uniform(size=(seeds, 300)) < 0.5
    own = draw.uniform(size=(seeds, 300)) < 0.5
    also = np.where(draw.uniform(size=(seeds, 300)) < strength, learned, own)
    base = (draw.uniform(size=(2, 300)) < 0.3).astype(float)
    first = scores("spelling", base[0], np.maximum(base[0], learned))
    return link_gains(first, scores("count", base[1], np.maximum(base[1], also)), LENGTHS, rng=draw, resamples=500)


def test_gains_that_go_together_word_by_word_are_found() -> None:
    link = linked(0.8)
    assert (link.trained, link.target) == ("spelling", "count")
    assert link.words.verdict is Association.POSITIVE
    assert link.words.n == 300 and link.words.controlled == ("base spelling", "base target", "length")


def test_gains_that_only_share_what_the_base_knew_are_no_link() -> None:
    link = linked(0.0)
    assert link.words.verdict is Association.UNCLEAR
    assert abs(link.words.linear.estimate) < 0.15


def test_a_few_seeds_give_numbers_and_no_verdict() -> None:
    link = linked(0.5, seeds=5)
    assert link.seeds.n == 5 and link.seeds.verdict is Association.NONE
    assert link.seeds.reason == "5 runs: no verdict under 10"
    gains = link.seeds.linear.estimate
    assert -1 <= gains <= 1


def test_a_words_gain_is_its_mean_over_items_and_seeds() -> None:
    words = np.array(["a", "a", *(f"w{n}" for n in range(9))])
    base = np.array([0, 0, *([0, 1, 0] * 3)], dtype=bool)
    trained = np.array([[1, 0, *([1, 1, 0] * 3)], [1, 1, *([0, 1, 0] * 3)]], dtype=bool)
    task = TaskScores("spelling", words, base, {"trained": trained})
    link = link_gains(task, TaskScores("count", words, base, {"trained": trained}), dict.fromkeys(words, 4.0),
                      rng=np.random.default_rng(0), resamples=50)  # fmt: skip
    assert link.words.n == 10  # 11 items of 10 words
    assert link.words.linear.estimate == pytest.approx(1.0)


def test_without_a_base_there_is_no_gain() -> None:
    task = TaskScores("spelling", np.array(["a"]), None, {"trained": np.array([[True]])})
    with pytest.raises(DataError, match="gains need the arms 'base' and 'trained'"):
        link_gains(task, task, {"a": 1.0}, rng=np.random.default_rng(0))
