"""What a person sees of their own data through `graft check`: one line for every mistake, and a page for everything."""

from __future__ import annotations

import csv
import json
import os
import random
import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from graft.cli.main import main
from graft.config.loading import load_recipe
from graft.config.naming import run_name
from graft.pipeline.prepare.taskbook import labels
from graft.pipeline.prepare.validate import validate

ROOT = Path(__file__).parents[2]
DATA = os.environ.get("GRAFT_TEST_DATA")
WORDS = """
market shares fall rise bank oil profit loss deal growth cut raise price sales report week year trade plan fund rate
bond yield stock quarter forecast demand supply export import wage tax
""".split()  # noqa: SIM905
OWN = """\
    - name: own
      train: {train}
      eval: eval.csv
      prompt: "Good or bad?\\n\\n{{text}}\\nAnswer:"
      label: label
"""


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def table(rows: int, seed: int, labels: tuple[str, ...] = ("bad", "good")) -> str:
    rng = random.Random(seed)
    lines = (f"{' '.join(rng.choices(WORDS, k=12))},{rng.choice(labels)}\n" for _ in range(rows))
    return "text,label\n" + "".join(lines)


def recipe(tasks: str, train: str = "own") -> str:
    text = f"data:\n  train: {train}\n  tasks:\n{tasks}"
    Path("recipe.yaml").write_text(text, encoding="utf-8")
    return "recipe.yaml"


def own(train: str = "train.csv", more: str = "") -> str:
    return OWN.format(train=train) + more


