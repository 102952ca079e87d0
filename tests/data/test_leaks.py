from __future__ import annotations

import math
import random
import time

import pytest

from graft.data.leaks import common_frame, duplicates, find_leaks, normalised, pieces

WORDS = [f"word{number}" for number in range(400)]


def text(seed: int, words: int = 40) -> str:
    return " ".join(random.Random(seed).choices(WORDS, k=words))


def named(texts: list[str], prefix: str) -> list[tuple[str, str]]:
    return [(f"{prefix}/{index}", one) for index, one in enumerate(texts)]


def test_exact_normalised_and_near_copies_are_found_and_told_apart() -> None:
    held_out = [text(seed) for seed in range(20)]
    near = held_out[2].rsplit(" ", 1)[0] + " other"
    trained = [text(seed) for seed in range(100, 150)] + [held_out[0], held_out[1].upper() + "!", near]
    report = find_leaks("reviews", named(trained, "train"), named(held_out, "eval"), threshold=0.8)
    assert report.counts == {"exact": 1, "normalised": 1, "near": 1}
    assert report.share == pytest.approx(3 / 20)
    by_kind = {leak.kind: (leak.held_out, leak.trained) for leak in report.examples}
    assert by_kind == {
        "exact": ("eval/0", "train/50"), "normalised": ("eval/1", "train/51"), "near": ("eval/2", "train/52"),
    }  # fmt: skip
    assert report.examples[-1].similarity == pytest.approx(35 / 37)


def test_hashing_finds_what_comparing_every_pair_finds() -> None:
    rng = random.Random(0)
    held_out = [text(seed) for seed in range(60)]
    trained = []
    for one in held_out:
        words = one.split()
        for place in rng.sample(range(len(words)), rng.choice([0, 1, 1, 2, 12])):
            words[place] = "changed"
        trained.append(" ".join(words))
    report = find_leaks("t", named(trained, "train"), named(held_out, "eval"), threshold=0.5)
    true = sum(
        any(len(a & b) / len(a | b) >= 0.5 for b in (pieces(other.split()) for other in trained))
        for a in (pieces(one.split()) for one in held_out)
    )
    assert true > 20
    assert sum(report.counts.values()) >= 0.97 * true


def test_a_common_instruction_does_not_make_texts_similar() -> None:
    frame = (
        "Classify the sentiment of this short message as either bearish, bullish or neutral.\n\nText: {}\nSentiment:"
    )
    held_out = [frame.format(text(seed, 12)) for seed in range(30)]
    trained = [frame.format(text(seed, 12)) for seed in range(100, 200)]
    assert common_frame(held_out) == (14, 1)
    assert find_leaks("t", named(trained, "a"), named(held_out, "b"), threshold=0.6).share == 0
    copied = find_leaks("t", named(held_out[:1], "a"), named(held_out, "b"), threshold=0.6)
    assert copied.examples[0].text == f"{text(0, 12)}\nSentiment:".removeprefix("word")


def test_nothing_held_out_has_no_share_and_texts_without_words_do_not_match() -> None:
    assert math.isnan(find_leaks("t", [("a", "x")], [], threshold=0.8).share)
    report = find_leaks("t", [("a", "???")], [("b", "!!!"), ("c", "word")], threshold=0.8)
    assert report.counts == {"exact": 0, "normalised": 0, "near": 0}


def test_near_duplicates_are_sought_up_to_the_limit_and_exact_ones_beyond() -> None:
    held_out = [text(1), text(2)]
    trained = [text(9), held_out[0] + " more", held_out[1]]
    report = find_leaks("t", named(trained, "a"), named(held_out, "b"), threshold=0.8, near_limit=1)
    assert (report.trained, report.near_compared) == (3, 1)
    assert report.counts == {"exact": 1, "normalised": 0, "near": 0}


def test_normalising_forgets_case_punctuation_and_space() -> None:
    assert normalised("  The Café's\tprice: 3.5%! ") == "the café s price 3 5"


def test_repeated_texts_are_counted() -> None:
    assert duplicates(["a", "b", "a", "a"]) == 2


def test_ten_thousand_texts_take_seconds() -> None:
    held_out = [text(seed) for seed in range(500)]
    started = time.process_time()
    find_leaks("t", named([text(seed) for seed in range(1000, 6000)], "a"), named(held_out, "b"), threshold=0.8)
    assert time.process_time() - started < 15
