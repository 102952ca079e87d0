"""BookCorpus: sentences of unpublished novels, one lower-case sentence per row.

One row: ``{"text": "usually , he would be tearing around the living room , playing with his toys ."}``. Licence: not
stated; the books keep their authors' rights, so look before you publish what was trained on them. Splits: train alone,
a tenth held out. Metric: bits per byte. The dataset is a script and is read from the hub's Parquet conversion.

Source: Zhu et al. 2015, "Aligning Books and Movies", section 3.
"""

from __future__ import annotations

from graft.tasks.base import TaskCard
from graft.tasks.corpus import CorpusTask
from graft.tasks.dataset import HubSource


class BookCorpusTask(CorpusTask):
    """Sentences of novels in English."""

    card = TaskCard(
        "bookcorpus",
        "Sentences of unpublished novels, trained whole.",
        "bits_per_byte",
        "not stated",
        "bookcorpus/bookcorpus",
        "corpus",
        "74,004,228 train",
    )
    source = HubSource("bookcorpus/bookcorpus", config="plain_text", columns=("text",), converted=True)
