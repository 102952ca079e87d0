from __future__ import annotations

import html
import math
import os
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.report.run_builder import RunBuilder

from graft.errors import RunError
from graft.pipeline.branches import Branch
from graft.pipeline.judge.labels import label_study, label_task, write_labels
from graft.report.html import render, write_report
from graft.report.labels import LabelSection, label_sections
from graft.report.load import load
from graft.runs.directory import RunDirectory
from graft.runs.files import write_json
from graft.stats.label_study import LabelStudy
from graft.stats.plain import to_json
from graft.tasks.datasets.twitter_financial_topic import TwitterFinancialTopicTask

SENTIMENT = ("bearish", "bullish", "neutral")
TOPICS = TwitterFinancialTopicTask.labels
LETTERS = tuple("ABCDEFGHIJ")
SKILL = {"base": 0.6, "trained": 2.2, "format": 0.7}


def records(
    options: tuple[str, ...], arm: str, n: int, *, seed: int = 0, split: str = "eval", sure: float = 2.5, few: int = 0
) -> list[dict[str, Any]]:
    """Scores of a model whose skill depends on the arm and which is too sure by the factor `sure`."""
    truth = np.random.default_rng([len(options), n, split == "eval"])
    noise = np.random.default_rng([seed, len(options), len(arm), split == "eval"])
    found = []
    for index in range(n):
        own = options[: len(options) - (index % few if few else 0)]
        gold = int(truth.choice(len(own), p=_shares(len(own))))
        scores = noise.normal(0, 1, len(own))
        scores[gold] += SKILL[arm]
        best = own[int(scores.argmax())]
        scores *= SKILL[arm]  # now they are log-odds: answers are as likely as their softmax says
        parsed = bool(noise.uniform() < 0.9)
        reply = best if noise.uniform() < 0.93 else own[gold - 1]
        found.append(
            {
                "id": f"{split}/{index}",
                "split": split,
                "word": "",
                "gold": own[gold],
                "options": list(own),
                "option_scores": (sure * scores).tolist(),
                "label_choice": best,
                "label_right": best == own[gold],
                "label_way": "sum",
                "strata": {"category": ("law", "physics", "business")[index % 3]},
                "reply": reply if parsed else "I think so",
                "parsed": parsed,
                "strict": parsed and reply == own[gold],
                "lenient": parsed and reply == own[gold],
                "answer": reply.lower() if parsed else None,
            }
        )
    return found


def _shares(count: int) -> np.ndarray:
    weights = 1.0 / np.arange(1, count + 1)
    return weights / weights.sum()


TASKS = {"twitter-sentiment": SENTIMENT, "twitter/topic": TOPICS, "mmlu-pro": LETTERS}


def made(n: int = 300, seeds: tuple[int, ...] = (0, 1), resamples: int = 200) -> LabelStudy:
    branches = [
        Branch("base"),
        *(Branch("trained", seed) for seed in seeds),
        *(Branch("format", seed) for seed in seeds),
    ]

    def of(branch: Branch, split: str, count: int) -> dict[str, list[dict[str, Any]]]:
        few = {"mmlu-pro": 5}
        return {
            task: records(options, branch.arm, count, seed=branch.seed or 0, split=split, few=few.get(task, 0))
            for task, options in TASKS.items()
        }

    scored = {branch: of(branch, "eval", n) for branch in branches}
    fitted = {branch: of(branch, "calibration", n) for branch in branches}
    return label_study(scored, fitted, resamples=resamples)


@pytest.fixture(scope="module")
def study() -> LabelStudy:
    return made()


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory, study: LabelStudy) -> Path:
    """A run with three tasks of labels and its report."""
    folder = RunBuilder(tmp_path_factory.mktemp("labels") / "runs")(words=10, seen=0, study=False)
    write_json(folder / "labels.json", to_json(study))
    write_report(folder)
    return folder


@pytest.fixture(scope="module")
def sections(labelled: Path) -> tuple[LabelSection, ...]:
    return label_sections(load(labelled))


def test_the_study_is_the_same_after_it_was_stored(study: LabelStudy, labelled: Path) -> None:
    assert to_json(load(labelled).labels) == to_json(study)


