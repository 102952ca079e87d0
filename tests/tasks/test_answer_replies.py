"""What models answer to questions, and how a fair reader judges it: numbers, choices, labels, short texts, entities."""

from __future__ import annotations

import pytest

from graft import tasks
from graft.tasks.answers.entities import score_entities
from graft.tasks.answers.numbers import score_final_number, score_number
from graft.tasks.answers.spans import score_span
from graft.tasks.labels import find_label, find_letter
from graft.tasks.words.pool import WordSets
from graft.types import Example

TO_ONE = (
    "{x}",
    "{x}.",
    " {x}\n",
    "**{x}**",
    "`{x}`",
    "“{x}”",
    "The answer is {x}.",
    "The answer is: {x}",
    "Answer: {x}",
    "**Answer:** {x}",
    "Final answer: {x}",
    "\\boxed{{{x}}}",
    "$\\boxed{{\\text{{{x}}}}}$",
    "<answer>{x}</answer>",
    "<think>It could be {y}.</think>{x}",
    "<think>\nIs it {y}? No.\n</think>\n\nThe answer is {x}.",
    "It must be {y}.</think>\n{x}",
    "{y}. Actually, no, it is {x}.",
    "{y}. Wait, that's wrong. The answer is {x}.",
    "{y}... no, {x}",
    "{y}, no wait, {x}",
    "{y}. Correction: {x}",
    "The answer is {y}. Hmm, let me check again. The answer is {x}.",
    "{y}. Oops, I made a mistake. It should be {x}.",
    "Is it {y}? No, it is {x}.",
    "I first thought {y}, but the answer is {x}.",
    "The answer is {x}, not {y}.",
    "The answer is not {y}, it is {x}.",
    "~~{y}~~ {x}",
    "{x}\n\nQuestion: another one?\nAnswer: {y}",
    "{x}\nQ: and the next?\nA: {y}",
    "Answer: {x}\n\nUser: thanks\nAssistant: {y}",
    "{x}<|im_end|>\n<|im_start|>user\n{y}",
    "{x}\n\nText: another text\nSentiment: {y}",
    "So the answer is {x}.",
    "{x} is the answer.",
    "{y} is wrong. The answer is {x}.",
)
TO_NONE = (
    "",
    "<think>{x}",
    "<think>It is {x}. The answer is {x}.",
    "I don't know.",
    "No one knows.",
    "{x} or {y}",
    "It is {x} or {y}.",
    "It's {x} or {y}",
    "The answer is {x} or {y}.",
    "The answer is either {x} or {y}.",
    "Both {x} and {y}",
    "{x} and {y}",
    "The answer is {x} and {y}.",
    "It could be {x}, or maybe {y}.",
    "The answer is not {x}.",
    "It is not {x}.",
    "It isn’t {x}.",
    "{x}. No, that is wrong.",
    "{x}. Wait, no. I don't know.",
    "The answer is {x}. The answer is {y}.",
    "It is neither {x} nor {y}.",
)
LABELS = ("positive", "negative", "neutral")


def _number(reply: str) -> str | None:
    return score_number("0.5", reply).answer


def _solution(reply: str) -> str | None:
    return score_final_number("#### 1", reply).answer


KINDS = {
    "letter": (lambda reply: find_letter(reply, "ABCD"), (("B", "C"), ("A", "D"))),
    "label": (lambda reply: find_label(reply, LABELS), (("positive", "negative"), ("Neutral", "positive"))),
    "number": (_number, (("1,234", "617"), ("-5", "5"), ("3.5", "35"))),
    "solution": (_solution, (("70000", "7000"), ("-5", "5"))),
}
NORMAL = {"1,234": "1234", "Neutral": "neutral"}


def _cases(templates: tuple[str, ...]) -> list[tuple[str, str, str]]:
    return [
        (kind, template.format(x=x, y=y), NORMAL.get(x, x))
        for kind, (_, values) in KINDS.items()
        for x, y in values
        for template in templates
    ]


@pytest.mark.parametrize(("kind", "reply", "answer"), _cases(TO_ONE))
def test_a_reply_that_commits_to_one_answer_is_read(kind: str, reply: str, answer: str) -> None:
    assert KINDS[kind][0](reply) == answer


