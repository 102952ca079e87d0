"""CoLA, the corpus of linguistic acceptability: is a sentence grammatical English?

One row: `{"sentence": "The more we study verbs, the crazier they get.", "label": 1, "idx": 2}`, 0 unacceptable and 1
acceptable. Licence: not stated by its makers (Warstadt et al., 2019). Splits: 8,551 train, 1,043 validation; the 1,063
test rows have no published labels. Metric: Matthews' correlation, because 70 in 100 sentences are acceptable.
"""

from __future__ import annotations

from graft.tasks.base import TaskCard
from graft.tasks.dataset import HubSource
from graft.tasks.labels import ClassificationTask


class ColaTask(ClassificationTask):
    """Sentences of linguistics papers, some of them starred."""

    card = TaskCard(
        "glue/cola",
        "Is this sentence grammatically acceptable?",
        "mcc",
        "that of its source",
        "nyu-mll/glue",
        "classification",
        "8,551 train, 1,043 validation",
        "glue-cola",
    )
    source = HubSource("nyu-mll/glue", "cola", eval="validation", columns=("sentence", "label"))
    labels = ("unacceptable", "acceptable")
    template = (
        "Determine if this sentence is grammatically acceptable or unacceptable.\n\nSentence: {sentence}\nGrammar:"
    )
