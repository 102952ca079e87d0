"""How rows are laid out: nothing is lost, budgets hold, fixed sizes are few and mostly full."""

from __future__ import annotations

import random

import pytest

from graft.train.layout import GRAIN, SIZES, Layout, best_fit, by_budget
from graft.types import TokenRow

PAD = 0


def some_rows(count: int, low: int = 5, high: int = 60, seed: int = 0) -> list[TokenRow]:
    rng = random.Random(seed)
    return [TokenRow(tuple(rng.choices(range(1, 99), k=rng.randint(low, high))), (7, 8)) for _ in range(count)]


def told(rows: list[TokenRow]) -> Layout:
    return Layout("packed", PAD, fixed=True, kernel=True, longest=max(map(len, rows)),
                  largest=sum(map(len, rows)), step_rows=len(rows))  # fmt: skip


@pytest.mark.parametrize("capacity", [1, 62, 200, 10_000])
def test_best_fit_keeps_every_row_and_the_capacity(capacity: int) -> None:
    rows = some_rows(80)
    groups = best_fit(rows, capacity)
    assert sorted(map(hash, (row for group in groups for row in group))) == sorted(map(hash, rows))
    assert all(sum(map(len, group)) <= capacity for group in groups if len(group) > 1)


def test_best_fit_takes_the_fullest_group_that_still_has_room() -> None:
    sizes = [7, 5, 3, 2, 3]
    rows = [TokenRow((1,) * (size - 1), (2,)) for size in sizes]
    assert [[len(row) for row in group] for group in best_fit(rows, 10)] == [[7, 3], [5, 3, 2]]


def test_best_fit_wastes_little() -> None:
    rows = some_rows(500)
    groups = best_fit(rows, 512)
    assert sum(map(len, rows)) / (512 * len(groups)) > 0.98


def test_fixed_sizes_are_few_and_mostly_full() -> None:
    shapes, used, held = set(), 0, 0
    for seed in range(20):
        rows = some_rows(200, seed=seed)
        layout = Layout("packed", PAD, fixed=True, kernel=True, longest=62, largest=8000, step_rows=200)
        for batch in layout.micro_batches(rows, 2048):
            assert batch.documents is not None
            shapes.add((batch.ids_BT.shape[1], len(batch.documents.borders)))
            used += batch.ids_BT.shape[1]
        held += sum(map(len, rows))
    assert len(shapes) <= SIZES
    assert held / used > 0.9


def test_borders_cover_the_whole_row_and_no_document_is_too_long_for_the_kernel() -> None:
    rows = some_rows(30)
    for batch in told(rows).micro_batches(rows, 512):
        documents = batch.documents
        assert documents is not None
        lengths = documents.borders.diff()
        assert (int(documents.borders[0]), int(documents.borders[-1])) == (0, batch.ids_BT.shape[1])
        assert int(lengths.min()) >= 0
        assert int(lengths.max()) <= documents.longest


def test_the_largest_micro_batch_comes_first_and_a_row_beyond_the_budget_is_alone() -> None:
    long = TokenRow((3,) * 700, (4,))
    rows = [*some_rows(60), long]
    sizes = [batch.ids_BT.shape[1] for batch in told(rows).micro_batches(rows, 512)]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] >= len(long)
    assert all(size % GRAIN == 0 for size in sizes)


def test_a_small_step_is_not_padded_to_a_large_budget() -> None:
    rows = some_rows(8)
    (batch,) = told(rows).micro_batches(rows, 1_000_000)
    assert batch.ids_BT.shape[1] - sum(map(len, rows)) < GRAIN


def test_the_layout_is_the_same_every_time() -> None:
    rows = some_rows(50)
    first, second = (told(rows).micro_batches(rows, 300) for _ in range(2))
    assert [batch.ids_BT.tolist() for batch in first] == [batch.ids_BT.tolist() for batch in second]


def test_prompts_and_completions_of_an_encoder_decoder_are_padded_apart() -> None:
    rows = [TokenRow((1, 2, 3), (4, 9)), TokenRow((5,), (6, 7, 8, 9))]
    (batch,) = Layout("seq2seq", PAD, start_id=50).micro_batches(rows, 100)
    assert batch.encoder_ids_BS is not None
    assert batch.encoder_mask_BS is not None
    by_prompt = dict(zip(map(tuple, batch.encoder_ids_BS.tolist()), batch.ids_BT.tolist(), strict=True))
    assert by_prompt == {(1, 2, 3): [50, 4, 0, 0], (5, 0, 0): [50, 6, 7, 8]}
    assert sorted(batch.targets_N.tolist()) == sorted([4, 9, 6, 7, 8, 9])
    assert all(len(g) * (max(len(r.prompt) for r in g) + max(len(r.completion) for r in g)) <= 12
               for g in by_budget(rows * 5, 12, apart=True) if len(g) > 1)  # fmt: skip
