"""Real datasets through the local-file path: a recipe block, its task, every row and one example word for word."""

from __future__ import annotations

import json
import os
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from graft.config.loading import load_recipe
from graft.pipeline.prepare.taskbook import TaskBook
from graft.pipeline.progress import SilentProgress
from graft.pipeline.run import run
from graft.tasks.dataset import DatasetTask
from graft.types import Example, Message

DATA = os.environ.get("GRAFT_TEST_DATA")
pytestmark = pytest.mark.skipif(DATA is None, reason="GRAFT_TEST_DATA is unset, and the real rows lie there")

Load = Callable[[str], DatasetTask]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """The only task of a recipe, given as the lines of its block; ``DATA`` stands for the folder of real data."""

    def of(block: str) -> DatasetTask:
        lines = "\n".join(f"      {line}" for line in block.replace("DATA", str(DATA)).strip().splitlines())
        path = tmp_path / "recipe.yaml"
        path.write_text(f"data:\n  train: own\n  tasks:\n    - name: own\n{lines}\n", encoding="utf-8")
        task = TaskBook(load_recipe(path).recipe, None).load("own")
        assert isinstance(task, DatasetTask)
        return task

    return of


def every(task: DatasetTask, part: str) -> list[Example]:
    rows = task.rows(part)
    found = [task.example(rows[index], index) for index in range(len(rows))]
    return [example for example in found if example is not None]


def balance(examples: list[Example]) -> dict[str, int]:
    return dict(Counter(example.gold for example in examples))


def named(examples: list[Example], name: str) -> Example:
    return next(example for example in examples if example.id == name)


def test_gsm8k(load: Load) -> None:
    task = load("like: gsm8k\ntrain: DATA/gsm8k/train.jsonl\neval: DATA/gsm8k/test.jsonl")
    held_out = every(task, "eval")
    assert (len(every(task, "train")), len(held_out)) == (7473, 1319)
    assert len({example.id for example in held_out}) == 1319
    assert held_out[0].id == "own/0"
    assert held_out[0].prompt == (
        "Janet’s ducks lay 16 eggs per day. She eats three for breakfast every morning and bakes muffins for her "
        "friends every day with four. She sells the remainder at the farmers' market daily for $2 per fresh duck egg. "
        "How much in dollars does she make every day at the farmers' market?\n\n"
        "Solve it step by step. End with a line that holds #### and the final number."
    )
    assert held_out[0].gold == (
        "Janet sells 16 - 3 - 4 = <<16-3-4=9>>9 duck eggs a day.\n"
        "She makes 9 * 2 = $<<9*2=18>>18 every day at the farmer’s market.\n#### 18"
    )
    assert task.score(held_out[0], "It is 18 dollars.\n#### 18").strict


def test_twitter_sentiment(load: Load) -> None:
    task = load(
        "like: twitter-financial-sentiment\n"
        "train: DATA/twitter_fin_sentiment/sent_train.csv\neval: DATA/twitter_fin_sentiment/sent_valid.csv"
    )
    held_out = every(task, "eval")
    assert balance(every(task, "train")) == {"neutral": 6178, "bullish": 1923, "bearish": 1442}
    assert balance(held_out) == {"neutral": 1566, "bullish": 475, "bearish": 347}
    assert held_out[0].prompt == (
        "Classify the sentiment of this financial tweet as 'bearish', 'bullish' or 'neutral'.\n\n"
        "Tweet: $ALLY - Ally Financial pulls outlook https://t.co/G9Zdi1boy5\nSentiment:"
    )
    assert (held_out[0].id, held_out[0].gold) == ("own/0", "bearish")
    [majority] = set(task.trivial_answers(held_out)["majority"])
    assert sum(example.gold == majority for example in held_out) == 1566 and len(held_out) == 2388


def test_cola_in_tab_separated_files_without_a_header(load: Load) -> None:
    header = "like: glue/cola\nheader: [source, label, star, sentence]\n"
    task = load(f"{header}train: DATA/cola/in_domain_train.tsv\neval: DATA/cola/in_domain_dev.tsv")
    held_out = every(task, "eval")
    assert balance(every(task, "train")) == {"acceptable": 6023, "unacceptable": 2528}
    assert balance(held_out) == {"acceptable": 365, "unacceptable": 162}
    assert balance(every(load(f"{header}eval: DATA/cola/out_of_domain_dev.tsv"), "eval")) == {
        "acceptable": 354,
        "unacceptable": 162,
    }
    assert held_out[4].prompt == (
        "Determine if this sentence is grammatically acceptable or unacceptable.\n\n"
        "Sentence: As you eat the most, you want the least.\nGrammar:"
    )
    assert held_out[4].gold == "unacceptable"
    lines = (Path(str(DATA)) / "cola/in_domain_train.tsv").read_text(encoding="utf-8").split("\n")
    assert [row["sentence"] for row in task.rows("train")] == [line.split("\t")[3] for line in lines if line]