def test_kinds_are_told_by_the_options(study: LabelStudy) -> None:
    assert [(task.task, task.kind, len(task.labels)) for task in study.tasks] == [
        ("twitter-sentiment", "classification", 3),
        ("twitter/topic", "classification", 20),
        ("mmlu-pro", "choice", 10),
    ]


def test_accuracy_of_an_arm_is_the_mean_over_its_seeds(study: LabelStudy) -> None:
    arm = next(arm for arm in study.tasks[0].arms if arm.arm == "trained")
    own = [np.mean([r["label_right"] for r in records(SENTIMENT, "trained", 300, seed=seed)]) for seed in (0, 1)]
    assert arm.scores.accuracy.estimate == pytest.approx(np.mean(own))
    assert arm.scores.accuracy.low < arm.scores.accuracy.estimate < arm.scores.accuracy.high


def test_the_temperature_comes_from_the_other_rows_and_mends_these(study: LabelStudy) -> None:
    for arm in study.tasks[0].arms:
        assert arm.calibrated is not None
        assert all(t.n == 300 and t.value > 1 for t in arm.temperatures)
        assert arm.calibrated.ece < arm.raw.ece
        assert arm.calibrated.brier < arm.raw.brier


def test_without_other_rows_nothing_is_calibrated_and_the_reason_is_shown() -> None:
    task = label_task("t", {"base": [records(SENTIMENT, "base", 60)]}, {}, resamples=50)
    assert task.arms[0].calibrated is None
    assert task.arms[0].temperatures[0].reason == "no items to fit it on"


def test_a_gain_of_training_is_a_paired_change(study: LabelStudy) -> None:
    found = {(c.before, c.measure): c.change for c in study.tasks[0].changes}
    assert set(found) == {(arm, m) for arm in ("base", "format") for m in ("accuracy", "macro_f1", "mcc")}
    assert found["base", "accuracy"].interval.low > 0
    assert found["base", "accuracy"].seeds == 2


def test_agreement_counts_equal_labels_and_an_unread_reply_as_none() -> None:
    rows = records(SENTIMENT, "base", 4)
    for row, (reply, parsed) in zip(rows, [("same", True), ("Same.", True), ("other", True), ("", False)], strict=True):
        answer = row["label_choice"].upper() + "." if "ame" in reply else "other"
        row |= {"reply": reply, "parsed": parsed, "answer": answer if parsed else None}
    free = label_task("t", {"base": [rows]}, {}, resamples=20).arms[0].generation
    assert free is not None
    assert (free.agreement, free.agreement_parsed, free.parsed) == (0.5, pytest.approx(2 / 3), 0.75)


def test_options_of_each_rows_own_are_a_choice_between_places() -> None:
    rows = records(("x", "y", "z"), "base", 30)
    for index, row in enumerate(rows):
        row["options"] = [f"{option}{index}" for option in row["options"]]
        row["gold"], row["label_choice"] = f"{row['gold']}{index}", f"{row['label_choice']}{index}"
    task = label_task("t", {"base": [rows]}, {}, resamples=20)
    assert (task.kind, task.labels) == ("choice", ("option 1", "option 2", "option 3"))
    assert task.arms[0].scores.accuracy.estimate == pytest.approx(np.mean([row["label_right"] for row in rows]))


def test_categories_hold_the_accuracy_of_their_items(study: LabelStudy) -> None:
    task = study.tasks[2]
    assert task.stratum == "category" and [category.name for category in task.categories] == [
        "business",
        "law",
        "physics",
    ]
    assert sum(category.n for category in task.categories) == task.n
    own = [r["label_right"] for r in records(LETTERS, "base", 300, few=5) if r["strata"]["category"] == "law"]
    assert task.categories[1].accuracy["base"] == pytest.approx(np.mean(own))


def test_records_without_label_scores_have_no_file(tmp_path: Path) -> None:
    plain = [{"id": "1", "split": "eval", "gold": "a"}]
    run = RunDirectory.create(tmp_path, "plain")
    assert write_labels(run, {Branch("base"): {"spelling": plain}}, {}, resamples=10) is None
    assert not (run.path / "labels.json").exists()


