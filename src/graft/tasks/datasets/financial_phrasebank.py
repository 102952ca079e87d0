"""Financial PhraseBank: what does a sentence of the news mean for an investor?

One row: `{"sentence": "Operating profit rose to EUR 13.1 mn from EUR 8.7 mn .", "label": 2}`, 0 negative, 1 neutral and
2 positive. Read are the sentences on which all annotators agree. Licence: CC BY-NC-SA 3.0 (Malo et al., 2014). Splits:
2,264 rows, all in train; one in ten is held out by its text. The dataset is a script, so the hub's Parquet conversion
is read. Metric: macro-F1, because 61 in 100 sentences are neutral.
"""

from __future__ import annotations

from graft.tasks.base import TaskCard
from graft.tasks.dataset import HubSource
from graft.tasks.labels import ClassificationTask


class FinancialPhrasebankTask(ClassificationTask):
    """Sentences of financial news that all annotators judge alike."""

    card = TaskCard(
        "financial-phrasebank",
        "Is this financial news positive, neutral or negative for an investor?",
        "macro_f1",
        "CC BY-NC-SA 3.0",
        "takala/financial_phrasebank",
        "classification",
        "2,264 train, a tenth of them held out",
        "financial-phrasebank",
    )
    source = HubSource(
        "takala/financial_phrasebank", "sentences_allagree", columns=("sentence", "label"), converted=True
    )
    labels = ("negative", "neutral", "positive")
    template = (
        "Classify the sentiment of this financial news sentence as 'negative', 'neutral' or 'positive'."
        "\n\nSentence: {sentence}\nSentiment:"
    )
