"""Mixtures: exact at any prefix, seeded, and honest about sources that run out."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from itertools import islice

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graft.data.mixture import Mixture, draw_order
from graft.errors import DataError
from graft.tasks.base import Split, Task, TaskCard
from graft.tasks.corpus import CorpusTask
from graft.tasks.custom import OwnTurns, TaskSpec, make
from graft.tasks.dataset import Row
from graft.types import Example, Score

RATES = st.lists(st.floats(0.001, 1.0), min_size=1, max_size=5).map(lambda raw: [rate / sum(raw) for rate in raw])


def turns(name: str, count: int) -> Task:
    """A task of chat rows."""
    rows = [
        {"prompt": f"ask {n}", "answer": f"say {n}", "reasoning": None, "conversation": n, "turn": 0}
        | {"asker": "user", "history": (), "group": None, "asked": None, "calls": ()}
        for n in range(count)
    ]
    return make(OwnTurns, lambda part: rows, TaskSpec(name), TaskCard(name, "", "", "", "", "answer"))


class Corpus(CorpusTask):
    card = TaskCard("corpus", "", "none", "", "", "corpus")


class Endless(Task):
    """A task that gives fewer examples than it is asked for."""

    card = TaskCard("few", "", "", "", "")

    def examples(self, split: Split, *, limit: int | None, seed: int) -> Iterator[Example]:
        return islice((Example(str(n), "few", "p", "g") for n in range(3)), limit)

    def score(self, example: Example, reply: str) -> Score:
        raise NotImplementedError


@settings(max_examples=150, deadline=None)
@given(rates=RATES, count=st.integers(0, 400))
def test_every_prefix_is_exact_to_within_one_example(rates: Sequence[float], count: int) -> None:
    order = draw_order(rates, count)
    drawn = [0] * len(rates)
    for position, source in enumerate(order, 1):
        drawn[source] += 1
        for share, rows in zip(rates, drawn, strict=True):
            assert abs(rows - share * position) < 1
    assert len(order) == count
    assert draw_order(rates, count + 10)[:count] == order


@pytest.mark.parametrize("rates", [(0.7, 0.3), (0.31, 0.29, 0.2, 0.17, 0.03), (0.96, 0.01, 0.01, 0.01, 0.01)])
def test_a_million_draws_do_not_drift_and_take_about_a_second(rates: Sequence[float]) -> None:
    started = time.process_time()
    order = draw_order(rates, 1_000_000)
    assert time.process_time() - started < 3  # 0.4 s on an idle core
    for source, rate in enumerate(rates):
        assert abs(order.count(source) - rate * 1_000_000) < 1


def test_chat_rows_and_plain_text_mix_and_a_seed_decides_their_order() -> None:
    sources: list[tuple[Task, float]] = [
        (turns("chat", 50), 0.7),
        (Corpus(lambda part: [{"text": f"text {n}"} for n in range(50)]), 0.3),
    ]
    first, again, other = (list(Mixture(sources, count=20, seed=seed)) for seed in (0, 0, 1))
    assert first == again
    assert {example.id for example in first} != {example.id for example in other}
    assert [example.task for example in first].count("chat") == 14
    assert all((example.prompt is None) == (example.task == "corpus") for example in first)


def test_a_source_that_runs_out_begins_again_in_another_order_and_its_epochs_are_told() -> None:
    mixture = Mixture([(turns("few", 10), 0.5), (turns("many", 100), 0.5)], count=50, seed=3)
    few = [example.prompt for example in mixture if example.task == "few"]
    assert len(few) == 25
    assert sorted(few[:10]) == sorted(few[10:20])
    assert few[:10] != few[10:20]
    small, large = mixture.drawn
    assert (small.rows, small.distinct, small.epochs, small.left) == (25, 10, 2.5, 0)
    assert (large.rows, large.distinct, large.epochs, large.left) == (25, 25, 0.25, 75)
    assert [example.id for example in mixture] == [example.id for example in mixture]  # made anew each time


def test_stop_ends_where_the_first_source_ends_and_tells_the_rest() -> None:
    mixture = Mixture([(turns("few", 10), 0.25), (turns("many", 100), 0.75)], count=1000, seed=0, exhausted="stop")
    examples = list(mixture)
    assert len(examples) == len(mixture)
    few, many = mixture.drawn
    assert mixture.ended_by == "few"
    assert (few.rows, few.epochs) == (10, 1.0)
    assert 29 <= many.rows <= 33
    assert many.left == 100 - many.rows
    assert len({example.id for example in examples}) == len(examples)


def test_stop_changes_nothing_where_the_rows_suffice() -> None:
    mixture = Mixture([(turns("a", 10), 1.0)], count=10, seed=0, exhausted="stop")
    assert (len(list(mixture)), mixture.ended_by) == (10, None)


def test_error_refuses_before_the_first_row_with_the_numbers() -> None:
    sources = [(turns("few", 10), 0.5), (turns("many", 100), 0.5)]
    with pytest.raises(DataError, match=r"exhausted is error, and few has 10 rows, but 25 are wanted of it; train"):
        Mixture(sources, count=50, seed=0, exhausted="error")
    assert len(Mixture(sources, count=20, seed=0, exhausted="error")) == 20


def test_sources_without_rows_or_with_fewer_than_they_promise_are_errors() -> None:
    with pytest.raises(DataError, match=r"the train split has no rows"):
        list(Mixture([(turns("none", 0), 1.0)], count=3, seed=0))
    with pytest.raises(DataError, match=r"task few: 5 training examples are wanted, but it gives 3; add rows"):
        list(Mixture([(Endless(), 1.0)], count=5, seed=0))
    assert Mixture([(Endless(), 1.0)], count=5, seed=0, exhausted="stop").drawn[0].rows == 3


def test_examples_are_made_one_at_a_time() -> None:
    made: list[int] = []

    class Counted(Corpus):
        def example(self, row: Row, index: int) -> Example | None:
            made.append(index)
            return super().example(row, index)

    mixture = Mixture([(Counted(lambda part: [{"text": str(n)} for n in range(1000)]), 1.0)], count=1000, seed=0)
    assert len(list(islice(mixture, 5))) == 5
    assert len(made) == 5