def test_every_task_has_its_section(sections: tuple[LabelSection, ...]) -> None:
    assert [section.title for section in sections] == [f"Labels: {task}" for task in TASKS]
    headings = [[part.title for part in section.parts] for section in sections]
    rest = ["Calibration", "Likeliest label and free reply"]
    assert headings[0] == headings[1] == ["", "", "Confusions", "By class", *rest]
    assert headings[2] == ["", "", "By category", *rest]


def test_a_choice_shows_accuracy_alone(sections: tuple[LabelSection, ...]) -> None:
    overview = sections[2].parts[0].table
    assert overview is not None and overview.columns == ("Arm", "Accuracy", "Seeds")


def test_the_page_shows_the_numbers_that_were_stored(labelled: Path, study: LabelStudy) -> None:
    page = (labelled / "report.html").read_text()
    task = study.tasks[0]
    for arm in task.arms:
        assert f"{100 * arm.scores.accuracy.estimate:.1f}% [{100 * arm.scores.accuracy.low:.1f}" in page
        assert f"{arm.raw.ece:.3f}" in page
    assert f"would be right in {100 * task.majority:.1f}%" in page
    names = {path.name for path in (labelled / "figures").glob("labels-*.svg")}
    assert {"labels-twitter-sentiment-confusion-base.svg", "labels-twitter-topic-confusion-trained.svg"} <= names
    assert "labels-mmlu-pro-reliability-trained.svg" in names
    assert not any("mmlu-pro-confusion" in name for name in names)


def test_the_heat_map_holds_the_shares_of_every_answer(labelled: Path, study: LabelStudy) -> None:
    svg = (labelled / "figures" / "labels-twitter-sentiment-confusion-base.svg").read_text()
    table = next(arm for arm in study.tasks[0].arms if arm.arm == "base").scores.confusion
    for row in table:
        for value in row:
            assert re.search(rf">{100 * value / sum(row):.0f}</text>", svg)


def test_undefined_numbers_have_a_footnote(tmp_path: Path) -> None:
    rows = records(SENTIMENT, "base", 40)
    for row in rows:
        row["label_choice"], row["label_right"] = "bearish", row["gold"] == "bearish"
    folder = RunBuilder(tmp_path)(words=10, seen=0, study=False)
    task = label_task("t", {"base": [rows]}, {}, resamples=50)
    assert math.isnan(task.arms[0].scores.mcc.estimate)
    write_json(folder / "labels.json", to_json(LabelStudy((task,))))
    files = load(folder)
    page = html.unescape(render(files, (), label_sections(files)))
    for reason in ("all answers or all calls are one class", "no item was called so", "no items to fit it on"):
        assert f"<li>{reason}</li>" in page


def test_a_run_without_labels_has_no_such_section(tmp_path: Path) -> None:
    files = load(RunBuilder(tmp_path)(words=10, seen=0, study=False))
    assert label_sections(files) == ()
    assert "labels-" not in render(files, (), label_sections(files))


def test_damaged_labels_name_the_field(tmp_path: Path) -> None:
    folder = RunBuilder(tmp_path)(words=10, seen=0, study=False)
    write_json(folder / "labels.json", {"tasks": [{"task": "t"}]})
    with pytest.raises(RunError, match=r"labels.json.tasks\[0\] is damaged: it must have 'kind'"):
        load(folder)


CHROMIUM = os.environ.get("GRAFT_CHROMIUM") or next(
    filter(None, map(shutil.which, ("chromium", "google-chrome"))), None
)


@pytest.mark.skipif(not CHROMIUM, reason="no browser on PATH and GRAFT_CHROMIUM not set")
def test_the_label_sections_fit_a_phone(labelled: Path, tmp_path: Path) -> None:
    from tests.report.test_report_browser import attribute, browse, framed

    page = tmp_path / "page.html"
    page.write_text((labelled / "report.html").read_text())
    width = "document.body.dataset.width = contentDocument.documentElement.scrollWidth"
    assert int(attribute(browse(framed(page, width), tmp_path / "profile"), "width")) <= 390