@pytest.mark.parametrize(("kind", "reply", "answer"), _cases(TO_NONE))
def test_a_reply_that_commits_to_no_answer_is_unparsed(kind: str, reply: str, answer: str) -> None:
    assert KINDS[kind][0](reply) is None


LETTERS = {
    "b": "B",
    "b.": "B",
    "(b)": "B",
    "B)": "B",
    "[B]": "B",
    "The answer is b.": "B",
    "The answer is b": "B",
    "the answer is (b)": "B",
    "Answer: (B)": "B",
    "The answer is a.": "A",
    "The answer is a good guess.": None,
    "A good guess would be C": "C",
    "A": "A",
    "B. Rent": "B",
    "B: Rent": "B",
    "(B) Rent": "B",
    "b) rent": "B",
    "B\n\nBecause A is too small.": "B",
    "B. Because A is too small.": "B",
    "It's A or B": None,
    "A or B": None,
    "A and B": None,
    "A, B": None,
    "A/B": None,
    "A & B": None,
    "Both A and B.": None,
    "Either A or C.": None,
    "A. Wages\nB. Rent": None,
    "A. Wages\nB. Rent\nC. Tax\nD. None\nAnswer: B": "B",
    "Not A but B": "B",
    "Not A.": None,
    "A is wrong, so B.": "B",
    "B is correct.": "B",
    "B is the right answer; A is wrong.": "B",
    "I would choose B.": "B",
    "I'd go with C.": "C",
    "Option B": "B",
    "option b": "B",
    "Option B is correct because C is too large.": "B",
    "The correct option is B.": "B",
    "The best choice is (C).": "C",
    "E": None,
    "The answer is E": None,
    "None of the above": None,
    "I think B": "B",
    "I think it is B": "B",
    "I": None,
    "B or maybe C": None,
    "B. No, C.": "C",
    "B — wait, C": "C",
    "Between A and C, I choose C.": "C",
    "Eliminating A and D, the answer is B.": "B",
    "B\nQuestion: next?\nA. x\nB. y\nAnswer: A": "B",
    "B<|eot_id|>": "B",
    "Ｂ": "B",
    "**B**": "B",
    "$B$": "B",
    "\\(B\\)": "B",
    "“B”": "B",
    "the answer is B, since A's value is too small": "B",
    "Vitamin C": "C",
    "": None,
    "Rent": None,
    "A is incorrect, B is incorrect, C is correct.": "C",
    "Options A and B are wrong, so C": "C",
    "Neither A nor B": None,
    "It is not A, B or D": None,
    "The answer is (C) because A and B are wrong.": "C",
    "A? No. C.": "C",
    "D. All of the above": "D",
    "A B C D": None,
    "Answer:\nC": "C",
    "C) Rent; D) Tax": None,
}

LABEL_REPLIES = {
    "positive": "positive",
    "Positive.": "positive",
    "POSITIVE!": "positive",
    "The sentiment is positive.": "positive",
    "Sentiment: Positive": "positive",
    "positive。": "positive",
    "positive！": "positive",
    "not positive": None,
    "It is not very positive.": None,
    "This isn’t positive.": None,
    "never positive": None,
    "It's never positive": None,
    "non-negative": None,
    "non negative": None,
    "nonnegative": None,
    "hardly positive": None,
    "far from positive": None,
    "anything but negative": None,
    "neither positive nor negative": None,
    "neither positive nor negative, so neutral": "neutral",
    "positive/negative": None,
    "positive or negative": None,
    "positive and negative": None,
    "mixed": None,
    "Positively": None,
    "positivity": None,
    "positive, not negative": "positive",
    "positive rather than neutral": "positive",
    "not negative but positive": "positive",
    "positive. Actually, no: negative": "negative",
    "positive\n\nText: bad\nLabel: negative": "positive",
    "positive\n\nThe words are not negative at all, neutral words are few.": "positive",
    "Words like good are positive, but the answer is negative.": "negative",
    "I would classify it as negative.": "negative",
    "This is a positive review.": "positive",
    "<think>negative?</think>positive": "positive",
    "<think>positive": None,
    "\\boxed{positive}": "positive",
    "positive-negative": None,
    "semi-positive": None,
    "The answer is neutral, even though some words are positive.": "neutral",
    "": None,
    "ｐｏｓｉｔｉｖｅ": "positive",
    "“positive”": "positive",
    "'positive'": "positive",
    "label = positive": "positive",
    "这句话是positive的。": "positive",
    "can't be called positive": None,
    "no positive words": None,
    "It lacks positive words": None,
    "I don't think it is positive": None,
    "I do not consider this positive.": None,
    "It fails to be positive": None,
    "doubtful that it is positive": None,
    "without being negative, it is neutral": "neutral",
    "not negative, positive": "positive",
    "rather negative": "negative",
    "positive, neutral": None,
    "un-positive": None,
    "label: Neutral\nReason: nothing positive": "neutral",
}

