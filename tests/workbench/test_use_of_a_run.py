"""A trained arm answers files, and stands wherever a model is named."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from graft.cli.lookup import model_of
from graft.cli.main import main
from graft.config.loading import Resolved, load_recipe
from graft.errors import ConfigError, DataError, ModelError, RunError
from graft.models.adapted import base_of, ready
from graft.models.loading import load_model, load_tokenizer
from graft.pipeline.branches import branches
from graft.pipeline.places import final_folder, samples_path
from graft.pipeline.progress import SilentProgress
from graft.pipeline.run import run as run_all
from graft.pipeline.train.weights import load_branch
from graft.runs.directory import RunDirectory
from graft.runs.samples import read_samples
from graft.workbench import predict as predicting
from graft.workbench.chat import open_partners
from graft.workbench.predict import Predictor, open_predictor, predict

pytestmark = pytest.mark.slow

TEXTS = [f"{word} number {index}" for index in range(20) for word in ("late", "great", "where")]
KINDS = {"late": "complaint", "great": "praise", "where": "question"}


@pytest.fixture(scope="module")
def trained(small_recipe: Callable[..., Resolved], tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    """A run of a task of one's own, by adapters, trained and scored."""
    folder = tmp_path_factory.mktemp("use")
    rows = folder / "rows.csv"
    rows.write_text("text,kind\n" + "".join(f"{t},{KINDS[t.split()[0]]}\n" for t in TEXTS), encoding="utf-8")
    task = {"name": "mine", "train": str(rows), "held_out": 0.4, "prompt": "What is this? {text}", "label": "kind"}
    settings: dict[str, Any] = {
        "data__train": "mine", "data__tasks": [task], "eval__tasks": ["mine"], "study__arms": ["trained"],
        "adapter__r": 4, "eval__calibration_items": 8, "train__learning_rate": 0.05, "check__max_leaked": 1.0,
    }  # fmt: skip
    return run_all(small_recipe(folder / "runs", **settings), progress=SilentProgress()).run


@pytest.fixture(scope="module")
def predictor(trained: RunDirectory) -> Predictor:
    recipe = load_recipe(trained.recipe).recipe
    return open_predictor(recipe, "it", run=trained, branch=branches(recipe)[0])


def read(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def write(path: Path, lines: list[str], head: str = "id,text") -> Path:
    path.write_text("\n".join([head, *lines]) + "\n", encoding="utf-8")
    return path


def test_a_file_is_answered_as_the_run_was_scored(trained: RunDirectory, predictor: Predictor, tmp_path: Path) -> None:
    branch = branches(predictor.recipe)[0]
    scored = [row for row in read_samples(samples_path(trained, branch, "mine")) if row["split"] == "eval"]
    texts = [row["prompt"].removeprefix("What is this? ") for row in scored]
    file = write(tmp_path / "new.csv", [f"{index},{text}" for index, text in enumerate(texts)])
    done = predict(predictor, file, tmp_path / "out.csv", progress=SilentProgress())
    found = read(done.out)
    assert [row["text"] for row in found] == texts
    assert [row["label"] for row in found] == [row["label_choice"] for row in scored]
    for row in found:
        shares = sorted((float(row[f"p({kind})"]) for kind in KINDS.values()), reverse=True)
        assert sum(shares) == pytest.approx(1)
        assert (float(row["confidence"]), float(row["margin"])) == pytest.approx((shares[0], shares[0] - shares[1]))
    assert sum(done.labels.values()) == done.rows == len(texts)


def test_unsure_and_impossible_rows_keep_their_place(predictor: Predictor, tmp_path: Path) -> None:
    file = write(tmp_path / "new.csv", ["1,late", f"2,{'long ' * 600}", "3,=1+1", "4,-5"])
    done = predict(predictor, file, tmp_path / "out.csv", least=1.0, progress=SilentProgress())
    found = read(done.out)
    assert [row["label"] for row in found] == [""] * 4
    assert (done.errors, done.abstained) == (1, 3)
    assert "data.max_length" in found[1]["error"]
    assert [row["text"] for row in found[2:]] == ["'=1+1", "-5"]


def test_what_was_answered_before_a_stop_is_not_asked_again(
    predictor: Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(predicting, "CHUNK", 2)
    file, out = write(tmp_path / "new.csv", [f"{index},late {index}" for index in range(5)]), tmp_path / "out.jsonl"
    asked: list[int] = []
    answers = Predictor.answers

    def stopping(self: Predictor, rows: Any, first: int, least: float) -> Any:
        asked.append(first)
        if asked == [0, 2]:
            raise KeyboardInterrupt
        return answers(self, rows, first, least)

    monkeypatch.setattr(Predictor, "answers", stopping)
    with pytest.raises(KeyboardInterrupt):
        predict(predictor, file, out, progress=SilentProgress())
    predict(predictor, file, out, progress=SilentProgress())
    assert asked == [0, 2, 2, 4]
    lines = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    assert [line["id"] for line in lines] == ["0", "1", "2", "3", "4"]
    assert all(line["label"] for line in lines)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new.csv", "out.jsonl"]


def test_bad_files_are_refused_before_anything_is_asked(predictor: Predictor, tmp_path: Path) -> None:
    def ask(file: Path, out: str = "out.csv") -> None:
        predict(predictor, file, tmp_path / out, progress=SilentProgress())

    with pytest.raises(DataError, match="reads text, but the file has id, body; text is missing"):
        ask(write(tmp_path / "other.csv", ["1,late"], "id,body"))
    with pytest.raises(DataError, match="has a column label, which the answers need"):
        ask(write(tmp_path / "label.csv", ["1,late"], "label,text"))
    with pytest.raises(DataError, match="empty"):
        ask(write(tmp_path / "none.csv", [], ""))
    good = write(tmp_path / "good.csv", ["1,late"])
    with pytest.raises(ConfigError, match="must end in"):
        ask(good, "out.xlsx")
    with pytest.raises(ConfigError, match="which exists"):
        ask(good, "good.csv")


def test_an_arm_of_a_run_is_a_model_with_the_same_outputs(trained: RunDirectory, toy_folder: Path) -> None:
    recipe = load_recipe(trained.recipe).recipe
    branch = branches(recipe)[0]
    folder = model_of(f"{trained.name}:trained-seed0", trained.path.parent)
    assert folder == str(final_folder(trained, branch)) == model_of(trained.name, trained.path.parent)
    assert base_of(Path(folder))["model_id"] == str(toy_folder)
    with pytest.raises(ModelError, match="not merged here yet"):
        load_model(folder)
    ready(folder)
    ids = torch.tensor([load_tokenizer(folder).encode("What is this? late")])
    with torch.no_grad():
        own, alone = load_branch(trained, recipe, branch)(ids).logits, load_model(folder, device="cpu")(ids).logits
        base = load_model(str(toy_folder), device="cpu")(ids).logits
    assert torch.allclose(own, alone, atol=1e-4)
    assert not torch.allclose(base, alone, atol=1e-2)


def test_names_that_are_no_arm_are_told(trained: RunDirectory, tmp_path: Path) -> None:
    root = trained.path.parent
    assert model_of("sprout", root) == "sprout"
    assert model_of("qwen3:0.6b", root) == "qwen3:0.6b"
    with pytest.raises(ConfigError, match=r"no such arm.*trained-seed0"):
        model_of(f"{trained.name}:trained-seed7", root)
    (tmp_path / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "./gone"}), encoding="utf-8")
    with pytest.raises(ModelError, match=r"is an adapter of \./gone, which cannot be had"):
        ready(str(tmp_path))
    with pytest.raises(RunError, match="there is no run"):
        model_of("latest", tmp_path)


