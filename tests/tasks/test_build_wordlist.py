"""The shipped list is what the script makes of SCOWL."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCOWL = Path("/usr/share/dict/scowl")


@pytest.mark.slow
@pytest.mark.skipif(not (SCOWL / "english-words.60").exists(), reason="SCOWL is not installed (Debian package scowl)")
def test_the_script_rebuilds_the_shipped_list_byte_for_byte(tmp_path: Path) -> None:
    output = tmp_path / "words.tsv"
    script = ROOT / "scripts" / "build_wordlist.py"
    subprocess.run([sys.executable, str(script), str(SCOWL), "--output", str(output)], check=True)
    assert output.read_bytes() == (ROOT / "src" / "graft" / "tasks" / "words" / "words.tsv").read_bytes()
