"""Tweets about finance: which of twenty topics?

One row: `{"text": "ABC declares $0.24 dividend payable in June https://…", "label": 4}`, the numbers in the order of
the labels below. Licence: MIT. Splits: 16,990 train, 4,117 validation. Metric: macro-F1, because the topics differ much
in frequency.
"""

from __future__ import annotations

from graft.tasks.base import TaskCard
from graft.tasks.dataset import HubSource
from graft.tasks.labels import ClassificationTask


class TwitterFinancialTopicTask(ClassificationTask):
    """Tweets with the topic that they are on."""

    card = TaskCard(
        "twitter-financial-topic",
        "Which of twenty topics is this tweet about finance on?",
        "macro_f1",
        "MIT",
        "zeroshot/twitter-financial-news-topic",
        "classification",
        "16,990 train, 4,117 validation",
        "twitter-financial-topic",
    )
    source = HubSource("zeroshot/twitter-financial-news-topic", eval="validation", columns=("text", "label"))
    labels = (
        "Analyst Update",
        "Fed | Central Banks",
        "Company | Product News",
        "Treasuries | Corporate Debt",
        "Dividend",
        "Earnings",
        "Energy | Oil",
        "Financials",
        "Currencies",
        "General News | Opinion",
        "Gold | Metals | Materials",
        "IPO",
        "Legal | Regulation",
        "M&A | Investments",
        "Macro",
        "Markets",
        "Politics",
        "Personnel Change",
        "Stock Commentary",
        "Stock Movement",
    )
    template = (
        "Classify the topic of this financial tweet as one of: " + ", ".join(labels) + ".\n\nTweet: {text}\nTopic:"
    )