MISTAKES = {
    "rates": (
        lambda: recipe(own(), "[{task: own, rate: 0.5}, {task: spelling, rate: 0.25}]"),
        "data: the rates must sum to 1, but 0.5 + 0.25 = 0.75",
    ),
    "one name twice": (
        lambda: recipe(own() + own()),
        "data: the names of tasks must differ, but own is there more than once",
    ),
    "missing column": (
        lambda: (Path("col.csv").write_text("review,label\nfine,good\n"), recipe(own("col.csv")))[1],
        "task own: prompt uses {text}, but col.csv has no such column. Known: label, review.",
    ),
    "missing column of a dataset": (
        lambda: (
            Path("col.csv").write_text("review,label\nfine,1\n"),
            recipe("    - {name: own, like: imdb, train: col.csv, eval: eval.csv}\n"),
        )[1],
        "task own is like imdb, which reads text, label, but col.csv has review, label; name the one for text in "
        "columns",
    ),
    "unknown label": (
        lambda: (
            Path("lab.csv").write_text("text,label\nfine,good\nso so,meh\n"),
            recipe(own("lab.csv", "      labels: [good, bad]\n")),
        )[1],
        "task own: lab.csv, line 3: label is 'meh', which is no label. Known: bad, good.",
    ),
    "unknown label of a dataset": (
        lambda: (
            Path("lab.csv").write_text("text,label\nfine,1\nso so,7\n"),
            recipe("    - {name: own, like: imdb, train: lab.csv, eval: lab.csv}\n"),
        )[1],
        "task own, row 1: label '7' is unknown; known: 0 (negative), 1 (positive)",
    ),
    "empty file": (
        lambda: (Path("none.csv").write_text(""), recipe(own("none.csv")))[1],
        "none.csv: the file is empty; give one with a header and rows",
    ),
    "header alone": (
        lambda: (Path("none.csv").write_text("text,label\n"), recipe(own("none.csv")))[1],
        "none.csv: there is a header (text, label) but no row under it",
    ),
    "wrong encoding": (
        lambda: (
            Path("enc.csv").write_bytes("text,label\ncafé,good\n".encode("latin-1")),
            recipe(own("enc.csv", "      encoding: utf-8\n")),
        )[1],
        "enc.csv: 1 line cannot be used: line 2: byte 0xe9 at column 4 is not utf-8; mend or delete them",
    ),
    "lists of different lengths": (
        lambda: (
            Path("lists.json").write_text(json.dumps({"text": ["a", "b", "c"], "label": ["good", "bad"]})),
            recipe(own("lists.json")),
        )[1],
        "lists.json: the lists by column must be equally long, but their lengths are text 3, label 2",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_in_the_data_is_one_line_and_leaves_nothing_behind(
    mistake: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("train.csv").write_text(table(80, 0), encoding="utf-8")
    Path("eval.csv").write_text(table(40, 1), encoding="utf-8")
    write, said = MISTAKES[mistake]
    assert main(["check", write()]) == 2
    shown = capsys.readouterr()
    errors = [line for line in shown.err.splitlines() if not line.startswith("✓")]
    assert len(errors) == 1, shown.err
    assert errors[0].startswith("error: ")
    assert said in errors[0]
    assert shown.out == ""
    assert not [path for path in Path("runs").rglob("*") if path.is_file()]


def test_warnings_end_in_1_only_when_asked_to(capsys: pytest.CaptureFixture[str]) -> None:
    Path("train.csv").write_text(table(80, 0), encoding="utf-8")
    Path("eval.csv").write_text(table(40, 1), encoding="utf-8")
    assert main(["check", recipe(own()), "study.seeds=[0]"]) == 0
    assert main(["check", recipe(own()), "study.seeds=[0]", "--strict"]) == 1
    assert "warning: study.seeds has 1" in capsys.readouterr().err


@pytest.fixture
def tweets() -> Callable[[int], str]:
    """A recipe on every fourth tweet, and one in so many held-out tweets among the training rows."""

    def write(every: int) -> str:
        folder = Path(str(DATA)) / "twitter_fin_sentiment"
        with (folder / "sent_train.csv").open(newline="", encoding="utf-8") as file:
            header, *trained = csv.reader(file)
        with (folder / "sent_valid.csv").open(newline="", encoding="utf-8") as file:
            leaked = list(csv.reader(file))[1::every] if every else []
        with Path("tweets.csv").open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([header, *trained[::4], *leaked])
        recipe(
            f"    - {{name: own, like: twitter-financial-sentiment, train: tweets.csv, "
            f"eval: {folder / 'sent_valid.csv'}}}\n"
        )
        return "recipe.yaml"

    return write


SMALL = ("eval.items=600", "eval.seen_items=0", "eval.calibration_items=100", "train.max_steps=2")


@pytest.mark.skipif(DATA is None, reason="GRAFT_TEST_DATA is unset, and the real tweets lie there")
def test_held_out_tweets_among_the_training_rows_stop_the_run_and_are_listed(
    tweets: Callable[[int], str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", tweets(20), "--html", "page.html", *SMALL]) == 2
    shown = capsys.readouterr()
    found = re.search(r"leak audit failed: (\d+) of (\d+) held-out items of own \(([\d.]+)%\)", shown.err)
    assert found is not None, shown.err
    assert 4.0 <= float(found[3]) <= 8.0, "one in twenty was put there, and a few were there before"
    assert "check.max_leaked is 1.0%" in shown.err
    assert re.search(r"first: own/\d+ in own/\d+, exact", shown.err), "the held-out row and the training row"
    assert shown.out == ""
    page = Path("page.html").read_text(encoding="utf-8")
    listed = re.findall(r"<li>(?:exact|near), [\d.]+: held out own/\d+, trained own/\d+: “(?!Classify)", page)
    assert len(listed) == 20
    assert main(["check", "recipe.yaml", *SMALL, "check.max_leaked=0.1"]) == 0


@pytest.mark.skipif(DATA is None, reason="GRAFT_TEST_DATA is unset, and the real tweets lie there")
def test_the_page_of_real_tweets_holds_trained_tokens_and_leaks_below_the_limit(
    tweets: Callable[[int], str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", tweets(0), "--strict", *SMALL, "check.max_leaked=0.05"]) == 1
    shown = capsys.readouterr()
    assert "⟦" in shown.out
    assert re.search(r"⟦(bearish|bullish|neutral)<\|im_end\|>⟧", shown.out), "what is trained stands in brackets"
    page = Path("runs/preflight.html").read_text(encoding="utf-8")
    trained = "".join(re.findall(r'<span class="k-trained">([^■<]*)</span>', page))
    assert re.match(r"(bearish|bullish|neutral)&lt;\|im_end\|&gt;", trained)
    assert "Held-out items among the training rows" in page
    assert "neutral" in page.partition("Examples</h2>")[2]
    assert not re.search(r"\b(src|href)=|@import", page), "nothing is loaded from elsewhere"


def test_the_shipped_recipe_for_own_tables_checks_with_the_table_beside_it(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    assert main(["check", "recipes/classify.yaml", f"runs={tmp_path}/runs"]) == 0
    shown = capsys.readouterr()
    assert "Label complaint, praise, question. 49 train, 11 eval; from messages.csv: CSV, UTF-8, 60 rows" in shown.out
    assert re.search(r"⟦(complaint|praise|question)<\|im_end\|>⟧", shown.out)
    assert "repeat" not in shown.err, "ten passes over the rows are no repeated rows"


def test_the_shipped_mixture_names_its_run_after_its_sources_and_rates() -> None:
    recipe = load_recipe(ROOT / "recipes/mixture.yaml").recipe
    validate(recipe.model_copy(update={"runs": Path("runs")}))
    assert "_mix_imdb-sentiment-70_glue-sst2-30_sft_" in run_name(
        recipe, datetime(2026, 1, 2, tzinfo=UTC), labels(recipe)
    )
