"""MRPC, the Microsoft Research paraphrase corpus: do two sentences of the news mean the same?

One row: `{"sentence1": "The company said profit rose 4 percent .", "sentence2": "Profit grew by 4 percent , it said .",
"label": 1, "idx": 0}`, 0 not_equivalent and 1 equivalent. Licence: not stated by its makers (Dolan and Brockett, 2005).
Splits: 3,668 train, 408 validation, 1,725 test. Metric: macro-F1, because 67 in 100 pairs are equivalent; the F1 that
GLUE reports is that of the class `equivalent`, which stands in the table per class.
"""

from __future__ import annotations

from graft.tasks.base import TaskCard
from graft.tasks.dataset import HubSource
from graft.tasks.labels import ClassificationTask


class MrpcTask(ClassificationTask):
    """Pairs of sentences of the news."""

    card = TaskCard(
        "glue/mrpc",
        "Do these two sentences mean the same?",
        "macro_f1",
        "that of its source",
        "nyu-mll/glue",
        "classification",
        "3,668 train, 408 validation",
        "glue-mrpc",
    )
    source = HubSource("nyu-mll/glue", "mrpc", eval="validation", columns=("sentence1", "sentence2", "label"))
    labels = ("not_equivalent", "equivalent")
    template = (
        "Determine if these two sentences are equivalent or not_equivalent in meaning."
        "\n\nSentence 1: {sentence1}\nSentence 2: {sentence2}\nRelation:"
    )