OTHER_LABELS = [
    ("正面", ("正面", "负面"), "正面"),
    ("这句话的情感是正面的。", ("正面", "负面"), "正面"),
    ("答案：负面。", ("正面", "负面"), "负面"),
    ("不是正面", ("正面", "负面"), None),
    ("不正面", ("正面", "负面"), None),
    ("正面或负面", ("正面", "负面"), None),
    ("感情はポジティブです。", ("ポジティブ", "ネガティブ"), "ポジティブ"),
    ("ポジティブではない。", ("ポジティブ", "ネガティブ"), None),
    ("긍정입니다", ("긍정", "부정"), "긍정"),
    ("เป็นบวก", ("บวก", "ลบ"), "บวก"),
    ("إيجابي.", ("إيجابي", "سلبي"), "إيجابي"),
    ("إيجابي؟", ("إيجابي", "سلبي"), "إيجابي"),
    ("सकारात्मक।", ("सकारात्मक", "नकारात्मक"), "सकारात्मक"),
    ("cafe\u0301", ("café", "bar"), "café"),
    ("CAFÉ", ("cafe\u0301", "bar"), "cafe\u0301"),
    ("polish", ("Polish", "polish"), "polish"),
    ("Polish", ("Polish", "polish"), "Polish"),
    ("no", ("yes", "no"), "no"),
    ("No.", ("yes", "no"), "no"),
    ("Answer: no.", ("yes", "no"), "no"),
    ("yes. Actually, no.", ("yes", "no"), "no"),
    ("yes or no", ("yes", "no"), None),
    ("I have no idea", ("yes", "no"), None),
    ("No one knows", ("yes", "no"), None),
    ("wrong", ("right", "wrong"), "wrong"),
    ("The answer is wrong.", ("right", "wrong"), "wrong"),
    ("5", ("1", "2", "3", "4", "5"), "5"),
    ("5.", ("1", "2", "3", "4", "5"), "5"),
    ("3.5", ("3", "5"), None),
    ("-5", ("4", "5"), None),
    ("10", ("1", "10"), "10"),
    ("1", ("1", "10"), "1"),
    ("not entailment", ("entailment", "not_entailment"), "not_entailment"),
    ("not_entailment", ("entailment", "not_entailment"), "not_entailment"),
    ("It is entailment", ("entailment", "not_entailment"), "entailment"),
    ("mildly positive", ("positive", "mildly positive"), "mildly positive"),
    ("C++", ("C", "C++"), "C++"),
    ("world news", ("World", "World News"), "World News"),
]

