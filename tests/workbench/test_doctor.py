"""The doctor: what is here, what is missing, and whether a recipe can run."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from graft.cli.main import main
from graft.config.loading import load_recipe
from graft.workbench import doctor
from graft.workbench.doctor import EXTRAS, Diagnosis, examine

ROOT = Path(__file__).parents[2]
DEVELOPMENT = {"dev", "docs"}


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAFT_CACHE", str(tmp_path / "cache"))


def diagnosed(tmp_path: Path, *overrides: str) -> Diagnosis:
    device = () if any(pair.startswith("model.device=") for pair in overrides) else ("model.device=cpu",)
    recipe = load_recipe(None, [f"runs={tmp_path / 'runs'}", *device, *overrides]).recipe
    return examine(recipe, recipe.runs)


def detail(diagnosis: Diagnosis, what: str) -> str:
    return next(finding.detail for finding in diagnosis.findings if finding.what == what)


def test_every_optional_part_of_the_package_is_explained() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert {extra.name for extra in EXTRAS} == set(project["optional-dependencies"]) - DEVELOPMENT


def test_machine_disk_libraries_and_extras_are_listed(tmp_path: Path) -> None:
    tables = examine(None, tmp_path).tables
    machine = dict(tables["machine"].rows)
    assert {"CPU", "memory", "accelerator", "bfloat16", "model-written code", "auto means"} <= set(machine)
    assert {row[0] for row in tables["disk"].rows} == {"runs", "copied models"}
    libraries = {row[0]: row[1] for row in tables["libraries"].rows}
    assert libraries["torch"][0].isdigit()
    assert "too old" not in libraries["torch"]


def test_a_missing_extra_comes_with_its_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "find_spec", lambda name: None)
    rows = {row[0]: row for row in examine(None, tmp_path).tables["extras"].rows}
    assert rows["quant"][1:] == (
        "no: bitsandbytes",
        "weights of 4 or 8 bits (model.quantize)",
        "pip install 'graft-lm[quant]'",
    )


def test_a_small_model_can_run_here(tmp_path: Path, toy_folder: Path) -> None:
    diagnosis = diagnosed(tmp_path, f"model.id={toy_folder}")
    assert diagnosis.can_run, diagnosis.findings
    assert "heads" in detail(diagnosis, "model")
    assert "needed (weights" in detail(diagnosis, "memory")


def test_what_stands_against_a_recipe_is_named(tmp_path: Path, toy_folder: Path) -> None:
    for overrides, what, told in (
        ((f"model.id={tmp_path}",), "model", "no config.json"),
        ((f"model.id={toy_folder}", "model.device=mps"), "device", "this machine offers"),
        ((f"model.id={toy_folder}", "words.source=nowhere.txt"), "settings", "words.source"),
        (("model.id=s3://bucket/model",), "model", "has not been copied yet"),
    ):
        diagnosis = diagnosed(tmp_path, *overrides)
        assert not diagnosis.can_run
        assert told in detail(diagnosis, what)


def test_a_model_larger_than_the_memory_cannot_run(
    tmp_path: Path, toy_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=1000, total=2000))
    diagnosis = diagnosed(tmp_path, f"model.id={toy_folder}")
    assert not diagnosis.can_run
    assert "try adapter.kind=lora" in detail(diagnosis, "memory")


def test_the_command_says_so_and_its_exit_code_too(
    tmp_path: Path, toy_folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["doctor", f"model.id={toy_folder}", "model.device=cpu"]) == 0
    assert "The recipe can run here." in capsys.readouterr().out
    assert main(["doctor", f"model.id={tmp_path}", "--json"]) == 2
    found = json.loads(capsys.readouterr().out)
    assert found["can_run"] is False
    assert found["libraries"]
    assert main(["doctor", "--json"]) == 0
    assert "recipe" not in json.loads(capsys.readouterr().out)


def test_a_wrong_recipe_is_refused_before_torch_is_loaded(tmp_path: Path) -> None:
    script = (
        "import sys; from graft.cli.main import main; code = main(['doctor', 'model.devise=cpu'])\n"
        "sys.exit('torch is loaded' if 'torch' in sys.modules else code)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert "model.devise" in done.stderr
