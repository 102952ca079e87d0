"""QNLI, SQuAD as inference: does the sentence hold the answer to the question?

One row: `{"question": "When was the bridge opened?", "sentence": "It was opened to traffic in 1932.", "label": 0,
"idx": 0}`, 0 entailment and 1 not_entailment. Licence: CC BY-SA 4.0 as SQuAD (Rajpurkar et al., 2016). Splits: 104,743
train, 5,463 validation; the 5,463 test rows have no published labels. Metric: accuracy.
"""

from __future__ import annotations

from graft.tasks.base import TaskCard
from graft.tasks.dataset import HubSource
from graft.tasks.labels import ClassificationTask


class QnliTask(ClassificationTask):
    """A question and a sentence of an article."""

    card = TaskCard(
        "glue/qnli",
        "Does the sentence hold the answer to the question?",
        "accuracy",
        "that of its source",
        "nyu-mll/glue",
        "classification",
        "104,743 train, 5,463 validation",
        "glue-qnli",
    )
    source = HubSource("nyu-mll/glue", "qnli", eval="validation", columns=("question", "sentence", "label"))
    labels = ("entailment", "not_entailment")
    template = (
        "Determine if the sentence answers the question (entailment) or does not (not_entailment)."
        "\n\nQuestion: {question}\nSentence: {sentence}\nRelation:"
    )
