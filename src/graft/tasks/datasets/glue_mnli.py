"""MNLI, natural language inference over many genres: does the hypothesis follow from the premise?

One row: `{"premise": "He was out of town that week.", "hypothesis": "He was at home on Tuesday.", "label": 2, "idx":
0}`, 0 entailment, 1 neutral and 2 contradiction. Licence: OANC and others by genre (Williams et al., 2018). Splits:
392,702 train, 9,815 validation_matched (genres of the training rows), which is scored. Metric: accuracy.
"""

from __future__ import annotations

from graft.tasks.base import TaskCard
from graft.tasks.dataset import HubSource
from graft.tasks.labels import ClassificationTask


class MnliTask(ClassificationTask):
    """Premise and hypothesis, three relations."""

    card = TaskCard(
        "glue/mnli",
        "Does the hypothesis follow from the premise?",
        "accuracy",
        "that of its source",
        "nyu-mll/glue",
        "classification",
        "392,702 train, 9,815 validation (matched)",
        "glue-mnli",
    )
    source = HubSource("nyu-mll/glue", "mnli", eval="validation_matched", columns=("premise", "hypothesis", "label"))
    labels = ("entailment", "neutral", "contradiction")
    template = (
        "Determine if the relation of the premise to the hypothesis is entailment, neutral or contradiction."
        "\n\nPremise: {premise}\nHypothesis: {hypothesis}\nRelation:"
    )
