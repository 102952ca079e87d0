"""SST-2, the Stanford Sentiment Treebank in two classes: is a phrase or sentence positive or negative?

One row: `{"sentence": "a warm and funny film that never talks down ", "label": 1, "idx": 17}`, 0 negative and 1
positive; training rows are phrases of any length, validation rows whole sentences. Licence: not stated by its makers
(Socher et al., 2013). Splits: 67,349 train, 872 validation; the 1,821 test rows have no published labels. Metric:
accuracy.
"""

from __future__ import annotations

from graft.tasks.base import TaskCard
from graft.tasks.dataset import HubSource
from graft.tasks.labels import ClassificationTask


class Sst2Task(ClassificationTask):
    """Phrases and sentences of film reviews."""

    card = TaskCard(
        "glue/sst2",
        "Is this phrase of a film review positive or negative?",
        "accuracy",
        "that of its source",
        "nyu-mll/glue",
        "classification",
        "67,349 train, 872 validation",
        "glue-sst2",
    )
    source = HubSource("nyu-mll/glue", "sst2", eval="validation", columns=("sentence", "label"))
    labels = ("negative", "positive")
    template = (
        "Classify the sentiment of this sentence as either 'positive' or 'negative'."
        "\n\nSentence: {sentence}\nSentiment:"
    )
