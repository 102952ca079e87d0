"""The commands on toy models: what they write, refuse and print, and training on what they wrote."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from graft.cli.main import main
from graft.config.loading import load_recipe
from graft.errors import ModelError
from graft.models.adapters import load_adapter
from graft.models.loading import load_model, load_tokenizer
from graft.pipeline.progress import SilentProgress
from graft.pipeline.run import train
from graft.vocab.mapping import read_map
from graft.vocab.restore import restore_adapter

TEXT = "It was a dark and stormy night; the rain fell in torrents.\n\nShe said nothing, and he went home.\n" * 20


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("corpus") / "prose.txt"
    path.write_text(TEXT, encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def trimmed(mixed_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("trimmed") / "model"
    assert main(["vocab", "trim", str(mixed_folder), "--keep", "english", "--out", str(out), "--quiet"]) == 0
    return out


def test_english_writes_list_summary_and_picture(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "vocabulary"
    assert main(["vocab", "english", "sprout", "--corpus", str(corpus), "--out", str(out), "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    summary = json.loads((out / "summary.json").read_text(encoding="utf-8"))
    assert {key: printed[key] for key in summary} == summary
    lines = [json.loads(line) for line in (out / "entries.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [line["id"] for line in lines] == list(range(4096))
    assert lines[0].keys() == {"id", "surface", "class", "kept"}
    assert sum(row["entries"] for row in summary["classes"].values()) == summary["entries"] == 4096
    assert sum(row["percent"] for row in summary["classes"].values()) == pytest.approx(100)
    assert sum(line["kept"] for line in lines) == summary["kept"]["entries"]
    validation = summary["validation"]
    assert validation["coverage"][str(corpus)]["share"] > 0.99
    assert validation["other_script_kept"] == 0
    assert validation["round_trips"]["failed"] == 0 < validation["round_trips"]["texts"]
    picture = (out / "composition.svg").read_text(encoding="utf-8")
    assert picture.startswith("<svg") and "english word" in picture and "not kept" in picture


def test_without_a_corpus_coverage_is_unknown_and_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["vocab", "english", "sprout", "--out", str(tmp_path / "v")]) == 0
    captured = capsys.readouterr()
    assert "covers  unknown: no text was given" in captured.out
    assert "english word" in captured.out
    assert "classify entries" in captured.err


@pytest.mark.parametrize("command", [["english"], ["trim", "--keep", "english"]])
def test_a_folder_with_files_is_not_overwritten_without_force(
    command: list[str], mixed_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.txt").write_text("mine", encoding="utf-8")
    (tmp_path / "model-00001-of-00002.safetensors").write_bytes(b"old")
    arguments = ["vocab", command[0], str(mixed_folder), *command[1:], "--out", str(tmp_path), "--quiet"]
    assert main(arguments) == 2
    assert "--force" in capsys.readouterr().err
    assert {path.name for path in tmp_path.iterdir()} == {"mine.txt", "model-00001-of-00002.safetensors"}
    assert main([*arguments, "--force"]) == 0
    assert (tmp_path / "mine.txt").read_text(encoding="utf-8") == "mine"
    assert (tmp_path / "model-00001-of-00002.safetensors").exists() is (command[0] == "english")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["trim", "{model}", "--keep", "englsh", "--out", "{out}"], "Did you mean 'english'"),
        (["trim", "{model}", "--keep", "english", "--corpus", "missing.txt", "--out", "{out}"], "missing.txt cannot"),
        (["english", "./nowhere", "--out", "{out}"], "no such folder"),
        (["restore", "{model}", "--out", "{out}"], "holds no adapter_config.json"),
    ],
)
def test_each_mistake_is_one_clear_error_and_leaves_nothing(
    arguments: list[str], message: str, mixed_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    given = [text.format(model=mixed_folder, out=out) for text in arguments]
    assert main(["vocab", *given, "--quiet"]) == 2
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_trim_writes_a_model_that_loads_and_reports_what_it_saved(mixed_folder: Path, trimmed: Path) -> None:
    report = json.loads((trimmed / "trim.json").read_text(encoding="utf-8"))
    mapping = read_map(trimmed)
    model, tokenizer = load_model(str(trimmed), device="cpu"), load_tokenizer(str(trimmed))
    assert len(tokenizer) == model.config.vocab_size == len(mapping.ids) == report["kept"]["entries"] < 1152
    assert report["before"]["rows"] == 1152 and report["after"]["rows"] == len(mapping.ids)
    assert report["before"]["embedding_share"] > report["after"]["embedding_share"] > 0
    assert report["after"]["bytes"] == 4 * report["after"]["parameters"]
    assert report["checks"]["same_ids"]["failed"] == 0 < report["checks"]["same_ids"]["texts"]
    assert mapping.model == str(mixed_folder.resolve())
    surfaces = set(tokenizer.batch_decode([[id] for id in range(len(tokenizer))]))
    assert not any("\u0400" <= letter <= "\u04ff" for surface in surfaces for letter in surface)
    assert tokenizer.decode(tokenizer.encode("другой", add_special_tokens=False)) == "другой"


def test_a_run_trains_on_a_trimmed_model_and_its_adapter_fits_the_full_one(
    mixed_folder: Path, trimmed: Path, tmp_path: Path
) -> None:
    settings = {
        "model.id": str(trimmed), "words.train": 60, "words.eval": 20, "train.max_steps": 3, "train.batch_size": 4,
        "train.learning_rate": 1e-2, "model.precision": "float32", "eval.items": 8, "eval.seen_items": 4,
        "study.arms": ["trained"], "runs": str(tmp_path / "runs"),
    }  # fmt: skip
    outcome = train(load_recipe(None, (), settings), progress=SilentProgress())
    adapter = next(outcome.run.checkpoints.glob("*/final"))
    out = tmp_path / "restored"
    assert main(["vocab", "restore", str(adapter), "--trimmed", str(trimmed), "--out", str(out), "--quiet"]) == 0

    small = load_adapter(load_model(str(trimmed), device="cpu", dtype="float32"), adapter)
    base = load_model(str(mixed_folder), device="cpu", dtype="float32")
    ids = torch.tensor(read_map(trimmed).ids)
    row = torch.arange(5, 45)[None]  # trimmed ids
    with torch.inference_mode():
        untrained = base(input_ids=ids[row]).logits[..., ids]
        full = load_adapter(base, out)
        assert torch.equal(full(input_ids=ids[row]).logits[..., ids], small(input_ids=row).logits)
        assert not torch.equal(full(input_ids=ids[row]).logits[..., ids], untrained)
    assert json.loads((out / "adapter_config.json").read_text())["base_model_name_or_path"] == str(
        mixed_folder.resolve()
    )


def test_an_adapter_on_the_embeddings_is_refused(trimmed: Path, tmp_path: Path) -> None:
    from graft.models.adapters import add_lora

    model = add_lora(
        load_model(str(trimmed), device="cpu"), r=2, alpha=2, dropout=0, targets=["q_proj", "embed_tokens"], seed=0
    )
    model.save_pretrained(tmp_path / "adapter")
    (tmp_path / "out").mkdir()
    with pytest.raises(ModelError, match="one row for each token of the trimmed vocabulary"):
        restore_adapter(tmp_path / "adapter", tmp_path / "out", trimmed)
    assert list((tmp_path / "out").iterdir()) == []


def test_an_adapter_of_an_untrimmed_model_is_refused(mixed_folder: Path, tmp_path: Path) -> None:
    from graft.models.adapters import add_lora

    add_lora(
        load_model(str(mixed_folder), device="cpu"), r=2, alpha=2, dropout=0, targets=["q_proj"], seed=0
    ).save_pretrained(tmp_path / "adapter")
    with pytest.raises(ModelError, match=r"holds no vocab_map\.json"):
        restore_adapter(tmp_path / "adapter", tmp_path)