def test_rt_polarity_in_two_latin_1_files_whose_names_are_the_labels(load: Load) -> None:
    task = load(
        "train: DATA/rt_polarity\nunit: line\nencoding: latin-1\n"
        'prompt: "Is this sentence of a film review positive or negative?\\n\\n{text}\\nSentiment:"\n'
        "label: file\nlabels: {rt-polarity.neg: negative, rt-polarity.pos: positive}"
    )
    train, held_out = every(task, "train"), every(task, "eval")
    assert balance([*train, *held_out]) == {"negative": 5331, "positive": 5331}
    assert balance(train) == {"negative": 4786, "positive": 4826}
    assert not {example.prompt for example in train} & {example.prompt for example in held_out}
    example = next(example for example in (*train, *held_out) if "too-tepid" in str(example.prompt))
    assert example.prompt == (
        "Is this sentence of a film review positive or negative?\n\neffective but too-tepid biopic\nSentiment:"
    )
    assert example.gold == "positive"
    assert any("é" in str(example.prompt) for example in train), "accents are read as latin-1"


def test_movie_reviews_in_a_folder_for_each_label(load: Load, tmp_path: Path) -> None:
    with zipfile.ZipFile(Path(str(DATA)) / "movie_reviews" / "movie_reviews.zip") as archive:
        reviews = [name for name in archive.namelist() if name.endswith(".txt")]
        archive.extractall(tmp_path, reviews)
    task = load(
        f"train: {tmp_path}/movie_reviews\nlabel: label\nlabels: {{neg: negative, pos: positive}}\n"
        "prompt: \"Classify the sentiment of this movie review as either 'positive' or 'negative'."
        '\\n\\nReview: {text}\\nSentiment:"'
    )
    train, held_out = every(task, "train"), every(task, "eval")
    assert (len(train), len(held_out)) == (1799, 201)
    assert balance([*train, *held_out]) == {"negative": 1000, "positive": 1000}
    shortest = min((*train, *held_out), key=lambda example: len(example.prompt or ""))
    assert shortest.prompt == (
        "Classify the sentiment of this movie review as either 'positive' or 'negative'.\n\n"
        "Review: this film is extraordinarily horrendous and i'm not going to waste any more words on it .\nSentiment:"
    )
    assert shortest.gold == "negative"


def test_convfinqa_as_its_makers_released_it(load: Load) -> None:
    task = load("like: finance-tasks/convfinqa\neval: DATA/convfinqa/convfinqa_dev.json")
    turns = every(task, "eval")
    assert (len(turns), len({turn.cluster for turn in turns})) == (1490, 421)
    first, second = (turn for turn in turns if turn.cluster == turns[0].cluster and turn.strata["turn"] in (1, 2))
    assert (first.id, first.gold) == ("own/Single_MRO/2007/page_134.pdf-1/1", "60.94")
    assert (second.prompt, second.gold) == ("and what was it in 2005?", "25.14")
    assert second.history == (Message("user", str(first.prompt)), Message("assistant", "60.94"))
    page = min((turn for turn in turns if turn.strata["turn"] == 1), key=lambda turn: len(turn.prompt or ""))
    assert page.prompt == (
        "federal realty investment trust schedule iii summary of real estate and accumulated depreciation "
        "2014continued three years ended december 31 , 2005 reconciliation of accumulated depreciation and "
        "amortization .\n\n"
        "|  | $ 450697000 |\n"
        "| additions during period 2014depreciation and amortization expense | 83656000.0 |\n"
        "| deductions during period 2014disposition and retirements of property | -15244000.0 |\n"
        "| balance december 31 2003 | 514177000.0 |\n"
        "| balance december 31 2004 | 595338000.0 |\n"
        "| balance december 31 2005 | 663750000.0 |\n\n.\n\n"
        "Answer every question with a number alone.\n\n"
        "what is the value of accumulated depreciation and amortization at the end of 2005?"
    )
    assert page.gold == "663750000"


