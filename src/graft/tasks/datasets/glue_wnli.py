"""WNLI, the Winograd schema challenge as inference: is the pronoun resolved rightly?

One row: `{"sentence1": "The cup did not fit in the box because it was too wide.", "sentence2": "The cup was too wide.",
"label": 1, "idx": 0}`, 0 not_entailment and 1 entailment. Licence: CC BY 4.0 (Levesque et al., 2012). Splits: 635
train, 71 validation; the 146 test rows have no published labels. Metric: accuracy; the validation rows repeat training
sentences with the other label, so a model that has learned them by heart scores below chance.
"""

from __future__ import annotations

from graft.tasks.base import TaskCard
from graft.tasks.dataset import HubSource
from graft.tasks.labels import ClassificationTask


class WnliTask(ClassificationTask):
    """A sentence with a pronoun, and one with the pronoun replaced."""

    card = TaskCard(
        "glue/wnli",
        "Is the pronoun of the first sentence resolved rightly by the second?",
        "accuracy",
        "that of its source",
        "nyu-mll/glue",
        "classification",
        "635 train, 71 validation",
        "glue-wnli",
    )
    source = HubSource("nyu-mll/glue", "wnli", eval="validation", columns=("sentence1", "sentence2", "label"))
    labels = ("not_entailment", "entailment")
    template = (
        "Determine if the second sentence follows from the first (entailment) or does not (not_entailment)."
        "\n\nSentence 1: {sentence1}\nSentence 2: {sentence2}\nRelation:"
    )
