"""Movie reviews of IMDB: is a review positive or negative?

One row: `{"text": "I had low hopes for this film, and it still let me down. The plot …", "label": 0}`, 0 negative and 1
positive. Licence: not stated by its card; made for research (Maas et al., 2011). Splits: 25,000 train and 25,000 test
reviews of other films; the unlabelled ones are not read. Metric: accuracy; both labels are equally frequent.
"""

from __future__ import annotations

from graft.tasks.base import TaskCard
from graft.tasks.dataset import HubSource
from graft.tasks.labels import ClassificationTask


class ImdbTask(ClassificationTask):
    """Whole film reviews with their verdict."""

    card = TaskCard(
        "imdb",
        "Is this movie review positive or negative?",
        "accuracy",
        "not stated; for research",
        "stanfordnlp/imdb",
        "classification",
        "25,000 train, 25,000 test",
        "imdb-sentiment",
    )
    source = HubSource("stanfordnlp/imdb", "plain_text", eval="test", columns=("text", "label"))
    labels = ("negative", "positive")
    template = (
        "Classify the sentiment of this movie review as either 'positive' or 'negative'.\n\nReview: {text}\nSentiment:"
    )
