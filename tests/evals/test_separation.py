"""The separation of styles against values computed by hand and by brute force."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from tests.conftest import toy_model

from graft.data.chat import NO_THINKING, render_prompt
from graft.errors import DataError
from graft.evals.separation import median_interval, separate, styled_replies
from graft.models.backends.transformers import TransformersBackend
from graft.types import Completion, Sampling

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def replies(*lengths: int, finished: bool = True) -> list[Completion]:
    return [Completion("x", (0,) * length, finished) for length in lengths]


def test_the_ratio_is_the_median_over_prompts_and_not_the_ratio_of_medians() -> None:
    found = separate(
        {"terse": replies(2, 10, 4), "verbose": replies(20, 20, 12)}, "terse", "verbose", ["a", "b", "c"],
        rng=np.random.default_rng(0), resamples=200,
    )  # fmt: skip
    assert found.ratio.estimate == 3.0  # of 10, 2 and 3; the medians alone would give 20 / 4
    assert found.medians == {"terse": 4.0, "verbose": 20.0}
    assert (found.ratio.low, found.ratio.high, found.ratio.n) == (2.0, 10.0, 3)


def test_cut_replies_are_counted() -> None:
    mixed = [*replies(5), *replies(5, finished=False)]
    found = separate(
        {"terse": replies(1, 1), "verbose": mixed}, "terse", "verbose", [0, 1],
        rng=np.random.default_rng(0), resamples=50,
    )  # fmt: skip
    assert found.cut == {"terse": 0.0, "verbose": 0.5}


def test_swapping_the_replies_inverts_the_ratio() -> None:
    rng = np.random.default_rng(3)
    short, long = (replies(*rng.integers(low, high, 101)) for low, high in ((2, 6), (20, 60)))
    forward, back = (
        separate({"a": one, "b": other}, "a", "b", np.arange(101), rng=np.random.default_rng(0), resamples=400).ratio
        for one, other in ((short, long), (long, short))
    )
    assert back.estimate == pytest.approx(1 / forward.estimate)
    assert back.low == pytest.approx(1 / forward.high, rel=0.05)


@pytest.mark.parametrize("size", [1, 2, 7, 40])
def test_the_interval_is_that_of_drawing_whole_clusters_one_by_one(size: int) -> None:
    rng = np.random.default_rng(size)
    values, clusters = rng.lognormal(size=3 * size), np.repeat(np.arange(size), 3)
    found = median_interval(values, clusters, rng=np.random.default_rng(5), resamples=4000)
    brute = np.random.default_rng(6)
    members = [values[clusters == cluster] for cluster in range(size)]
    medians = [
        np.median(np.concatenate([members[index] for index in brute.integers(0, size, size)])) for _ in range(4000)
    ]
    assert found.estimate == np.median(values)
    np.testing.assert_allclose([found.low, found.high], np.quantile(medians, [0.025, 0.975]), rtol=0.06)


def test_no_prompts_give_no_median() -> None:
    with pytest.raises(DataError, match="a median needs at least one value"):
        median_interval([], [], rng=np.random.default_rng(0), resamples=10)


def test_the_token_opens_the_user_turn_that_the_model_reads(tokenizer: PreTrainedTokenizerBase) -> None:
    class Noted(TransformersBackend):
        asked: tuple[str, ...] = ()

        def generate(self, prompts, sampling, **options):  # type: ignore[no-untyped-def]
            Noted.asked = tuple(tokenizer.decode(prompt.ids) for prompt in prompts)
            return super().generate(prompts, sampling, **options)

    backend = Noted(toy_model(), tokenizer)
    found = styled_replies(backend, tokenizer, ["Why?", "How?"], "[T]", Sampling(max_new_tokens=3), NO_THINKING)
    assert [len(reply.token_ids) for reply in found] == [3, 3]
    assert Noted.asked == (render_prompt(tokenizer, "[T]Why?"), render_prompt(tokenizer, "[T]How?"))
