"""Tweets about finance: bearish, bullish or neutral?

One row: `{"text": "$ABC - Analyst cuts ABC to hold on weak demand https://…", "label": 0}`, 0 bearish, 1 bullish and 2
neutral. Licence: MIT. Splits: 9,543 train, 2,388 validation. Metric: macro-F1, because 65 in 100 tweets are neutral.
"""

from __future__ import annotations

from graft.tasks.base import TaskCard
from graft.tasks.dataset import HubSource
from graft.tasks.labels import ClassificationTask


class TwitterFinancialSentimentTask(ClassificationTask):
    """Tweets with the view of the market that they take."""

    card = TaskCard(
        "twitter-financial-sentiment",
        "Is this tweet about finance bearish, bullish or neutral?",
        "macro_f1",
        "MIT",
        "zeroshot/twitter-financial-news-sentiment",
        "classification",
        "9,543 train, 2,388 validation",
        "twitter-financial-sentiment",
    )
    source = HubSource("zeroshot/twitter-financial-news-sentiment", eval="validation", columns=("text", "label"))
    labels = ("bearish", "bullish", "neutral")
    template = (
        "Classify the sentiment of this financial tweet as 'bearish', 'bullish' or 'neutral'."
        "\n\nTweet: {text}\nSentiment:"
    )
