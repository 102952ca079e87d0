"""`graft chat` through a pipe, with a real model: the same road as at the keyboard."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from graft.cli.chat import HELP, Reply, layout
from graft.cli.main import main
from graft.cli.text import printable
from graft.types import Completion, Usage

Talk = Callable[..., tuple[int, str, str]]


@pytest.fixture
def talk(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], toy_folder: Path, tmp_path: Path) -> Talk:
    """Type lines to `graft chat`; the code, stdout and stderr come back."""
    monkeypatch.chdir(tmp_path)

    def say(*lines: str, arguments: tuple[str, ...] = ()) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO("\n".join(lines).encode()), encoding="utf-8"))
        capsys.readouterr()
        code = main(["chat", str(toy_folder), "sampling.max_new_tokens=3", *arguments])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return say


def test_a_piped_message_is_answered_and_tokens_and_speed_are_told(talk: Talk) -> None:
    code, out, err = talk("Spell cat.")
    assert code == 0
    (turn,) = json.loads(talk("Spell cat.", arguments=("--json",))[1])
    assert out == printable(turn["replies"][0]["text"]) + "\n"
    assert out.strip()
    assert "(3 tokens, " in err
    assert "tokens/s, cut at the limit)" in err


def test_a_conversation_grows_until_it_is_reset(talk: Talk) -> None:
    _, out, _ = talk("One?", "Two?", "/reset", "One?", arguments=("--json", "sampling.temperature=0"))
    first, second, again = json.loads(out)
    assert [turn["prompt"] for turn in (first, second, again)] == ["One?", "Two?", "One?"]
    assert again["replies"][0]["text"] == first["replies"][0]["text"]
    assert first["replies"][0]["tokens"] == 3
    read = [turn["replies"][0]["prompt_tokens"] for turn in (first, second, again)]
    assert read[0] == read[2] < read[1]


def test_two_models_answer_the_same_message(talk: Talk) -> None:
    _, out, _ = talk("One?", arguments=("--against", "base", "--json", "sampling.temperature=0"))
    (turn,) = json.loads(out)
    one, other = turn["replies"]
    assert one["text"] == other["text"]
    assert other["model"] == "base"


def test_what_a_slash_says_goes_to_stderr_and_is_no_message(talk: Talk) -> None:
    code, out, err = talk("/help", "/system Be brief.", "/system", "/style formal", "/reste", "/quit", "never read")
    assert (code, out) == (0, "")
    assert all(command in err for command in HELP)
    assert "/style" not in "".join(HELP)
    assert "This model has no style tokens" in err
    assert "A new conversation with this system turn." in err
    assert "There is no command /reste. Did you mean /reset?" in err


def test_quiet_leaves_the_replies_alone(talk: Talk) -> None:
    code, out, err = talk("One?", arguments=("-q",))
    assert (code, err) == (0, "")
    assert out.strip()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--arm", "trained-seed0"), "only runs have arms"),
        (("--against", "/no/such/folder"), "there is no such folder"),
        (("thinking=perhaps",), "thinking must be"),
        (("thinking=on", "sampling.temperature=3"), "sampling.temperature"),
    ],
)
def test_a_wrong_argument_is_one_clear_error(talk: Talk, arguments: tuple[str, ...], said: str) -> None:
    code, _, err = talk("One?", arguments=arguments)
    assert code == 2
    assert err.startswith("error: ")
    assert said in err


def test_a_conversation_longer_than_the_models_context_says_so(talk: Talk) -> None:
    code, _, err = talk("word " * 600)
    assert code == 2
    assert "reads at most 512; /reset starts a new one" in err


def shown(width: int) -> list[str]:
    done = Completion("x", (1,), True, Usage(1, 4))
    replies = [Reply("trained", "left reply", 2.0, done), Reply("base", "right reply")]
    console = Console(file=io.StringIO(), width=width)
    console.print(layout(replies, width))
    return console.file.getvalue().splitlines()  # type: ignore[attr-defined]


def test_replies_stand_side_by_side_on_a_wide_terminal_and_below_each_other_on_a_narrow_one() -> None:
    assert any("left reply" in line and "right reply" in line for line in shown(120))
    narrow = shown(50)
    places = [next(i for i, line in enumerate(narrow) if text in line) for text in ("left reply", "right reply")]
    assert places[0] < places[1]
    assert all(len(line) <= 50 for line in narrow)
    assert any("4 tokens, 2.0 s, 2.0 tokens/s" in line for line in shown(120))
