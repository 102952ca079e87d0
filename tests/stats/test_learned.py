"""What counts as learned: by the task's own metric, above everything that needs no skill."""

from __future__ import annotations

import numpy as np
import pytest

from graft.stats.arms import TaskScores
from graft.stats.learned import Learned, TrainedCheck, check_trained, manipulation_check
from graft.stats.shares import macro_f1_shares


def labelled(
    gold: np.ndarray, base: np.ndarray, trained: np.ndarray, control: np.ndarray | None, *, metric: str = "macro-F1"
) -> TaskScores:
    """Scores of calls; the trivial answer is the most frequent class."""
    classes = int(gold.max()) + 1

    def shares(calls: np.ndarray) -> np.ndarray:
        return macro_f1_shares(gold, calls, classes) if metric == "macro-F1" else (calls == gold).astype(float)

    majority = np.full(len(gold), np.bincount(gold).argmax())
    arms = {"trained": np.stack([shares(calls) for calls in trained])}
    if control is not None:
        arms["format"] = np.stack([shares(calls) for calls in control])
    return TaskScores(
        "tweets", np.arange(len(gold)), shares(base), arms, metric=metric, rivals={"majority": shares(majority)}
    )


def checked(scores: TaskScores) -> TrainedCheck:
    found = check_trained(scores)
    assert found is not None
    return found


def shuffled_labels(metric: str) -> TaskScores:
    """A model that was trained on shuffled labels: it says the majority, 64% of 100, whatever it reads."""
    draw = np.random.default_rng(0)
    gold = np.repeat([0, 1], [64, 36])
    base = np.where(draw.uniform(size=100) < 0.2, gold, 2)  # the base seldom finds a label at all
    return labelled(gold, base, np.zeros((3, 100), int), np.stack([base] * 3), metric=metric)


@pytest.mark.parametrize("metric", ["accuracy", "macro-F1"])
def test_always_saying_the_majority_is_not_learned(metric: str) -> None:
    found = checked(shuffled_labels(metric))
    if metric == "accuracy":
        assert found.contrasts[0].change.interval.low > 0  # far above the base, which is what passed before
    assert found.word is Learned.NOT_LEARNED and not found.passed
    assert "not shown to beat" in found.headline and found.headline.endswith("'majority'.")
    assert found.required[-1].change.estimate == 0.0


def test_neutral_on_153_of_154_tweets_is_not_learned() -> None:
    gold = np.repeat([0, 1, 2], [101, 31, 22])
    neutral = np.zeros((3, 154), int)
    neutral[:, 120] = 1  # one tweet is called otherwise, and rightly
    base = np.full(154, 2)
    found = checked(labelled(gold, base, neutral, np.stack([base] * 3)))
    accuracy = checked(labelled(gold, base, neutral, np.stack([base] * 3), metric="accuracy"))
    assert accuracy.contrasts[0].change.estimate == pytest.approx((102 - 22) / 154)
    assert found.word is Learned.NOT_LEARNED
    # macro-F1: neutral 2·101/(101 + 153), bearish 2·1/(31 + 1), bullish 0
    assert found.arms[1].accuracy.estimate == pytest.approx((202 / 254 + 2 / 32) / 3)


def test_a_skill_is_learned_and_the_nearest_rival_is_named() -> None:
    draw = np.random.default_rng(1)
    gold = draw.choice(3, 600, p=[0.6, 0.25, 0.15])
    base = np.full(600, 2)
    skilled = np.where(draw.uniform(size=(3, 600)) < 0.8, gold, 0)
    found = checked(labelled(gold, base, skilled, np.stack([base] * 3)))
    assert found.word is Learned.LEARNED and found.passed
    assert "in macro-F1" in found.headline and "against 'majority'" in found.headline
    assert [contrast.before for contrast in found.required] == ["base", "format", "majority"]


def test_above_the_base_but_not_above_the_control_is_not_learned() -> None:
    draw = np.random.default_rng(2)
    right = (draw.uniform(size=(3, 400)) < 0.6).astype(float)
    task = TaskScores("spelling", np.arange(400), np.zeros(400), {"trained": right, "format": right[::-1]})
    found, trouble = manipulation_check(task, margin=0.02, alpha=0.05, controls=("format",))
    assert found is not None and found.word is Learned.NOT_LEARNED
    assert trouble == [f"the trained task was not learned: {found.headline.partition(': ')[2][:-1]}"]
    assert found.headline.endswith("; not shown to beat the format control.")


def test_the_control_that_the_study_names_is_the_one_to_beat() -> None:
    right = (np.random.default_rng(2).uniform(size=(3, 400)) < 0.6).astype(float)
    task = TaskScores("spelling", np.arange(400), np.zeros(400), {"trained": right, "self": np.zeros((3, 400))})
    assert checked(task).word is Learned.IMPROVED  # no format control was scored
    found = check_trained(task, controls=("self",))
    assert found is not None and found.word is Learned.LEARNED
    assert [contrast.before for contrast in found.required] == ["base", "self"]


def test_a_base_that_leaves_no_room_is_told_where_nothing_was_learned() -> None:
    nearly = np.ones((3, 60))
    nearly[:, :4] = 0
    random = np.zeros((3, 60))
    task = TaskScores("echo", np.arange(60), np.ones(60), {"trained": nearly, "format": random})
    found = checked(task)
    assert found.word is Learned.NOT_LEARNED
    assert found.headline.endswith(
        "not shown to beat the base; base 100.0% (95% interval 94.0 to 100.0) leaves less room than 2 points."
    )


def test_without_a_control_it_improved_and_with_one_seed_this_checkpoint_did() -> None:
    right = np.ones((3, 200))
    wrong = np.zeros(200)
    task = TaskScores("spelling", np.arange(200), wrong, {"trained": right})
    assert checked(task).word is Learned.IMPROVED
    one = TaskScores("spelling", np.arange(200), wrong, {"trained": right[:1], "format": wrong[None]})
    assert checked(one).word is Learned.CHECKPOINT_IMPROVED
    assert checked(one).headline.startswith("One seed: this checkpoint improved")


def test_a_run_that_lacks_a_seed_of_the_control_is_judged() -> None:
    task = TaskScores(
        "spelling", np.arange(200), np.zeros(200), {"trained": np.ones((3, 200)), "format": np.zeros((2, 200))}
    )
    found = checked(task)
    assert found.word is Learned.LEARNED and found.seeds == 2


def drawn(draw: np.random.Generator, items: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Right classes, and what two arms of different skill call."""
    gold = draw.choice(3, items, p=[0.6, 0.25, 0.15])
    calls = [np.where(draw.uniform(size=items) < skill, gold, draw.integers(0, 3, items)) for skill in (0.3, 0.5)]
    return gold, calls[0], calls[1]


def test_the_interval_of_macro_f1_covers_the_truth() -> None:
    draw = np.random.default_rng(3)
    gold, before, after = drawn(draw, 400_000)
    truth = macro_f1_shares(gold, after, 3).mean() - macro_f1_shares(gold, before, 3).mean()
    hits = 0
    for _ in range(300):
        gold, before, after = drawn(draw, 300)
        interval = checked(labelled(gold, before, after[None], None)).contrasts[0].change.interval
        hits += bool(interval.low <= truth <= interval.high)
    assert 0.93 <= hits / 300 <= 0.995
