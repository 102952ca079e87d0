r"""Named entities in financial agreements, of the AdaptLLM finance tasks.

One row: ``{"id": 0, "input": "… Text: Subordinated Loan Agreement - Silicium de Provence SAS and Evergreen Solar Inc. …
Extract named entity:", "label": "Silicium de Provence SAS, ORG\nEvergreen Solar Inc., ORG"}``; the prompt of the row is
taken as it is, examples included. Licence: that of the original data. Splits: test alone, a tenth held out. Metric: F1
of entities with their types; sum ``true_positives``, ``predicted`` and ``expected`` over items for the micro average.

Source: Salinas Alvarado et al. 2015, "Domain Adaption of Named Entity Recognition to Support Credit Risk Assessment";
Cheng et al. 2024, "Adapting Large Language Models via Reading Comprehension", section 4.
"""

from __future__ import annotations

from graft.tasks.answers.entities import score_entities
from graft.tasks.base import TaskCard
from graft.tasks.dataset import DatasetTask, HubSource, Row
from graft.types import Example, Score

NO_ENTITIES = "none"
"""Written where a text has no entities; an empty answer could not be trained."""


class FinanceNerTask(DatasetTask):
    """Persons, organisations and places in financial agreements."""

    card = TaskCard(
        "finance-tasks/ner",
        "List the entities of a financial agreement with their types.",
        "f1",
        "that of the original data",
        "AdaptLLM/finance-tasks",
        "answer",
        "98 test",
    )
    source = HubSource("AdaptLLM/finance-tasks", config="NER", train="test", columns=("input", "label"))

    def example(self, row: Row, index: int) -> Example:
        """The row's own prompt; the entities one per line."""
        label = row["label"]
        gold = (label if isinstance(label, str) else "\n".join(str(entity) for entity in label)).strip()
        name = f"{self.card.name}/{index}"
        return Example(name, self.card.name, str(row["input"]).strip(), gold or NO_ENTITIES, cluster=name)

    def score(self, example: Example, reply: str) -> Score:
        """Compare the sets of entities with their types."""
        return score_entities(example.gold, reply)