def test_training_goes_on_from_an_arm(trained: RunDirectory, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--model", f"{trained.name}:trained-seed0", "--task", "echo", "--max-steps", "1", "--json"]
    small = ["words.train=200", "words.eval=60", "eval.items=20", "eval.seen_items=0", "train.batch_size=2"]
    assert main(["--runs", str(trained.path.parent), "train", *arguments, *small]) == 0
    run = json.loads(capsys.readouterr().out)["run"]
    begun = load_recipe(Path(run) / "recipe.yaml").recipe
    assert begun.model.id == str(final_folder(trained, branches(load_recipe(trained.recipe).recipe)[0]))


def test_a_run_is_scored_on_other_tasks_in_a_run_of_its_own(
    trained: RunDirectory, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path: path.stat().st_mtime_ns for path in trained.path.rglob("*") if path.is_file()}
    small = ["--eval-items", "20", "eval.seen_items=0"]
    assert main(["--runs", str(trained.path.parent), "eval", trained.name, "--tasks", "echo", *small, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    run = RunDirectory.open(found["run"], trained.path.parent)
    recipe = load_recipe(run.recipe).recipe
    assert (recipe.eval.tasks, recipe.study.arms, recipe.data.train[0].task) == (("echo",), ("trained",), "mine")
    assert run.name.endswith("eval-echo")
    records = read_samples(samples_path(run, branches(recipe)[0], "echo"))
    assert len(records) == 20
    assert run.report.is_file()
    assert {path: path.stat().st_mtime_ns for path in trained.path.rglob("*") if path.is_file()} == before
    assert torch.equal(*(next(iter(_lora(load_branch(one, recipe, branches(recipe)[0])))) for one in (run, trained)))
    assert main(["--runs", str(trained.path.parent), "eval", trained.name, "--tasks", "echo", "--lora-r", "9"]) == 2
    assert "adapter.r is 9 (command line), but graft eval RUN --tasks does not read it" in capsys.readouterr().err


def test_chat_asks_with_the_prompt_of_the_task_until_it_is_raw(trained: RunDirectory) -> None:
    first, base = open_partners(trained.name, ["sampling.max_new_tokens=2"], trained.path.parent, against="base")
    for one in (first, base):
        list(one.answer("late number 3"))
        assert one.turns[0].content == "What is this? late number 3"
        assert one.task is not None
        shares = one.task.probabilities("late number 3")
        assert {*shares} == {*KINDS.values()}
        assert sum(shares.values()) == pytest.approx(1)
        list(one.answer("great"))
        assert [turn.content for turn in one.turns[:1]] == ["What is this? great"]
    first.set_raw()
    list(first.answer("late"))
    assert first.turns[0].content == "late"


def test_the_vocabulary_of_an_arm_is_that_of_its_base(trained: RunDirectory, tmp_path: Path) -> None:
    arm, out = f"{trained.name}:trained-seed0", tmp_path / "vocabulary"
    assert main(["--runs", str(trained.path.parent), "vocab", "english", arm, "--out", str(out), "-q"]) == 0
    assert (out / "summary.json").is_file()


def _lora(model: Any) -> list[torch.Tensor]:
    return [weight for name, weight in model.named_parameters() if "lora_B" in name]