NUMBERS = [  # right answer, reply, strict, lenient
    ("5", "5", True, True),
    ("5", "5.0", True, True),
    ("5", "5.", True, True),
    ("5", "500", False, False),
    ("5", "5.4", False, False),
    ("5", "-5", False, False),
    ("5", "0.05", False, False),
    ("5", "5%", False, True),
    ("1", "100", False, False),
    ("1", "1 million", False, False),
    ("1000000", "1 million", True, True),
    ("1000000", "$1 million", True, True),
    ("1000000", "It is one million.", False, True),
    ("1200000", "1.2 million", True, True),
    ("5000", "5k", True, True),
    ("3", "3.5", False, False),
    ("0", "0.5", False, False),
    ("0", "0.004", False, False),
    ("12", "0.12", False, False),
    ("12", "12%", False, True),
    ("12%", "12", False, True),
    ("12%", "0.12", True, True),
    ("0.12", "12%", True, True),
    ("0.12", "12", False, False),
    ("-5", "minus 5", True, True),
    ("-5", "negative 5", True, True),
    ("-5", "−5", True, True),
    ("-5", "5", False, False),
    ("-5", "The answer is minus 5.", False, True),
    ("1234", "The answer is 1234. That is 2 times 617", False, True),
    ("617", "The answer is 1234. That is 2 times 617", False, False),
    ("1234", "So it is 1234. That is 2 times 617.", False, True),
    ("1234", "1{,}234", True, True),
    ("1234", "1,234", True, True),
    ("1234", "1 234", True, True),
    ("1234", "1\u202f234", True, True),
    ("1234", "1'234", True, True),
    ("70000", "\\boxed{70{,}000}", False, True),
    ("70000", "70 000", True, True),
    ("70000", "70\\,000", True, True),
    ("0.5", "\\frac12", True, True),
    ("0.5", "\\frac{1}{2}", True, True),
    ("0.5", "\\dfrac{1}{2}", True, True),
    ("0.5", "½", True, True),
    ("1.5", "1½", True, True),
    ("1.5", "1 1/2", True, True),
    ("0.5", "1/2", True, True),
    ("35.8", "35.80", True, True),
    ("35.8", "36.1", False, True),
    ("35.8", "36.2", False, False),
    ("35.8", "358", False, False),
    ("3", "3 or 4", False, False),
    ("4", "3 or 4", False, False),
    ("4", "between 3 and 4", False, False),
    ("4", "3-4", False, False),
    ("12", "twelve", False, True),
    ("12", "The answer is twelve.", False, True),
    ("1", "No one knows.", False, False),
    ("1", "No one knows", False, False),
    ("3", "The 3rd one", False, False),
    ("11", "The answer is 5 + 6 = 11.", False, True),
    ("11", "5 + 6 = 11", False, True),
    ("2", "5 m²", False, False),
    ("5", "5 m²", False, True),
    ("5", "x = 5", False, True),
    ("5", "5 apples", False, True),
    ("5", "$5", True, True),
    ("5", "5 dollars", False, True),
    ("5", "٥", True, True),
    ("5", "５", True, True),
    ("5", "9" * 5000, False, False),
    ("yes", "Yes.", True, True),
    ("yes", "yes/no", False, False),
    ("no", "I have no idea", False, False),
    ("no", "No one knows.", False, False),
    ("no", "No, it did not.", False, True),
    ("1", "5±1", False, False),
    ("5", "5±1", False, True),
    ("1000000", "10^6", True, True),
    ("2000", "2 x 10^3", True, True),
    ("25", "5^2", False, False),
    ("0.5", "0,5", True, True),
    ("5", "0,5", False, False),
    ("30", "12:30", False, False),
    ("6", "5 apples and 6 pears", False, False),
    ("5", "It was 5 (2019: 4).", False, True),
    ("5", "5 in 2020", False, True),
    ("12", "The answer is 3 times 4 = 12", False, True),
    ("14", "3 + 4 = 7 and 7 * 2 = 14", False, True),
    ("3.5", "three and a half", False, True),
    ("24", "two dozen", False, True),
]

SOLUTIONS = [  # right answer, reply, lenient
    ("#### 70000", "#### 70000", True),
    ("#### 70000", "#### 70,000", True),
    ("#### 70000", "#### $70,000.00", True),
    ("#### 70000", "#### 70\u202f000", True),
    ("#### 70000", "\\boxed{70{,}000}", True),
    ("#### 70000", "#### 70000\n\nQuestion: 5 apples?\n#### 5", True),
    ("#### 3", "#### 3 … #### 4", True),
    ("#### 4", "#### 3 … #### 4", False),
    ("#### 3", "#### 3\nand then #### 4", True),
    ("#### 18", "16 - 3 - 4 = 9 eggs. 9 * 2 = 18.\n#### 18", True),
    ("#### 18", "#### Step 1: 16 - 3 = 13\n#### Step 2: 9 * 2 = 18", True),
    ("#### 18", "So she makes 9 * $2 = $<<9*2=18>>18 every day.", True),
    ("#### 18", "The answer is 18. That is 2 times 9.", True),
    ("#### 9", "The answer is 18. That is 2 times 9.", False),
    ("#### 18", "Therefore, the answer is $18.", True),
    ("#### 25", "#### 25%", True),
    ("#### -5", "#### -5", True),
    ("#### 5", "#### -5", False),
    ("#### 5", "", False),
    ("#### 5", "####", False),
    ("#### 5", "#### none", False),
    ("#### 5", "I think 4. No, 5.", True),
    ("#### 5", "<think>#### 4</think>#### 5", True),
    ("#### 5", "<think>#### 5", False),
    ("#### 1000000", "She has 1 million.", True),
    ("#### 12", "She has twelve apples.", True),
    ("#### 5", "9" * 5000, False),
]

