"""The import contracts hold, and breaking one of them on purpose is seen."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def lint(folder: Path) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).parent / "lint-imports"), "--no-cache"]
    environment = {**os.environ, "PYTHONPATH": str(folder / "src")}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("file", "line", "contract"),
    [
        ("pipeline/prepare/served.py", "from graft.pipeline.train import rows", "road of a run"),
        ("pipeline/train/rows.py", "from graft.pipeline.score import backends", "road of a run"),
        ("pipeline/score/labels.py", "from graft.pipeline.train import weights", "road of a run"),
        ("pipeline/judge/summary.py", "from graft.pipeline.score import corpora", "road of a run"),
        ("pipeline/places.py", "from graft.pipeline import run", "road of a run"),
        ("pipeline/run.py", "from graft.workbench import chat", "Rooms import downwards"),
        ("models/fields.py", "from graft.models import facts", "No circles"),
        ("stats/plain.py", "import torch", "torch and transformers stay"),
    ],
)
def test_a_broken_contract_is_seen(tmp_path: Path, file: str, line: str, contract: str) -> None:
    shutil.copytree(ROOT / "src", tmp_path / "src", ignore=shutil.ignore_patterns("__pycache__", "*.safetensors"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    path = tmp_path / "src" / "graft" / file
    path.write_text(f"{path.read_text(encoding='utf-8')}\n{line}  # noqa\n", encoding="utf-8")
    found = lint(tmp_path)
    told = " ".join(found.stdout.split())
    assert found.returncode == 1, told
    assert contract in told.split("Broken contracts")[1]
