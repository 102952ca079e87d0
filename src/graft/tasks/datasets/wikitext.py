"""WikiText-2: good and featured Wikipedia articles, one paragraph or heading per row.

One row: ``{"text": " Robert <unk> is an English film , television and theatre actor . He had a guest @-@ starring
…"}``; ``raw`` rows hold the words themselves where older copies have ``<unk>``. Empty rows are left out. Licence: CC
BY-SA 3.0 and GFDL. Splits: train, and test for scoring. Metric: bits per byte; perplexity is per token of the model at
hand, so it compares models of one tokenizer only.

Source: Merity et al. 2016, "Pointer Sentinel Mixture Models", section 4.3.
"""

from __future__ import annotations

from graft.tasks.base import TaskCard
from graft.tasks.corpus import CorpusTask
from graft.tasks.dataset import HubSource


class WikitextTask(CorpusTask):
    """Wikipedia articles in English."""

    card = TaskCard(
        "wikitext",
        "Paragraphs of Wikipedia articles (WikiText-2, raw), trained whole.",
        "bits_per_byte",
        "CC-BY-SA-3.0, GFDL",
        "Salesforce/wikitext",
        "corpus",
        "36,718 train, 4,358 test",
    )
    source = HubSource("Salesforce/wikitext", config="wikitext-2-raw-v1", eval="test", columns=("text",))
