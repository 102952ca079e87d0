"""Sound recipes, data files, models and runs, changed at random: exit 0, 1 or 2, soon, in little memory, one message.

Seeds are fixed. CI runs a few cases of each kind; the others take minutes (`make test-slow SELECT=long`).
"""

from __future__ import annotations

import gzip
import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
SECONDS, BYTES, CHARACTERS = 10.0, 10**9, 2000
HOSTILE = (
    "!!int ''", "!!bool x", "!!python/object/apply:os.mkdir [ran]", "!!binary x", "&a [*a]", "*a", "<<: *a", "%YAML 9",
    '"\\ud800"', '"\\0"', "\x00", "\x1b[31m", "\u202e", "1e400", "-1e400", ".nan", "9" * 400, "9" * 5000, "0x", "~",
    "null", "true", "[", "]", "{", "}", "{}", "[]", ": ", "- ", "? ", "|", ">", "'", '"', "#", "---", "\t", "\r",
    "x" * 5000, "../../../etc/passwd", "/dev/zero", "/dev/stdin", "~root", "s3://me:hunter2@x/y", "http://[",
    "{{ 1/0 }}", "{prompt}", "-1", "0", "1", "99999999999", "0.1", "sprout", "count", "all-linear", "ran:ran", "\ufeff",
    "\ud7ff", "é",
)  # fmt: skip
RECIPE = """\
model:
  id: {model}
data:
  train:
    - {{task: mine, rate: 1}}
  tasks:
    - name: mine
      train: {data}
      prompt: "{{question}}"
      completion: "{{answer}}"
train:
  max_steps: 2
  batch_size: 2
  eval_steps: 1
  learning_rate: 1e-3
  optimizer: adamw
adapter:
  r: 4
  targets: all-linear
stopping:
  patience: 2
eval:
  tasks: [mine]
  items: 20
study:
  arms: [base, trained]
  seeds: [0]
thinking: "off"
runs: runs
"""


def rows() -> list[dict[str, Any]]:
    return [{"question": f"What follows number {n} of a row?", "answer": f"number {n + 1}"} for n in range(30)]


FILES: dict[str, Callable[[], bytes]] = {
    "d.jsonl": lambda: "".join(json.dumps(row) + "\n" for row in rows()).encode(),
    "d.json": lambda: json.dumps(rows(), indent=1).encode(),
    "d.csv": lambda: ("question,answer\n" + "".join(f"{r['question']},{r['answer']}\n" for r in rows())).encode(),
    "d.csv.gz": lambda: gzip.compress(FILES["d.csv"]()),
}


VALUES: tuple[Any, ...] = (
    None, True, -1, 0, 1, 2, 0.5, -0.5, 10**5, 10**9, 10**15, 2**53, 10**20, 10**400, float("inf"), float("nan"), "",
    "x", "x" * 5000, "\ud800", "\0", "../..", "{prompt}", "sprout", "count", "ran:ran", [], {}, [[]], [1], ["x"],
    {"x": 1}, {"type": "x"}, list(range(3000)),
)  # fmt: skip
"""Values of right and wrong kinds for anything that has a name."""


def changed(content: bytes, rng: random.Random) -> bytes:
    """A few changes of bytes, words and lines, or of one value that is named."""
    if rng.random() < 0.6:
        try:
            return changed_value(content.decode(), rng)
        except ValueError:
            pass
    for _ in range(rng.choice((1, 1, 2, 4))):
        content = changed_once(content, rng)
    return content


def changed_value(text: str, rng: random.Random) -> bytes:
    """Give one name of a JSON file, or of a line of YAML, another value."""
    value = rng.choice(VALUES)
    if not text.lstrip().startswith("{"):
        lines = text.splitlines()
        line = rng.choice([number for number, there in enumerate(lines) if ": " in there] or [0])
        lines[line] = f"{lines[line].partition(':')[0]}: {json.dumps(value)}"
        return "\n".join(lines).encode()
    whole = inner = json.loads(text)
    while isinstance(inner, dict) and inner:
        name = rng.choice(list(inner))
        if not isinstance(inner[name], dict) or rng.random() < 0.3:
            inner[name] = value
            break
        inner = inner[name]
    return json.dumps(whole).encode()


def changed_once(content: bytes, rng: random.Random) -> bytes:
    place, end = sorted(rng.randrange(len(content) + 1) for _ in range(2))
    hostile = rng.choice(HOSTILE).encode("utf-8", "surrogatepass")
    lines = content.splitlines(keepends=True) or [b""]
    line = rng.randrange(len(lines))
    head, colon, _ = lines[line].partition(b":")
    ways = (
        lambda: content[:place] + hostile + content[place:],
        lambda: content[:place] + bytes([rng.randrange(256)]) + content[place + 1 :],
        lambda: content[:place] + content[min(end, place + 40) :],
        lambda: content[:end] + content[place:],
        lambda: b"".join([*lines[:line], head, colon, b" ", hostile, b"\n", *lines[line + 1 :]]),
        lambda: b"".join([*lines[:line], lines[line] * rng.choice((0, 2, 300)), *lines[line + 1 :]]),
        lambda: content[:place],
    )
    return rng.choice(ways)()


