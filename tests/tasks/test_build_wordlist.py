"""The shipped pools are what the script draws from the shipped words."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_the_script_draws_the_shipped_pools_byte_for_byte(tmp_path: Path) -> None:
    output = tmp_path / "words.tsv"
    script = ROOT / "scripts" / "build_wordlist.py"
    subprocess.run([sys.executable, str(script), "--output", str(output)], check=True)
    assert output.read_bytes() == (ROOT / "src" / "graft" / "tasks" / "words" / "words.tsv").read_bytes()