SPANS = [  # right answer, reply, strict, lenient
    ("1.5", "15", False, False),
    ("1.5", "1.5", True, True),
    ("1.5", "1.5.", True, True),
    ("1.5", "It is 1.5.", False, True),
    ("15", "1.5", False, False),
    ("3.5", "35", False, False),
    ("-5", "5", False, False),
    ("5", "-5", False, False),
    ("-5", "−5", True, True),
    ("42%", "42", False, False),
    ("42%", "42 percent", True, True),
    ("42%", "42 %", True, True),
    ("1,234", "1234", True, True),
    ("3/4", "34", False, False),
    ("10:30", "1030", False, False),
    ("2019-2020", "20192020", False, False),
    ("café", "cafe\u0301", True, True),
    ("café", "CAFÉ", True, True),
    ("Paris", "paris", True, True),
    ("Paris", "  Paris\n", True, True),
    ("Paris", "Paris.", True, True),
    ("Paris", "“Paris”", True, True),
    ("Paris", "The answer is Paris.", False, True),
    ("Paris", "Not Paris.", False, False),
    ("Paris", "It is not Paris", False, False),
    ("Paris", "It isn’t Paris.", False, False),
    ("Paris", "Paris or London", False, False),
    ("Paris", "Paris. Actually, no, London.", False, False),
    ("London", "Paris. Actually, no, London.", False, True),
    ("Paris", "Parisian", False, False),
    ("Paris", "<think>London?</think>Paris", False, True),
    ("Paris", "<think>Paris", False, False),
    ("Paris", "Paris\n\nQuestion: What is the capital of Italy?\nAnswer: Rome", False, True),
    ("Rome", "Paris\n\nQuestion: What is the capital of Italy?\nAnswer: Rome", False, False),
    ("Paris", "Paris " + "and so on " * 40, False, False),
    ("the U.S.", "US", True, True),
    ("北京", "北京", True, True),
    ("北京", "北京。", True, True),
    ("北京", "答案是北京。", False, True),
    ("北京", "不是北京", False, False),
    ("東京", "東京です。", False, True),
    ("", "", True, True),
]

GOLD = "Deluxe, Inc., ORG\nTim Cook, PER"
ENTITIES = [  # reply, lenient
    (GOLD, True),
    ("Tim Cook, PER\nDeluxe, Inc., ORG", True),
    ("1. Deluxe, Inc., ORG\n2. Tim Cook, PER", True),
    ("1) Deluxe, Inc. (ORG)\n2) Tim Cook (PER)", True),
    ("- Deluxe, Inc.: ORG\n- Tim Cook: PER", True),
    ("* **Deluxe, Inc.** - ORG\n* **Tim Cook** - PER", True),
    ("Deluxe, Inc., ORG; Tim Cook, PER", True),
    ("Deluxe, Inc., ORG and Tim Cook, PER", True),
    ("ORG: Deluxe, Inc.\nPER: Tim Cook", True),
    ("Organizations: Deluxe, Inc.\nPersons: Tim Cook\nLocations: none", True),
    ('[{"entity": "Deluxe, Inc.", "type": "ORG"}, {"entity": "Tim Cook", "type": "PER"}]', True),
    ("| Entity | Type |\n|---|---|\n| Deluxe, Inc. | ORG |\n| Tim Cook | PER |", True),
    ("The entities are: Deluxe, Inc., ORG; Tim Cook, PER", True),
    ("Deluxe, Inc. = ORG\nTim Cook = PER", True),
    ("Deluxe, Inc. -> ORG\nTim Cook -> PER", True),
    ("<think>Tim Cook, LOC</think>" + GOLD, True),
    ("<think>" + GOLD, False),
    ("Tim Cook, LOC. Wait, no:\n" + GOLD, True),
    (GOLD + "\n\nText: Ohio is big.\nOhio, LOC", True),
    ("Deluxe, Inc., ORG\nTim Cook, PER or ORG", False),
    ("Deluxe, Inc., ORG\nTim Cook, LOC", False),
    ("Deluxe, Inc., ORG", False),
    ("none", False),
    ("", False),
]


