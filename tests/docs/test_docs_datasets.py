"""The page of datasets says what the cards say."""

from __future__ import annotations

import pytest
from doc_blocks import DOCS

from graft import tasks
from graft.tasks.dataset import DatasetTask

PAGE = DOCS / "datasets.md"


@pytest.mark.parametrize("name", [name for name in tasks.names() if tasks.is_dataset(name)])
def test_the_table_has_every_dataset_as_its_card_has_it(name: str) -> None:
    kind, card = tasks.find(name), tasks.card(name)
    assert issubclass(kind, DatasetTask)
    wanted = f"| `{name}` | `{kind.source.repo}` | {card.kind} | {card.size} | {card.metric} | {card.licence} |"
    assert wanted in PAGE.read_text(encoding="utf-8").splitlines()