def spoiled(folder: Path, toy: Path, kind: str, rng: random.Random) -> list[str]:
    """Write sound files into a folder, spoil one of a kind, and give the command that meets it; spoil none for ""."""
    name = rng.choice(list(FILES))
    (folder / name).write_bytes(FILES[name]())
    shutil.copytree(toy, folder / "model")
    recipe = folder / "r.yaml"
    recipe.write_text(RECIPE.format(model="model", data=name))
    if kind == "run":
        run = folder / "runs" / "a"
        run.mkdir(parents=True)
        (run / "run.json").write_text(
            json.dumps({"status": "complete", "seconds": 1.5, "created": "2026-01-01T00:00:00"})
        )
        (run / "summary.json").write_text(json.dumps({"model": "m", "headline": "h", "metrics": {"a": 0.5, "b": None}}))
    targets = {"recipe": [recipe], "file": [folder / name], "run": sorted((folder / "runs").rglob("*.json"))}
    targets["model"] = sorted(path for path in (folder / "model").iterdir() if path.is_file())
    if not kind:
        return ["check", "r.yaml"]
    target = rng.choice(targets[kind])
    whole = target.read_bytes()
    cut = 5000 if target.suffix not in (".json", ".yaml") else len(whole)
    target.write_bytes(changed(whole[:cut], rng) + whole[cut:])
    return ["runs", "list", "--sort", "-duration"] if kind == "run" else ["check", "r.yaml"]


@pytest.fixture(scope="module")
def worker() -> Iterator[Callable[[Path, list[str]], dict[str, Any]]]:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "GRAFT_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": ""}
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.cli.fuzz_worker"], cwd=ROOT, env=environment, text=True, stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdin and process.stdout

    def run(folder: Path, arguments: list[str]) -> dict[str, Any]:
        assert process.stdin and process.stdout
        process.stdin.write(json.dumps({"folder": str(folder), "arguments": arguments}) + "\n")
        process.stdin.flush()
        answer: dict[str, Any] = json.loads(process.stdout.readline())
        return answer

    yield run
    process.stdin.close()
    process.wait()


def broken(found: dict[str, Any], folder: Path) -> list[str]:
    """What a command did that none may do."""
    message = found["errors"].rpartition("error: ")[2]
    wrong = {
        "exit code": found["code"] not in (0, 1, 2),
        "a traceback": "Traceback" in found["errors"],
        "time": found["seconds"] > SECONDS,
        "memory": found["bytes"] > BYTES,
        "a long message": found["code"] == 2 and len(message) > CHARACTERS,
        "no message": found["code"] == 2 and not message.strip(),
        "control characters": any(not c.isprintable() and c != "\n" for c in found["errors"]),
        "code of a file": (folder / "ran").exists(),
    }
    return [name for name, is_so in wrong.items() if is_so]


KINDS = ("recipe", "file", "model", "run")
BLOCK = 8
BLOCKS = [
    pytest.param(kind, block, marks=() if block == 0 else pytest.mark.long, id=f"{kind}-{block}")
    for kind in KINDS
    for block in range(2 if kind == "run" else 12)
]


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(("kind", "block"), BLOCKS)
def test_no_change_of_a_sound_input_breaks_the_promise(
    tmp_path: Path, toy_folder: Path, worker: Callable[..., dict[str, Any]], kind: str, block: int
) -> None:
    failures = []
    for number in range(block * BLOCK, (block + 1) * BLOCK):
        folder = tmp_path / str(number)
        folder.mkdir()
        arguments = spoiled(folder, toy_folder, kind, random.Random(f"{kind} {number}"))
        found = worker(folder, arguments)
        if wrong := broken(found, folder):
            failures.append((number, wrong, found["code"], found["seconds"], found["bytes"], found["errors"][-700:]))
        shutil.rmtree(folder)
    assert not failures


@pytest.mark.slow
def test_without_a_change_the_check_passes(
    tmp_path: Path, toy_folder: Path, worker: Callable[..., dict[str, Any]]
) -> None:
    """A fuzz of what never works would find nothing."""
    found = worker(tmp_path, spoiled(tmp_path, toy_folder, "", random.Random(0)))
    assert (found["code"], broken(found, tmp_path)) == (0, []), found["errors"]


def test_every_form_of_the_rows_is_read(tmp_path: Path) -> None:
    from graft.config.loading import load_recipe
    from graft.data.files import read_rows

    for name, content in FILES.items():
        (tmp_path / name).write_bytes(content())
        assert len(read_rows(tmp_path / name)) == 30
        (tmp_path / "r.yaml").write_text(RECIPE.format(model="sprout", data=tmp_path / name))
        assert load_recipe(tmp_path / "r.yaml").recipe.study.seeds == (0,)
