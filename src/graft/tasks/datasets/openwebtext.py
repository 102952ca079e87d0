"""OpenWebText: web pages that Reddit users linked to, one page per row.

One row: ``{"text": "Port-au-Prince, Haiti (CNN) -- Earthquake victims, writhing in pain and grasping at life, …"}``.
Licence: CC0-1.0 (of the collection, not of the pages). Splits: train alone, a tenth held out. Metric: bits per byte.
The dataset began as a script and is read from the hub's Parquet conversion.

Source: Gokaslan and Cohen 2019, "OpenWebText Corpus".
"""

from __future__ import annotations

from graft.tasks.base import TaskCard
from graft.tasks.corpus import CorpusTask
from graft.tasks.dataset import HubSource


class OpenWebTextTask(CorpusTask):
    """Web pages in English."""

    card = TaskCard(
        "openwebtext",
        "Web pages linked from Reddit, trained whole.",
        "bits_per_byte",
        "CC0-1.0",
        "Skylion007/openwebtext",
        "corpus",
        "8,013,769 train",
    )
    source = HubSource("Skylion007/openwebtext", config="plain_text", columns=("text",), converted=True)
