"""What is odd about examples is told: rows that do not fit, few items, answers that no reply can hold."""

from __future__ import annotations

import pytest
from transformers import PreTrainedTokenizerBase

from graft.data.survey import survey
from graft.errors import DataError
from graft.evals.items import prepare_items
from graft.pipeline.prepare.oddities import cut_answers, oddities, require_held_out, small_losses
from graft.tasks.base import TaskCard
from graft.tasks.custom import OwnLabels, TaskSpec, make
from graft.types import Example

LABELS = ("yes", "certainly not in any case whatever")


def asked(count: int, long: int) -> list[Example]:
    """Items of which some have the long answer."""
    return [Example(f"t/{n}", "t", f"Is {n} even?", LABELS[n < long], options=LABELS) for n in range(count)]


def test_held_out_rows_that_do_not_fit_are_kept_apart_and_counted_with_what_they_do_to_the_labels(
    tokenizer: PreTrainedTokenizerBase,
) -> None:
    examples = asked(100, 20)
    lengths = [len(row) for row in prepare_items(tokenizer, None, "eval", examples, max_length=500).rows]  # type: ignore[arg-type]
    items = prepare_items(tokenizer, None, "eval", examples, max_length=min(lengths) + 2)  # type: ignore[arg-type]
    assert (len(items.examples), len(items.too_long)) == (80, 20)
    found = survey(tokenizer, "t", "eval", [*items.examples, *items.too_long], max_length=min(lengths) + 2)
    told = f"t, held out: 20 of 100 rows are longer than data.max_length={min(lengths) + 2} and are left out; the share"
    [warning] = [line for line in oddities(found, min(lengths) + 2, plain=False) if "longer" in line]
    assert warning.startswith(told)
    assert "yes goes from 80.0% to 100.0%" in warning or "whatever goes from 20.0% to 0.0%" in warning
    with pytest.raises(
        DataError, match=rf"check\.max_dropped is 10\.0%; set data\.max_length to {max(lengths)}, which keeps"
    ):
        require_held_out([found], min(lengths) + 2, 0.1)
    require_held_out([found], min(lengths) + 2, 0.2)


def test_a_single_row_in_many_is_told_without_a_warning(tokenizer: PreTrainedTokenizerBase) -> None:
    examples = asked(200, 1)
    found = survey(tokenizer, "t", "eval", examples, max_length=24)
    assert found.too_long == 1
    assert not [line for line in oddities(found, 24, plain=False) if "longer" in line]
    assert ["1 of 200 rows" in line for line in small_losses(found, 24)] == [True]


def test_few_items_and_answers_that_no_reply_can_hold_are_named(tokenizer: PreTrainedTokenizerBase) -> None:
    examples = asked(12, 3)
    found = survey(tokenizer, "t", "eval", examples, max_length=500)
    assert "t, held out: there are 12 examples only, so a share of them says little" in oddities(
        found, 500, plain=False
    )
    task = make(OwnLabels, lambda part: (), TaskSpec("t", prompt="", label="l"), TaskCard("t", "", "", "", ""))
    items = prepare_items(tokenizer, task, "eval", examples, max_length=500)
    [line] = cut_answers(items, 5)
    assert "3 of 12 answers have more tokens than sampling.max_new_tokens=5" in line
    assert list(cut_answers(items, 64)) == []
