"""A reply that arrived is there after a failure, and none other is taken for it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from graft.runs.journal import Journal, journal_of
from graft.types import Completion, Message, Prompt, Sampling, Usage

ASKED = [Prompt((Message("user", f"q{n}"),), (n, n + 1)) for n in range(4)]
REPLIES = [
    Completion("one", (1, 2), True, Usage(2, 2)),
    Completion("", (), False, None),
    Completion("two\nlines \ud83d\u2028", (3,), False, Usage()),
]
GREEDY = Sampling()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    journal = Journal(tmp_path / "journal" / "score-base.jsonl", "weights")
    for place, reply in enumerate(REPLIES):
        journal.keep(ASKED[place], place, GREEDY, reply)
    return journal.path


def found(path: Path) -> list[Completion | None]:
    journal = Journal(path, "weights")
    return [journal.find(prompt, place, GREEDY) for place, prompt in enumerate(ASKED)]


def test_replies_come_back_as_they_were(path: Path) -> None:
    assert found(path) == [*REPLIES, None]


def test_only_the_very_same_question_is_answered(path: Path) -> None:
    journal = Journal(path, "weights")
    assert journal.find(ASKED[0], 1, GREEDY) is None
    assert journal.find(ASKED[0], 0, replace(GREEDY, temperature=0.7)) is None
    assert journal.find(ASKED[0], 0, replace(GREEDY, seed=1)) is None
    assert journal.find(replace(ASKED[0], ids=(0, 1, 2)), 0, GREEDY) is None
    assert Journal(path, "other weights").find(ASKED[0], 0, GREEDY) is None


def test_a_torn_or_damaged_line_is_a_reply_that_was_never_written(path: Path) -> None:
    text = path.read_bytes()
    for place in range(len(text)):
        other = bytearray(text)
        other[place] ^= 1 << place % 8
        path.write_bytes(other)
        assert all(reply in (None, REPLIES[n]) for n, reply in enumerate(found(path)[:3]))
    path.write_bytes(text[:-9])
    assert found(path) == [*REPLIES[:2], None, None]
    Journal(path, "weights").keep(ASKED[2], 2, GREEDY, REPLIES[2])
    assert found(path) == [*REPLIES, None]


def test_many_threads_write_whole_lines(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j.jsonl")
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: journal.keep(ASKED[0], n, GREEDY, Completion("x" * n)), range(200)))
    again = Journal(journal.path)
    assert [again.find(ASKED[0], n, GREEDY) for n in range(200)] == [Completion("x" * n) for n in range(200)]


def test_it_is_gone_when_its_stage_ends_well_and_kept_when_it_does_not(tmp_path: Path) -> None:
    path = tmp_path / "journal" / "x.jsonl"
    with pytest.raises(ZeroDivisionError), journal_of(path) as journal:
        journal.keep(ASKED[0], 0, GREEDY, REPLIES[0])
        raise ZeroDivisionError
    assert path.is_file()
    with journal_of(path) as journal:
        assert journal.find(ASKED[0], 0, GREEDY) == REPLIES[0]
    assert not path.parent.exists()
