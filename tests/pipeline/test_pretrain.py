from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from graft.config.loading import Resolved
from graft.data.table import TokenTable
from graft.errors import ConfigError, DataError
from graft.pipeline.branches import branches
from graft.pipeline.prepare.lab import prepare
from graft.pipeline.prepare.modes import check_pretrain
from graft.pipeline.prepare.validate import validate
from graft.pipeline.progress import SilentProgress
from graft.pipeline.run import run, train
from graft.pipeline.train.rows import training_rows
from graft.runs.directory import RunDirectory
from graft.tasks.stream import StreamTask

Build = Callable[..., Resolved]
WORDS = [
    "river",
    "stone",
    "bread",
    "window",
    "garden",
    "letter",
    "yellow",
    "castle",
    "machine",
    "bottle",
    "quiet",
    "morning",
]


def paragraphs(count: int, seed: int = 0, words: int = 30) -> list[str]:
    rng = random.Random(seed)
    return [f"Paragraph {number}. {' '.join(rng.choices(WORDS, k=words))}." for number in range(count)]


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A text file of 400 paragraphs, one of them far longer than a row."""
    path = tmp_path_factory.mktemp("texts") / "book.txt"
    found = paragraphs(400)
    found[7] = "Long. " + " ".join(paragraphs(60, seed=1))
    path.write_text("\n\n".join(found) + "\n")
    return path


@pytest.fixture
def recipe(tmp_path: Path, small_recipe: Build, texts: Path) -> Callable[..., Resolved]:
    def build(**overrides: Any) -> Resolved:
        settings: dict[str, Any] = {
            "mode": "pretrain",
            "data__tasks": [{"name": "book", "train": str(texts)}],
            "data__train": "book",
            "data__max_length": 64,
            "train__max_steps": 6,
            **overrides,
        }
        return small_recipe(tmp_path / "runs", **settings)

    return build


def rows_of(resolved: Resolved) -> TokenTable:
    lab = prepare(resolved.recipe)
    branch = next(branch for branch in branches(resolved.recipe) if branch.seed is not None)
    return training_rows(lab, branch).table


def test_a_run_pretrains_and_scores_held_out_texts_and_words_side_by_side(recipe: Callable[..., Resolved]) -> None:
    resolved = recipe(eval__tasks=["book", "spelling"], train__learning_rate=1e-2, train__max_steps=12)
    outcome = run(resolved, progress=SilentProgress())
    results = json.loads((outcome.run.path / "results.json").read_text())
    assert {row["task"] for row in results["rows"]} == {"spelling"}
    by_arm = {row["arm"]: row for row in results["corpora"]["rows"]}
    assert set(by_arm) == {"base", "trained-seed0"}
    assert by_arm["trained-seed0"]["bits_per_byte"] < by_arm["base"]["bits_per_byte"]
    assert "_pretrain_" in outcome.run.name and "_book_" in outcome.run.name
    assert "Perplexity" in (outcome.run.path / "report.html").read_text()


def test_every_row_is_one_document_or_a_piece_of_one_and_every_token_but_the_first_is_trained_once(
    recipe: Callable[..., Resolved], texts: Path, tokenizer: Any
) -> None:
    table = rows_of(recipe(train__max_steps=60))
    rows = list(table)
    known = {part.strip() for part in texts.read_text().split("\n\n")}
    documents: list[list[int]] = []
    for row in rows:
        if row.prompt:
            assert row.prompt == (documents[-1][-1],)
            documents[-1] += row.completion
        else:
            documents.append(list(row.completion))
        assert len(row) <= 64 and len(row.completion) >= 1
    whole = [ids for ids in documents if ids[-1] == tokenizer.eos_token_id]
    assert len(whole) >= len(documents) - 1  # the last one may be cut where training ends
    assert {tokenizer.decode(ids[:-1]) for ids in whole} <= known
    assert any(len(ids) > 500 for ids in whole)


def test_the_same_rows_come_again_and_another_seed_orders_them_otherwise(recipe: Callable[..., Resolved]) -> None:
    first, again, other = (rows_of(recipe(study__seeds=seeds)) for seeds in ([0], [0], [1]))
    assert list(first) == list(again)
    assert list(first) != list(other)


def test_held_out_documents_are_never_trained(recipe: Callable[..., Resolved]) -> None:
    lab = prepare(recipe().recipe)
    task = lab.book.load("book")
    assert isinstance(task, StreamTask)
    held_out = {example.gold for example in task.examples("eval", limit=None, seed=0)}
    trained = {example.gold for example in task.examples("train", limit=None, seed=0)}
    assert held_out and trained and not held_out & trained
    assert len(held_out) + len(trained) == 400
    assert set(lab.corpora[0].texts) <= held_out


class Interrupted(SilentProgress):
    """Stops a training after 4 steps as Ctrl-C does."""

    def task(self, description: str, total: int | None = None) -> Any:
        return Bar() if description.startswith("train ") else super().task(description, total)


class Bar:
    """Counts to step 4."""

    def __init__(self) -> None:
        self.done = 0

    def advance(self, count: int = 1, **facts: Any) -> None:
        self.done += count
        if self.done >= 4:
            raise KeyboardInterrupt

    def finish(self) -> None:
        """Nothing to do."""


def test_an_interrupted_pretraining_goes_on_at_the_right_row(recipe: Callable[..., Resolved]) -> None:
    settings: dict[str, Any] = {"train__save_steps": 2, "study__arms": ["trained"], "adapter__dropout": 0.1}
    whole = train(recipe(**settings), progress=SilentProgress()).run
    resolved = recipe(**settings, name="stopped")
    with pytest.raises(KeyboardInterrupt):
        train(resolved, progress=Interrupted())
    [stopped] = [path for path in resolved.recipe.runs.iterdir() if path.name.endswith("stopped")]
    assert list(stopped.glob("checkpoints/trained-seed0/checkpoint-[24]"))
    resumed = train(
        resolved, progress=SilentProgress(), resume=RunDirectory.open(str(stopped), resolved.recipe.runs)
    ).run
    first, second = (
        load_file(run.checkpoints / "trained-seed0" / "final" / "adapter_model.safetensors") for run in (whole, resumed)
    )
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"data__train": "spelling"}, r"data\.train holds spelling, but mode is pretrain.*prose.*wikitext"),
        ({"data__train": "glue/sst2"}, r"data\.train holds glue/sst2, but mode is pretrain"),
        ({"study__arms": ["base", "trained", "format"]}, r"study\.arms holds format, but mode is pretrain"),
        ({"data__train": "prose"}, r"data\.train holds prose, but data\.corpus is empty"),
    ],
)
def test_what_is_no_plain_text_is_refused(
    recipe: Callable[..., Resolved], overrides: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        validate(recipe(**overrides).recipe)


def test_a_task_with_prompts_is_refused_even_where_only_its_rows_tell(
    recipe: Callable[..., Resolved], tmp_path: Path
) -> None:
    path = tmp_path / "chats.jsonl"
    path.write_text("".join(json.dumps({"prompt": f"Say {word}.", "completion": word}) + "\n" for word in WORDS))
    resolved = recipe(
        data__tasks=[{"name": "chats", "train": str(path)}], data__train="chats", eval__tasks=["spelling"]
    )
    check_pretrain(resolved.recipe)
    with pytest.raises(ConfigError, match=r"data\.train holds chats, but mode is pretrain"):
        rows_of(resolved)


def test_streamed_texts_need_a_number_of_steps(recipe: Callable[..., Resolved]) -> None:
    resolved = recipe(train__max_steps=None)
    with pytest.raises(ConfigError, match=r"data\.train holds book, which is streamed.*set train\.max_steps"):
        _ = prepare(resolved.recipe).steps


def test_a_table_of_texts_is_pretrained_by_epochs(recipe: Callable[..., Resolved], tmp_path: Path) -> None:
    path = tmp_path / "texts.jsonl"
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in paragraphs(100, words=8)))
    resolved = recipe(data__tasks=[{"name": "rows", "train": str(path)}], data__train="rows", train__max_steps=None)
    lab = prepare(resolved.recipe)
    assert lab.steps == -(-lab.book.epoch_rows() // 8)
    assert all(not row.prompt for row in rows_of(resolved))


def test_corpora_mix_at_their_rates_and_with_chats_in_sft(recipe: Callable[..., Resolved], texts: Path) -> None:
    resolved = recipe(
        mode="sft",
        data__corpus=[str(texts)],
        data__train=[{"task": "prose", "rate": 0.5}, {"task": "spelling", "rate": 0.5}],
        eval__tasks=["spelling", "prose"],
        study__arms=["trained"],
        data__max_length=512,
    )
    validate(resolved.recipe)
    lab = prepare(resolved.recipe)
    rows = training_rows(lab, branches(resolved.recipe)[0])
    assert [drawn.rows for drawn in rows.drawn] == [24, 24]
    assert [corpus.task for corpus in lab.corpora] == ["prose"] and {i.task.card.name for i in lab.items} == {
        "spelling"
    }


def test_prose_streams_the_passages_that_it_has_in_memory(recipe: Callable[..., Resolved], texts: Path) -> None:
    streamed = prepare(recipe(data__corpus=[str(texts)], data__train="prose", eval__tasks=["prose"]).recipe)
    held = prepare(
        recipe(
            mode="sft", data__corpus=[str(texts)], data__train="prose", eval__tasks=["prose"], study__arms=["trained"]
        ).recipe
    )
    for split in ("train", "eval"):
        both = [
            {(example.id, example.gold) for example in lab.book.load("prose").examples(split, limit=None, seed=0)}  # type: ignore[arg-type]
            for lab in (streamed, held)
        ]
        assert both[0] == both[1]


def test_an_eval_file_of_its_own_is_scored_whole(recipe: Callable[..., Resolved], tmp_path: Path, texts: Path) -> None:
    other = tmp_path / "other.txt"
    other.write_text("One line.\nAnother line.\n")
    resolved = recipe(data__tasks=[{"name": "book", "train": str(texts), "eval": str(other)}])
    assert sorted(prepare(resolved.recipe).corpora[0].texts) == ["Another line.", "One line."]


def test_a_byte_that_is_no_text_stops_the_reading_with_its_line(
    recipe: Callable[..., Resolved], tmp_path: Path
) -> None:
    path = tmp_path / "broken.txt"
    path.write_bytes("é word here\n".encode() * 3000 + b"\xff\xfe broken\n" + "é word\n".encode() * 3000)
    resolved = recipe(data__tasks=[{"name": "book", "train": str(path)}])
    with pytest.raises(DataError, match=r"broken\.txt: byte 0xff after line [\d,]+ is not"):
        rows_of(resolved)