def test_mmlu_pro(load: Load) -> None:
    task = load("like: mmlu-pro\neval: DATA/mmlu_pro/mmlu_pro_test_first3000.jsonl")
    questions = every(task, "eval")
    assert len(task.rows("eval")) == 3000
    assert len(questions) == 2998, "two rows have one option alone"
    assert balance(questions) == {
        "A": 343, "B": 332, "C": 307, "D": 301, "E": 324, "F": 287, "G": 329, "H": 265, "I": 282, "J": 228,
    }  # fmt: skip
    assert questions[0].prompt == (
        "Answer this multiple choice question about business with the letter of the right option.\n\n"
        "Question: Typical advertising regulatory bodies suggest, for example that adverts must not: encourage "
        "_________, cause unnecessary ________ or _____, and must not cause _______ offence.\n"
        "A. Safe practices, Fear, Jealousy, Trivial\n"
        "B. Unsafe practices, Distress, Joy, Trivial\n"
        "C. Safe practices, Wants, Jealousy, Trivial\n"
        "D. Safe practices, Distress, Fear, Trivial\n"
        "E. Unsafe practices, Wants, Jealousy, Serious\n"
        "F. Safe practices, Distress, Jealousy, Serious\n"
        "G. Safe practices, Wants, Fear, Serious\n"
        "H. Unsafe practices, Wants, Fear, Trivial\n"
        "I. Unsafe practices, Distress, Fear, Serious\nAnswer:"
    )
    assert (questions[0].gold, questions[0].options) == ("I", tuple("ABCDEFGHI"))


def test_bigcodebench_in_compressed_lines(load: Load) -> None:
    task = load("like: bigcodebench\neval: DATA/bigcodebench/BigCodeBench.jsonl.gz")
    examples = every(task, "eval")
    assert len(examples) == 1140
    assert examples[0].id == "own/BigCodeBench/0"
    assert examples[0].prompt == (
        "Calculates the average of the sums of absolute differences between each pair of consecutive numbers for all "
        "permutations of a given list. Each permutation is shuffled before calculating the differences. Args: - "
        "numbers (list): A list of numbers. Default is numbers from 1 to 10.\n"
        "The function should output with:\n"
        "    float: The average of the sums of absolute differences for each shuffled permutation of the list.\n"
        "You should write self-contained code starting with:\n"
        "```\nimport itertools\nfrom random import shuffle\ndef task_func(numbers=list(range(1, 3))):\n```"
    )
    assert examples[0].gold == (
        "```python\nimport itertools\nfrom random import shuffle\ndef task_func(numbers=list(range(1, 3))):\n"
        "    permutations = list(itertools.permutations(numbers))\n    sum_diffs = 0\n\n"
        "    for perm in permutations:\n        perm = list(perm)\n        shuffle(perm)\n"
        "        diffs = [abs(perm[i] - perm[i+1]) for i in range(len(perm)-1)]\n        sum_diffs += sum(diffs)\n\n"
        "    avg_sum_diffs = sum_diffs / len(permutations)\n    \n    return avg_sum_diffs\n```"
    )


def test_wikitext_as_raw_text(load: Load) -> None:
    files = "train: DATA/wikitext2/valid.txt\neval: DATA/wikitext2/test.txt"
    lines = load(f"like: wikitext\nunit: line\n{files}")
    held_out = every(lines, "eval")
    assert (len(every(lines, "train")), len(held_out)) == (2461, 2891)
    assert (held_out[0].prompt, held_out[0].gold) == (None, "= Robert <unk> =")
    paragraphs = load(files)
    assert paragraphs.card.kind == "corpus"
    assert (len(every(paragraphs, "train")), len(every(paragraphs, "eval"))) == (1160, 1320)
    assert every(paragraphs, "train")[0].gold == "= Homarus gammarus ="


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.timeout(600)
def test_a_short_training_of_the_embedded_model_beats_always_giving_the_most_frequent_label(tmp_path: Path) -> None:
    folder = Path(str(DATA)) / "twitter_fin_sentiment"
    block = {
        "name": "tweets",
        "train": str(folder / "sent_train.csv"),
        "eval": str(folder / "sent_valid.csv"),
        "prompt": "{text}\nSentiment:",
        "label": "label",
        "labels": {"0": "bearish", "1": "bullish", "2": "neutral"},
    }
    settings = {
        "data": {"train": "tweets", "tasks": [block], "max_length": 96},
        "adapter": {"kind": "none"},
        "train": {"max_steps": 100, "batch_size": 32, "learning_rate": 8e-4, "warmup_steps": 10},
        "eval": {"items": 900, "seen_items": 0, "calibration_items": 100},
        "sampling": {"max_new_tokens": 3},
        "study": {"arms": ["trained"]},
        "check": {"max_leaked": 0.1},  # one tweet in eighteen stands in both files, most without its link or symbol
        "runs": str(tmp_path / "runs"),
    }
    path = tmp_path / "recipe.yaml"
    path.write_text(json.dumps(settings), encoding="utf-8")
    outcome = run(load_recipe(path), progress=SilentProgress())
    (task,) = json.loads((outcome.run.path / "labels.json").read_text(encoding="utf-8"))["tasks"]
    accuracy = task["arms"][0]["scores"]["accuracy"]
    assert task["n"] > 700
    assert 0.6 < task["majority"] < 0.7
    assert accuracy["low"] > task["majority"], f"{accuracy} against {task['majority']}"
