"""Common Corpus: about two trillion tokens of text that is free of rights or openly licensed; it is streamed.

One row: ``{"identifier": "…", "collection": "English-PD", "license": "Public Domain", "language": "English", "text":
"…", …}``. Licence: that of each document, in its row. Splits: train alone, a tenth held out. Metric: bits per byte. The
set is far larger than a disk: rows are read one after the other and never all at once.

Source: Langlais et al. 2025, "Common Corpus: The Largest Collection of Ethical Data for LLM Pre-Training".
"""

from __future__ import annotations

from dataclasses import replace

from graft.tasks.base import TaskCard
from graft.tasks.corpus import CorpusTask
from graft.tasks.dataset import HubSource, Row
from graft.types import Example


class CommonCorpusTask(CorpusTask):
    """Open texts in many languages."""

    card = TaskCard(
        "common-corpus",
        "Openly licensed texts in many languages, streamed and trained whole.",
        "bits_per_byte",
        "that of each document",
        "PleIAs/common_corpus",
        "corpus",
        "about 2 trillion tokens",
    )
    source = HubSource("PleIAs/common_corpus", columns=("identifier", "collection", "license", "language", "text"))

    def example(self, row: Row, index: int) -> Example | None:
        """One document with its collection and language as strata."""
        example = super().example(row, index)
        strata = {name: str(row[name]) for name in ("collection", "language") if row.get(name)}
        return replace(example, strata=strata) if example else None
