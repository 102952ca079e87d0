"""The check for a GPU, as far as a CPU can go through it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "gpu_check.py"


def check(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, SCRIPT, "--cpu", *arguments], capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_what_a_cpu_can_check_passes_and_the_rest_is_skipped() -> None:
    done = check()
    assert done.returncode == 0, done.stdout + done.stderr
    assert "PASS weights from bfloat16, float32 masters" in done.stdout
    assert "INFO kernel: skipped: needs CUDA" in done.stdout
