from __future__ import annotations

import csv
import json
import math
import os
import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from graft.data.leak_index import PIECE
from graft.data.leaks import LeakReport, duplicates, find_leaks

LETTERS = "abcdefghijklmnopqrstuvwxyz"
CHINESE = (
    "我们 你们 今天 明天 昨天 电影 故事 演员 导演 公司 市场 股票 价格 上涨 下跌 投资 银行 经济 增长 "
    "报告 发布 技术 产品 手机 电脑 学生 老师 学校 城市 北京 上海 天气 火车 飞机 旅行 朋友 家庭 孩子 "
    "医生 医院 健康 运动 足球 比赛 音乐 艺术 历史 文化 语言 书籍 问题 答案 方法 研究 科学 数据 模型 "
    "结果 重要 非常 喜欢 希望 可以 应该 已经 开始 因为 所以 但是 如果 "
    "的 了 在 是 有 和 很 不 也 都 就 把 被 给 让 向 从 到 对 以"
)
ARABIC = (
    "اليوم غدا أمس الشركة السوق السعر ارتفع انخفض الاستثمار البنك الاقتصاد النمو التقرير الجديد التقنية المنتج الهاتف "
    "الطالب المعلم المدرسة المدينة الطقس المطر القطار الطائرة السفر الصديق العائلة الطفل الطبيب المستشفى الصحة الرياضة "
    "المباراة الفوز الموسيقى الفن التاريخ الثقافة اللغة الكتاب السؤال الجواب الطريقة البحث العلم البيانات النموذج "
    "النتيجة مهم جدا يحب يعتقد يمكن يجب بدأ انتهى لأن لذلك لكن إذا أو في من على إلى عن مع هذا هذه التي الذي كان قال"
)


def words_of(language: str) -> list[str]:
    rng = random.Random(0)
    if language == "English":
        return ["".join(rng.choices(LETTERS, k=rng.choice([2, 3, 4, 5, 6, 8]))) for _ in range(600)]
    return (CHINESE if language == "Chinese" else ARABIC).split()


WORDS = words_of("English")


def text(seed: int, words: int = 40) -> str:
    return " ".join(random.Random(seed).choices(WORDS, k=words))


def named(texts: list[str], prefix: str) -> list[tuple[str, str]]:
    return [(f"{prefix}/{index}", one) for index, one in enumerate(texts)]


def compare(trained: list[str], held_out: list[str], threshold: float = 0.8) -> LeakReport:
    (report,) = find_leaks(named(trained, "train"), {"t": named(held_out, "eval")}, threshold=threshold)
    return report


def test_every_kind_of_copy_is_found_and_told_apart() -> None:
    held_out = [text(seed) for seed in range(20)]
    near = held_out[2].rsplit(" ", 1)[0] + " other"
    longer = f"{text(500)} {held_out[3]} {text(501)}"
    trained = [text(seed) for seed in range(100, 150)] + [held_out[0], held_out[1].upper() + "!", near, longer]
    report = compare(trained, held_out)
    assert report.counts == {"exact": 1, "normalised": 1, "near": 1, "contained": 1}
    assert report.share == pytest.approx(4 / 20)
    assert {leak.kind: (leak.held_out, leak.trained) for leak in report.examples} == {
        "exact": ("eval/0", "train/50"), "normalised": ("eval/1", "train/51"), "near": ("eval/2", "train/52"),
        "contained": ("eval/3", "train/53"),
    }  # fmt: skip
    assert report.leaked == ("eval/0", "eval/1", "eval/2", "eval/3")


@pytest.mark.parametrize(
    ("held_out", "trained"),
    [
        ("Great   film, really!", "great film really"),
        ("Das Café öffnet", "DAS CAFE\u0301 ÖFFNET"),
        ("It rose by 1,000 points", "it rose by １０００ points"),
        ("ارتفع السعر ١٢ نقطة", "ارتفـع السعر 12 نقطة."),
        ("Shares fell @trader see https://t.co/AbC", "Shares fell see"),
        ("这部电影 很好", "这部电影很好。"),
        ("这部电影很好https://t.co/AbC", "这部电影很好"),
    ],
)
def test_texts_that_differ_only_in_form_are_equal(held_out: str, trained: str) -> None:
    assert compare([trained], [held_out]).counts["normalised"] == 1


@pytest.mark.parametrize(
    ("held_out", "trained"),
    [
        ("What is 5 + 3?", "What is 5 - 3?"),
        ("What is 3.5 times 2?", "What is 35 times 2?"),
        ("What is the capital of France?", "What is the capital of Spain?"),
        ("What is the third derivative of 5*x**3 + 2*x wrt x?", "What is the third derivative of 4*x**3 + 2*x wrt x?"),
        ("one of the best films of the year", f"it is one of the best films of the year, and {text(1)}"),
        ("???", "!!!"),
    ],
)  # fmt: skip
def test_short_questions_and_formulas_with_another_word_or_number_are_others(held_out: str, trained: str) -> None:
    assert compare([trained], [held_out]).share == 0


def typo(rng: random.Random, one: str) -> str:
    place = rng.randrange(1, len(one) - 1)
    other = rng.choice(one.replace(" ", ""))
    changed = [
        one[place + 1] + one[place] + one[place + 2 :],
        one[place + 1 :],
        other + one[place + 1 :],
        other + one[place:],
    ]
    return one[:place] + rng.choice(changed)


def planted(language: str, words: int, how: str) -> Iterator[tuple[str, str]]:
    rng = random.Random(f"{language}/{words}/{how}")
    known, joint = words_of(language), "" if language == "Chinese" else " "
    for _ in range(50):
        own = rng.choices(known, k=words)
        held_out = joint.join(own)
        if how == "word":
            own[rng.randrange(words)] = rng.choice(known)
        trained = typo(rng, held_out) if how == "typo" else joint.join(own)
        yield held_out, trained + (" https://t.co/aB3dEf" if how == "address" else "")


