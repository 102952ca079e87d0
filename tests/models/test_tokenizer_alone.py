"""Tokenizers load without torch and are the ones that `AutoTokenizer` gives."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.conftest import toy_model
from transformers import AutoTokenizer

from graft import sprout
from graft.errors import ModelError
from graft.models.loading import load_tokenizer

DATA = os.environ.get("GRAFT_TEST_DATA")
TEXTS = ("Spell 'strawberry'.", " Wie heißt du?\n\n\tx = 3.14  # ok", "日本語 <|im_end|> 👍🏽", "")

PROBE = """
import json, pathlib, resource, sys, time
start, wall = time.process_time(), time.perf_counter()
from graft.models.loading import load_tokenizer
tokenizer = load_tokenizer(sys.argv[1])
tokenizer.encode("Spell strawberry.")
spent = {"seconds": time.process_time() - start, "wall": time.perf_counter() - wall}
status = pathlib.Path("/proc/self/status")  # getrusage would also count the process that started this one
peak = [line.split()[1] for line in status.read_text().splitlines() if "VmHWM" in line] if status.exists() else []
size = int(peak[0]) * 1024 if peak else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(json.dumps({**spent, "bytes": size, "torch": "torch" in sys.modules}))
"""


def probe(model: str) -> dict[str, float]:
    """What loading a tokenizer takes in a process of its own; seconds are those of the processor."""
    done = subprocess.run([sys.executable, "-c", PROBE, model], capture_output=True, text=True, check=True)
    facts: dict[str, float] = json.loads(done.stdout)
    return facts


def test_the_embedded_tokenizer_loads_without_torch() -> None:
    assert not probe("sprout")["torch"]


@pytest.mark.skipif(DATA is None, reason="GRAFT_TEST_DATA is not set")
def test_the_real_qwen3_tokenizer_takes_under_1_5_s_and_350_mb() -> None:
    facts = min((probe(str(Path(str(DATA)) / "qwen3_tokenizer")) for _ in range(3)), key=lambda found: found["seconds"])
    assert not facts["torch"]
    assert facts["seconds"] < 1.5, facts
    assert facts["bytes"] < 350e6, facts


def test_the_embedded_tokenizer_is_the_one_of_transformers() -> None:
    ours, theirs = load_tokenizer("sprout"), AutoTokenizer.from_pretrained(sprout.path())
    assert type(ours) is type(theirs)
    assert [ours.encode(text) for text in TEXTS] == [theirs.encode(text) for text in TEXTS]
    assert ours.chat_template == theirs.chat_template


@pytest.mark.skipif(DATA is None, reason="GRAFT_TEST_DATA is not set")
@pytest.mark.parametrize("name", ["qwen3_tokenizer", "stories260k"])
def test_a_real_tokenizer_is_the_one_of_transformers(name: str) -> None:
    folder = Path(str(DATA)) / name
    ours, theirs = load_tokenizer(str(folder)), AutoTokenizer.from_pretrained(folder)
    assert type(ours) is type(theirs)
    assert [ours.encode(text) for text in TEXTS] == [theirs.encode(text) for text in TEXTS]
    assert ours.eos_token_id == theirs.eos_token_id


def test_a_model_folder_without_tokenizer_files_is_refused(tmp_path: Path) -> None:
    toy_model("qwen3").save_pretrained(tmp_path)
    with pytest.raises(ModelError, match=r"tokenizer of .* has 1 entries, so its files are missing or empty"):
        load_tokenizer(str(tmp_path))
