"""Help and start-up: fast, light, and every command shows how it is used."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator

import click
import pytest

from graft.cli.main import COMMANDS, cli, main

HEAVY = ("torch", "transformers", "numpy", "pydantic", "rich", "ruamel", "graft.config.schema", "graft.runs")


def test_help_imports_nothing_heavy() -> None:
    script = (
        "import sys; from graft.cli.main import main; code = main(['--help'])\n"
        f"loaded = [name for name in {HEAVY!r} if name in sys.modules]\n"
        "sys.exit(f'loaded: {loaded}' if loaded or code else 0)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "Getting started" in done.stdout


def test_help_answers_in_under_0_3_seconds() -> None:
    took = []
    for _ in range(5):
        start = time.perf_counter()
        subprocess.run([sys.executable, "-m", "graft", "--help"], check=True, capture_output=True, timeout=60)
        took.append(time.perf_counter() - start)
    assert min(took) < 0.3, took


@pytest.mark.parametrize("name", ["version", "completion bash", "runs"])
def test_a_light_command_does_without_torch(name: str, tmp_path: os.PathLike[str]) -> None:
    script = (
        f"import sys; from graft.cli.main import main; code = main({name.split()!r})\n"
        "sys.exit('torch is loaded' if 'torch' in sys.modules or code else 0)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, cwd=tmp_path)
    assert done.returncode == 0, done.stderr


def commands() -> Iterator[tuple[str, ...]]:
    for name in COMMANDS:
        yield (name,)
        command = cli.get_command(click.Context(cli), name)
        if isinstance(command, click.Group):
            yield from ((name, inner) for inner in command.commands)


@pytest.mark.parametrize("words", list(commands()), ids=" ".join)
@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_every_command_has_help_with_an_example(
    words: tuple[str, ...], flag: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*words, flag]) == 0
    text = capsys.readouterr().out
    purpose = text.split("\n\n")[1].strip()
    assert purpose.endswith(".")
    assert "\nExample" in text
    example = text.split("\nExample")[1]
    assert f"graft {words[0]}" in example
    assert "--json" in example


@pytest.mark.parametrize("name", COMMANDS)
def test_the_short_help_is_the_first_sentence_of_the_long_one(name: str) -> None:
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    assert (command.help or "").splitlines()[0] == COMMANDS[name].help
    assert command.name == name


def test_without_arguments_the_help_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    text = capsys.readouterr().out
    assert all(name in text for name in COMMANDS)


def test_the_flags_of_train_are_documented_by_the_schema(capsys: pytest.CaptureFixture[str]) -> None:
    from graft.config.reference import flags

    main(["train", "--help"])
    text = "".join(capsys.readouterr().out.split())
    for flag in flags():
        assert "".join(flag.help.split()) in text, flag