@pytest.mark.parametrize("how", ["word", "typo", "address"])
@pytest.mark.parametrize("words", [8, 9, 10, 16, 24, 49, 50, 51, 120, 300])
@pytest.mark.parametrize("language", ["English", "Chinese", "Arabic"])
def test_at_least_48_of_50_changed_copies_are_found_at_every_length(language: str, words: int, how: str) -> None:
    pairs = list(planted(language, words, how))
    held_out = [one for one, _ in pairs]
    assert sum(compare([trained for _, trained in pairs], held_out).counts.values()) >= 48
    others = [one for one, _ in planted(language, words, "other")]
    assert compare(others, held_out).share == 0


def test_a_text_is_found_inside_a_long_document_and_a_document_inside_a_text() -> None:
    held_out = [text(seed, 12) for seed in range(10)]
    document = " ".join([text(100, 3 * PIECE), held_out[4], text(101, 3 * PIECE)])
    assert compare([document], held_out).leaked == ("eval/4",)
    assert compare([held_out[4]], [document, text(102, 2000)]).leaked == ("eval/0",)


@pytest.mark.slow
@pytest.mark.parametrize("words", [12, 30, 60, 300])
def test_texts_of_few_different_words_are_not_alike_by_chance(words: int) -> None:
    few = random.Random(1).sample(WORDS, 12)
    document = " ".join(random.Random(2).choices(few, k=20_000))
    texts = [" ".join(random.Random(seed).choices(few, k=words)) for seed in range(400)]
    assert compare([document, *texts[:200]], texts[200:]).share == 0


@pytest.mark.parametrize("count", [3, 30])
def test_a_common_instruction_does_not_make_texts_similar(count: int) -> None:
    frame = (
        "Classify the sentiment of this short message as either bearish, bullish or neutral.\n\nText: {}\nSentiment:"
    )
    held_out = [frame.format(text(seed, 12)) for seed in range(count)]
    trained = [frame.format(text(seed, 12)) for seed in range(100, 200)]
    assert compare(trained, held_out, threshold=0.6).share == 0
    assert compare([text(0, 12)], held_out).leaked == ("eval/0",)


def test_the_training_texts_are_read_once_for_all_tasks() -> None:
    reads = []

    def trained() -> Iterator[tuple[str, str]]:
        reads.append(1)
        yield from named([text(1), text(2), text(9)], "train")

    held_out = {"one": named([text(1), text(3)], "one"), "two": named([text(2)], "two"), "none": []}
    one, two, none = find_leaks(trained(), held_out, threshold=0.8)
    assert len(reads) == 1
    assert (one.task, one.share, one.trained, one.leaked) == ("one", 0.5, 3, ("one/0",))
    assert (two.share, two.leaked) == (1.0, ("two/0",))
    assert math.isnan(none.share)


def test_repeated_texts_are_counted() -> None:
    assert duplicates(["a", "b", "a", "a"]) == 2


@pytest.fixture
def shared_data() -> Path:
    if "GRAFT_TEST_DATA" not in os.environ:
        pytest.skip("GRAFT_TEST_DATA is not set")
    return Path(os.environ["GRAFT_TEST_DATA"])


def sentences(folder: Path) -> list[str]:
    files = (folder / "rt_polarity" / f"rt-polarity.{kind}" for kind in ("neg", "pos"))
    return [line.strip() for file in files for line in file.read_text(encoding="latin-1").split("\n")]


def mistakes(report: LeakReport) -> float:
    """Share of the texts that are found but not equal."""
    return (report.counts["near"] + report.counts["contained"]) / report.held_out


@pytest.mark.slow
def test_hardly_a_text_of_two_real_sets_is_found_by_mistake(shared_data: Path) -> None:
    """Films: halves of one set. Problems: the makers' own splits. Films among tweets: nothing in common."""
    films = sentences(shared_data)
    random.Random(0).shuffle(films)
    assert mistakes(compare(films[2000:], films[:2000])) <= 0.001
    parts = [(shared_data / "gsm8k" / f"{part}.jsonl").read_text().splitlines() for part in ("train", "test")]
    trained, held_out = ([json.loads(line)["question"] for line in lines] for lines in parts)
    assert mistakes(compare(trained, held_out)) <= 0.001
    with (shared_data / "twitter_fin_sentiment" / "sent_train.csv").open(newline="") as file:
        assert compare([row["text"] for row in csv.DictReader(file)], films[:2000]).share == 0


@pytest.mark.slow
@pytest.mark.parametrize("tokens", [8, 10, 14, 20, 30])
def test_a_changed_word_of_a_real_sentence_is_found(shared_data: Path, tokens: int) -> None:
    rng = random.Random(tokens)
    films = sentences(shared_data)
    chosen = rng.sample([one for one in films if len(one.split()) == tokens], 50)
    trained = []
    for one in chosen:
        words = one.split()
        words[rng.randrange(tokens)] = rng.choice(WORDS)
        trained.append(" ".join(words))
    report = compare(trained, [*chosen, *(one for one in films[:4000] if one not in chosen)])
    assert sum(int(name.removeprefix("eval/")) < 50 for name in report.leaked) >= 48


def test_twenty_thousand_texts_take_seconds_of_processor_time() -> None:
    held_out = [text(seed, 20) for seed in range(2000)]
    started = time.process_time()
    compare([text(seed, 20) for seed in range(10_000, 30_000)], held_out)
    assert time.process_time() - started < 20  # 100,000 against 10,000 took 16 s, and 40 s with 60 words
