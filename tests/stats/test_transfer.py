"""One constructed data set for each verdict word and reason."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest

from graft.errors import DataError
from graft.stats import Study, TargetVerdict, TaskScores, Verdict, judge, to_json

N = 2000
WORDS = np.array([f"w{i:04d}" for i in range(N)])


def scores(
    task: str, right: Mapping[str, float], *, flips: float = 0.03, seeds: int = 5, n: int = N, seed: int = 0
) -> TaskScores:
    """A task on which each arm has the accuracy asked for (``base`` .5) and otherwise agrees with the base.

    ``flips`` of the items change sides at random in each seed, half up and half down, beside the wanted change.
    """
    rng = np.random.default_rng([seed, *task.encode()])
    order = rng.permutation(n)
    base = order < n // 2
    arms = {}
    for arm, accuracy in right.items():
        rows = []
        for _ in range(seeds):
            row = order < round(accuracy * n)
            noise = round(flips * n / 2)
            swapped = [rng.choice(np.flatnonzero(row == value), noise, replace=False) for value in (True, False)]
            row[np.concatenate(swapped)] ^= True
            rows.append(row)
        arms[arm] = np.array(rows)
    return TaskScores(task, WORDS[:n], base, arms)


TRAINED = scores("spelling", {"trained": 0.62, "format": 0.50})


def study(*targets: TaskScores, trained: TaskScores = TRAINED, audit_ok: bool = True, **more: object) -> Study:
    return judge(trained, targets, audit_ok=audit_ok, **more)  # type: ignore[arg-type]


def verdict_on(right: Mapping[str, float], **more: object) -> TargetVerdict:
    return study(scores("count", right, **more)).targets[0]  # type: ignore[arg-type]


def test_a_gain_over_base_and_format_is_transfer() -> None:
    found = verdict_on({"trained": 0.56, "format": 0.50})
    assert found.verdict is Verdict.TRANSFER
    assert found.claim_p == max(c.change.p for c in found.contrasts[:2]) < 0.05
    assert [(c.after, c.before, c.required) for c in found.contrasts[:2]] == [
        ("trained", "base", True),
        ("trained", "format", True),
    ]
    assert found.headline.startswith("Training on spelling transferred to count: +6.0 points against the base")
    assert "exploratory" not in found.headline.lower()


def test_a_gain_over_the_base_that_the_format_control_shares_is_not_transfer() -> None:
    found = verdict_on({"trained": 0.56, "format": 0.56})
    assert found.contrasts[0].change.interval.low > 0.04
    assert found.verdict is Verdict.NO_TRANSFER
    assert "equivalent to the format control within ±2.0 points" in found.reason


def test_a_gain_over_the_format_control_alone_is_not_transfer() -> None:
    found = verdict_on({"trained": 0.50, "format": 0.40})
    assert found.contrasts[1].change.interval.low > 0.08
    assert found.verdict is Verdict.NO_TRANSFER
    assert "equivalent to the base within ±2.0 points" in found.reason


def test_one_word_alone_decides_nothing() -> None:
    target = scores("count", {"trained": 0.60, "format": 0.50}, n=100)
    found = study(TaskScores("count", np.full(100, "word"), target.base, target.arms)).targets[0]
    assert found.verdict is Verdict.INCONCLUSIVE and "one word only" in found.reason == found.words_reason


def test_a_significant_gain_inside_the_margin_is_transfer_but_called_small() -> None:
    found = verdict_on({"trained": 0.51, "format": 0.50}, flips=0.0)
    assert found.verdict is Verdict.TRANSFER and found.contrasts[0].equivalence.shown
    assert "though less than 2 points against the base" in found.headline


def test_too_few_words_are_inconclusive_with_the_number_that_would_decide() -> None:
    found = verdict_on({"trained": 0.53, "format": 0.51}, flips=0.20, n=300, seeds=2)
    assert found.verdict is Verdict.INCONCLUSIVE
    assert 300 < found.words_to_decide < 100_000 and found.words_reason == ""
    assert "words would decide" in found.headline


def test_seeds_that_disagree_ask_for_seeds_and_not_for_words() -> None:
    target = scores("count", {"trained": 0.50, "format": 0.50}, flips=0.0, seeds=2)
    ahead = scores("count", {"trained": 0.60}, flips=0.0, seeds=1).arms["trained"]
    target = TaskScores(
        "count", WORDS, target.base, {**target.arms, "trained": np.r_[target.arms["trained"][:1], ahead]}
    )
    found = study(target).targets[0]
    assert found.verdict is Verdict.INCONCLUSIVE and math.isnan(found.words_to_decide)
    assert "seeds differ too much" in found.words_reason and "seeds would" in found.headline


def test_a_failed_leak_audit_makes_everything_invalid() -> None:
    found = study(scores("count", {"trained": 0.56, "format": 0.50}), audit_ok=False, audit_reasons=["3 words shared"])
    assert found.verdict is Verdict.INVALID and found.reasons == ("leak audit: 3 words shared",)
    assert found.targets[0].verdict is Verdict.INVALID and "3 words shared" in found.headline
    assert found.targets[0].contrasts[0].change.estimate == pytest.approx(0.06, abs=0.01)  # numbers stay readable


def test_a_trained_task_that_did_not_improve_makes_the_study_invalid() -> None:
    found = study(scores("count", {"trained": 0.56, "format": 0.5}), trained=scores("spelling", {"trained": 0.50}))
    assert found.verdict is Verdict.INVALID and found.trained is not None and not found.trained.passed
    assert "spelling was trained but changed by only +0.0 points against the base" in found.reasons[0]


def test_a_study_of_a_task_that_the_base_already_does_says_so() -> None:
    arms = {"trained": np.ones((5, N)), "format": np.zeros((5, N))}
    done = TaskScores("echo", np.arange(N), np.ones(N), arms)
    found = study(scores("count", {"trained": 0.56, "format": 0.5}), trained=done)
    assert found.verdict is Verdict.INVALID
    assert found.reasons[-1].startswith("base 100.0% (") and found.reasons[-1].endswith(
        "leaves less room than 2 points"
    )


def test_trained_scores_without_a_base_make_the_study_invalid() -> None:
    found = study(
        scores("count", {"trained": 0.56, "format": 0.5}), trained=TaskScores("spelling", WORDS, None, TRAINED.arms)
    )
    assert found.verdict is Verdict.INVALID and found.trained is None
    assert found.reasons == ("trained task spelling: the base was not scored",)


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda t: TaskScores(t.task, t.clusters, None, t.arms), "the base was not scored"),
        (lambda t: TaskScores(t.task, t.clusters, t.base, {"trained": t.arms["trained"]}), "no format control"),
        (lambda t: TaskScores(t.task, t.clusters, t.base, {"format": t.arms["format"]}), "no trained arm"),
        (lambda t: TaskScores(t.task, t.clusters, t.base, {**t.arms, "format": t.arms["format"][:0]}), "no format"),
        (lambda t: TaskScores(t.task, WORDS[:0], t.base[:0], {a: r[:, :0] for a, r in t.arms.items()}), "no items"),
    ],
)
def test_an_incomplete_target_is_invalid_and_so_is_its_family(spoil, reason: str) -> None:  # type: ignore[no-untyped-def]
    complete = scores("position", {"trained": 0.56, "format": 0.50})
    found = study(spoil(scores("count", {"trained": 0.56, "format": 0.50})), complete)
    assert found.targets[0].verdict is Verdict.INVALID and reason in found.targets[0].reason
    assert math.isnan(found.targets[0].claim_p_adjusted)
    assert found.targets[1].verdict is Verdict.TRANSFER
    assert found.verdict is Verdict.INVALID and reason in found.headline
    json.dumps(to_json(found), allow_nan=False)


def test_few_seeds_are_called_exploratory_in_every_sentence() -> None:
    found = study(scores("count", {"trained": 0.58, "format": 0.50}, seeds=2))
    assert found.exploratory and found.seeds == 2 and found.targets[0].exploratory
    assert found.headline == "Exploratory (2 seeds): training on spelling transferred to count."
    assert found.targets[0].headline.startswith("Exploratory (2 seeds): training on spelling transferred")


def test_all_nulls_make_the_study_a_null() -> None:
    found = study(*(scores(t, {"trained": 0.50, "format": 0.50}) for t in ("count", "position")))
    assert found.verdict is Verdict.NO_TRANSFER
    assert found.headline == "Training on spelling did not transfer to count and position."


def test_the_share_of_the_ceiling_that_was_reached_has_an_interval() -> None:
    found = verdict_on({"trained": 0.56, "format": 0.50, "direct": 0.80})
    assert found.normalised.estimate == pytest.approx(0.06 / 0.30, abs=0.02)
    assert 0.1 < found.normalised.low < found.normalised.estimate < found.normalised.high < 0.3
    assert found.ceiling_gap.estimate == pytest.approx(0.30, abs=0.01)


@pytest.mark.parametrize(
    ("right", "more", "reason"),
    [
        ({}, {}, "no direct arm"),
        ({"direct": 0.53}, {}, "the ceiling gap is 3.0 points, under 5"),
        ({"direct": 0.58}, {"n": 60, "flips": 0.5, "seeds": 1}, "reaches 0"),
    ],
)
def test_without_a_real_ceiling_the_share_is_undefined(right: dict, more: dict, reason: str) -> None:
    found = verdict_on({"trained": 0.50, "format": 0.50, **right}, **more)
    assert math.isnan(found.normalised.estimate) and reason in found.normalised.reason


def test_every_seed_and_arm_is_reported() -> None:
    found = verdict_on({"trained": 0.56, "format": 0.50, "shuffled": 0.20}, seeds=3)
    assert [arm.arm for arm in found.arms] == ["base", "trained", "format", "shuffled"]
    assert [len(arm.per_seed) for arm in found.arms] == [1, 3, 3, 3]
    assert found.arms[1].accuracy.n == N
    assert [len(c.mcnemar) for c in found.contrasts] == [3, 3, 3, 3]
    assert found.contrasts[0].mcnemar[0].gained - found.contrasts[0].mcnemar[0].lost == 120
    assert [(c.after, c.before, c.required) for c in found.contrasts[2:]] == [
        ("format", "base", False),
        ("shuffled", "base", False),
    ]


def test_the_order_of_items_does_not_matter() -> None:
    target = scores("count", {"trained": 0.53, "format": 0.51}, n=400)
    order = np.random.default_rng(9).permutation(400)
    arms = {arm: rows[:, order] for arm, rows in target.arms.items()}
    assert target.base is not None
    shuffled = TaskScores("count", target.clusters[order], target.base[order], arms)
    one, other = study(target).targets[0], study(shuffled).targets[0]
    assert one.verdict is other.verdict and one.headline == other.headline
    assert one.contrasts[0].change.interval.low == pytest.approx(other.contrasts[0].change.interval.low)


def test_a_study_converts_to_json_without_losing_a_field() -> None:
    found = study(scores("count", {"trained": 0.56, "format": 0.50}))
    plain = json.loads(json.dumps(to_json(found), allow_nan=False))
    assert plain["verdict"] == "transfer" and plain["targets"][0]["verdict"] == "transfer"
    assert plain["targets"][0]["normalised"]["estimate"] is None
    assert "no direct arm" in plain["targets"][0]["normalised"]["reason"]
    assert set(plain) == set(Study.__dataclass_fields__)
    assert set(plain["targets"][0]) == set(TargetVerdict.__dataclass_fields__)


@pytest.mark.parametrize("value", [float("inf"), object(), {1, 2}])
def test_what_json_cannot_hold_is_refused(value: object) -> None:
    with pytest.raises(DataError, match=r"a result must|cannot write"):
        to_json(value)


GOOD = scores("count", {"trained": 0.5, "format": 0.5}, n=50)


@pytest.mark.parametrize(
    ("targets", "more", "rule"),
    [
        ([], {}, "at least 1 target"),
        ([GOOD, GOOD], {}, "must stand once"),
        ([GOOD], {"margin": 0.0}, "margin=0.0"),
        ([GOOD], {"alpha": 1.0}, "alpha=1.0"),
        ([TaskScores("count", WORDS, np.ones(3), {})], {}, r"arm 'base' must have shape \(seeds, 2000\)"),
        ([TaskScores("count", WORDS[:2], np.array([np.nan, 1]), {})], {}, "finite scores, but 1 are not"),
        ([TaskScores("count", WORDS[:2], None, {"base": np.ones((1, 2))})], {}, "must not be called 'base'"),
    ],
)
def test_a_study_that_cannot_be_judged_is_refused(targets: list[TaskScores], more: dict, rule: str) -> None:
    with pytest.raises(DataError, match=rule):
        study(*targets, **more)


def test_a_task_that_got_worse_is_harmed_and_says_by_how_much() -> None:
    found = verdict_on({"trained": 0.45, "format": 0.50})
    assert found.verdict is Verdict.HARMED and found.claim_p == 1.0 and found.harm_p_adjusted < 0.001
    assert found.headline.startswith("Training on spelling harmed count: −5.0 points against the base")


def test_a_gain_that_is_ruled_out_is_not_yet_equivalence() -> None:
    found = verdict_on({"trained": 0.49, "format": 0.50}, flips=0.20, n=1000, seeds=2)
    assert found.contrasts[0].change.interval90.low < -0.02
    assert found.verdict is Verdict.INCONCLUSIVE


def test_the_verdict_words_are_the_documented_ones() -> None:
    words = ["transfer", "harmed", "no transfer", "inconclusive", "floor", "ceiling", "invalid", "no verdict"]
    assert [verdict.value for verdict in Verdict] == words


def test_one_seed_speaks_of_this_checkpoint_only() -> None:
    found = study(scores("count", {"trained": 0.60, "format": 0.50}, seeds=1))
    assert found.verdict is Verdict.ONE_SEED and found.targets[0].verdict is Verdict.ONE_SEED
    assert "one seed: this checkpoint changed by +10.0 points against the base" in found.targets[0].headline
    assert "transfer" not in found.headline


def test_a_mixed_family_says_what_happened_to_each_task() -> None:
    found = study(
        scores("count", {"trained": 0.58, "format": 0.50}),
        scores("position", {"trained": 0.50, "format": 0.50}),
        scores("length", {"trained": 0.45, "format": 0.50}),
    )
    assert found.verdict is Verdict.TRANSFER
    said = "Training on spelling transferred to count, harmed length and did not transfer to position."
    assert found.headline == said


def test_claims_are_adjusted_by_holm_over_the_targets() -> None:
    levels = {"count": 0.53, "position": 0.53, "length": 0.60}
    found = study(*(scores(t, {"trained": a, "format": 0.50}, n=400, flips=0.1) for t, a in levels.items()))
    p = [t.claim_p for t in found.targets]
    ranked = sorted(p)
    steps = [min(1.0, value * (3 - k)) for k, value in enumerate(ranked)]
    expected = {value: max(steps[: k + 1]) for k, value in enumerate(ranked)}
    assert [t.claim_p_adjusted for t in found.targets] == pytest.approx([expected[value] for value in p])


def test_few_seeds_that_all_learned_are_a_valid_study_though_little_is_inferred_from_them() -> None:
    """Of two seeds 8 points apart nothing is said of further training, but these two models were taught."""
    apart = {
        "trained": np.array([np.arange(N) < 1160, np.arange(N) < 1320]),
        "format": np.tile(np.arange(N) < 1000, (2, 1)),
    }
    trained = TaskScores("spelling", WORDS, np.arange(N) < 1000, apart)
    found = study(scores("count", {"trained": 0.5, "format": 0.5}, flips=0.0), trained=trained)
    assert found.trained is not None and not found.trained.passed
    assert found.verdict is Verdict.NO_TRANSFER


# What a small sample, no spread or few seeds may not say.


@pytest.mark.parametrize("seeds", [2, 5])
@pytest.mark.parametrize("n", [2, 3, 5])
def test_a_handful_of_gained_items_is_no_transfer(n: int, seeds: int) -> None:
    arms = {"trained": np.ones((seeds, n), dtype=bool), "format": np.zeros((seeds, n), dtype=bool)}
    found = study(TaskScores("count", np.arange(n), np.zeros(n, dtype=bool), arms)).targets[0]
    assert found.verdict is not Verdict.TRANSFER
    assert found.claim_p == pytest.approx(2 * 0.5**n)  # McNemar's exact p
    interval = found.contrasts[0].change.interval
    assert interval.low < 0.3 and interval.high - interval.low > 0.7


@pytest.mark.parametrize("right", [False, True])
@pytest.mark.parametrize("n", [2, 12, 40, 100])
def test_few_unchanged_items_do_not_show_equivalence(n: int, right: bool) -> None:
    same = np.full(n, right)
    arms = {arm: np.tile(same, (5, 1)) for arm in ("trained", "format")}
    found = study(TaskScores("count", np.arange(n), same, arms)).targets[0]
    assert not found.contrasts[0].equivalence.shown
    assert found.verdict in (Verdict.INCONCLUSIVE, Verdict.CEILING)
    assert found.contrasts[0].change.interval90.high == pytest.approx(1 - 0.05 ** (1 / n))  # the rule of three


def test_many_unchanged_items_do_show_equivalence() -> None:
    same = np.arange(200) < 100
    arms = {arm: np.tile(same, (5, 1)) for arm in ("trained", "format")}
    assert study(TaskScores("count", np.arange(200), same, arms)).targets[0].verdict is Verdict.NO_TRANSFER


def test_two_seeds_that_disagree_widen_the_interval_to_what_two_draws_can_show() -> None:
    """t with 1 degree of freedom is 12.7: seeds 4 points apart leave ± 25 points."""
    target = scores("count", {"trained": 0.60, "format": 0.50}, flips=0.0, seeds=2)
    apart = np.array([np.arange(N) < 1160, np.arange(N) < 1240])
    found = study(TaskScores("count", WORDS, np.arange(N) < 1000, {**target.arms, "trained": apart})).targets[0]
    change = found.contrasts[0].change
    assert change.estimate == pytest.approx(0.10)
    assert change.interval.high - change.estimate == pytest.approx(12.706 * 0.04 / 2, rel=0.02)
    assert found.verdict is Verdict.INCONCLUSIVE and "seeds" in found.words_reason


def test_missing_seeds_of_one_arm_do_not_stop_the_study() -> None:
    target = scores("count", {"trained": 0.60, "format": 0.50})
    fewer = TaskScores("count", WORDS, target.base, {**target.arms, "format": target.arms["format"][:3]})
    found = study(fewer).targets[0]
    assert found.verdict is Verdict.TRANSFER and found.seeds == 3 and found.exploratory
    assert [len(c.mcnemar) for c in found.contrasts[:2]] == [5, 0]


# Floor, ceiling, form.


def with_more(target: TaskScores, **more: object) -> TaskScores:
    return replace(target, **more)  # type: ignore[arg-type]


def test_a_gain_that_a_trivial_answer_reaches_too_is_a_floor() -> None:
    target = scores("count", {"trained": 0.60, "format": 0.50})
    assert study(with_more(target, rivals={"always_1": np.full(N, 0.55)})).targets[0].verdict is Verdict.TRANSFER
    found = study(with_more(target, rivals={"always_1": np.full(N, 0.59), "word_length": np.zeros(N)})).targets[0]
    assert found.verdict is Verdict.FLOOR and "against 'always 1', which needs no skill" in found.reason


def test_a_null_at_the_floor_or_the_ceiling_is_not_called_no_transfer() -> None:
    low = with_more(scores("count", {"trained": 0.50, "format": 0.50}), rivals={"always_1": np.full(N, 0.55)})
    assert study(low).targets[0].verdict is Verdict.FLOOR
    order = np.arange(N)
    arms = {arm: np.tile(order < 0.995 * N, (5, 1)) for arm in ("trained", "format")}
    found = study(TaskScores("count", WORDS, order < 0.99 * N, arms)).targets[0]
    assert found.verdict is Verdict.CEILING and "leaves less room than 2 points" in found.reason


def form(share: Mapping[str, float]) -> dict[str, np.ndarray]:
    return {arm: np.tile(np.arange(N) < value * N, (1 if arm == "base" else 5, 1)) for arm, value in share.items()}


def test_a_gain_that_strict_scores_contradict_is_invalid() -> None:
    target = scores("count", {"trained": 0.60, "format": 0.50})
    agree = with_more(target, strict=form({"base": 0.0, "trained": 0.3, "format": 0.2}))
    assert study(agree).targets[0].verdict is Verdict.TRANSFER
    fell = with_more(target, strict=form({"base": 0.4, "trained": 0.3, "format": 0.2}))
    found = study(fell).targets[0]
    assert found.verdict is Verdict.INVALID and "strict scores fell" in found.reason


@pytest.mark.parametrize("trained", [0.50, 0.44])
def test_style_alone_is_no_transfer_and_no_harm(trained: float) -> None:
    """Exact match rises from 0 because the form was learned, while the outcome stays or falls."""
    target = scores("count", {"trained": trained, "format": 0.50}, flips=0.0)
    shared = with_more(target, strict=form({"base": 0.0, "trained": 0.22, "format": 0.22}))
    assert study(shared).targets[0].verdict is (Verdict.NO_TRANSFER if trained == 0.5 else Verdict.HARMED)
    alone = with_more(target, strict=form({"base": 0.0, "trained": 0.22, "format": 0.0}))
    found = study(alone).targets[0]
    assert found.verdict is Verdict.INVALID and "format" in found.reason


def test_a_broken_boundary_is_invalid() -> None:
    target = scores("count", {"trained": 0.60, "format": 0.50})
    assert study(with_more(target, disagreement=0.01)).targets[0].verdict is Verdict.TRANSFER
    found = study(with_more(target, disagreement=0.02), scores("position", {"trained": 0.5, "format": 0.5}))
    assert found.targets[0].verdict is Verdict.INVALID and "disagree on 2.0%" in found.targets[0].reason
    assert found.verdict is Verdict.NO_TRANSFER and "was not judged on count" in found.headline


def test_a_change_is_split_into_form_and_skill() -> None:
    """Half the base's replies cannot be read; all can after training, and the share right among them stays 60%."""
    order = np.arange(N)
    base, trained = (order % 10 < 6) & (order < N / 2), np.tile(order % 10 < 6, (5, 1))
    parsed = {"base": (order < N / 2)[None], "trained": np.ones((5, N), bool), "format": np.ones((5, N), bool)}
    target = TaskScores("count", WORDS, base, {"trained": trained, "format": trained}, parsed=parsed)
    split = study(target).targets[0].form[0]
    assert split.before == "base" and split.parsed.estimate == pytest.approx(0.5)
    assert split.right_among_parsed.estimate == pytest.approx(0.0) and split.right_among_parsed.interval.low < 0