@pytest.mark.parametrize(("reply", "answer"), list(LETTERS.items()))
def test_letters_of_options(reply: str, answer: str | None) -> None:
    assert find_letter(reply, "ABCD") == answer


@pytest.mark.parametrize(("reply", "answer"), list(LABEL_REPLIES.items()))
def test_labels(reply: str, answer: str | None) -> None:
    assert find_label(reply, LABELS) == answer


@pytest.mark.parametrize(("reply", "labels", "answer"), OTHER_LABELS)
def test_labels_of_any_script_and_form(reply: str, labels: tuple[str, ...], answer: str | None) -> None:
    assert find_label(reply, labels) == answer


@pytest.mark.parametrize(("gold", "reply", "strict", "lenient"), NUMBERS)
def test_numbers(gold: str, reply: str, strict: bool, lenient: bool) -> None:
    score = score_number(gold, reply)
    assert (score.strict, score.lenient) == (strict, lenient)


@pytest.mark.parametrize(("gold", "reply", "lenient"), SOLUTIONS)
def test_solutions(gold: str, reply: str, lenient: bool) -> None:
    assert score_final_number(gold, reply).lenient == lenient


@pytest.mark.parametrize(("gold", "reply", "strict", "lenient"), SPANS)
def test_short_texts(gold: str, reply: str, strict: bool, lenient: bool) -> None:
    score = score_span(gold, reply)
    assert (score.strict, score.lenient) == (strict, lenient)


@pytest.mark.parametrize(("reply", "lenient"), ENTITIES)
def test_entities(reply: str, lenient: bool) -> None:
    assert score_entities(GOLD, reply).lenient == lenient


@pytest.mark.parametrize("reply", ["none", "None.", "No entities.", "There are no named entities in the text.", "N/A"])
def test_no_entities_is_an_answer(reply: str) -> None:
    assert score_entities("none", reply).lenient


def test_f1_counts_characters_where_words_are_not_spaced() -> None:
    assert score_span("北京大学", "北京").details["f1"] == pytest.approx(2 / 3)
    assert score_span("北京", "上海").details["f1"] == 0.0


HOSTILE = ("9" * 5000, "The answer is " + "9" * 5000, "3 or " + "9" * 50_000, "\ud800", "\x00", "#### " + "1" * 4400)
JUDGED = [name for name in tasks.names() if tasks.card(name).kind not in ("corpus", "code")]


@pytest.mark.parametrize("name", JUDGED)
def test_no_reply_stops_a_scorer_and_a_reply_judged_again_is_judged_alike(name: str) -> None:
    task = tasks.load(name, WordSets((), ()), rows=lambda part: ())
    strata = {"index": 3, "index_from_end": 3, "from_end": False, "letter": "r", "separator": "hyphen"}
    example = Example("x", name, "…", "3", "strawberry", strata=strata, options=("x", "y"))
    for reply in HOSTILE:
        score = task.score(example, reply)
        assert not score.lenient and repr(task.score(example, reply)) == repr(score)


def test_a_scorer_is_known_by_its_code() -> None:
    versions = {name: tasks.load(name, WordSets((), ()), rows=lambda part: ()).scorer for name in JUDGED}
    assert all(len(version) == 12 for version in versions.values())
    assert versions["count"] != versions["position"] != versions["gsm8k"]


def test_there_are_more_than_250_replies() -> None:
    by_hand = sum(len(table) for table in (LETTERS, LABEL_REPLIES, OTHER_LABELS, NUMBERS, SOLUTIONS, SPANS, ENTITIES))
    assert by_hand > 290 and len(_cases(TO_ONE)) + len(_cases(TO_NONE)) > 500