def test_shares_are_scores_too() -> None:
    rng = np.random.default_rng(3)
    base = rng.random(N) * 0.5
    arms = {"trained": np.clip(base + 0.1 + rng.normal(0, 0.05, (5, N)), 0, 1), "format": np.tile(base, (5, 1))}
    found = study(TaskScores("count", WORDS, base, arms)).targets[0]
    assert found.verdict is Verdict.TRANSFER and found.contrasts[0].mcnemar == ()


def test_of_collateral_tasks_only_harm_is_reported() -> None:
    rose = scores("facts", {"trained": 0.60, "format": 0.50})
    fell = scores("sums", {"trained": 0.45, "format": 0.50})
    kept = scores("names", {"trained": 0.50, "format": 0.50})
    found = study(scores("count", {"trained": 0.50, "format": 0.50}), collateral=[rose, fell, kept])
    assert found.verdict is Verdict.NO_TRANSFER and [t.task for t in found.targets] == ["count"]
    assert [(c.task, c.harmed) for c in found.collateral] == [("facts", False), ("sums", True), ("names", False)]
    assert found.collateral[1].headline.startswith("Training on spelling harmed sums: −5.0 points")
    assert found.collateral[2].excluded and "did not harm names by 2 points or more" in found.collateral[2].headline


def test_ten_tasks_of_ten_seeds_are_judged_within_a_second() -> None:
    arms = {"trained": 0.52, "format": 0.5, "self": 0.5, "shuffled": 0.3, "direct": 0.9}
    targets = [scores(f"task {k}", arms, flips=0.2, seeds=10) for k in range(10)]
    begun = time.process_time()
    study(*targets)
    assert time.process_time() - begun < 1
