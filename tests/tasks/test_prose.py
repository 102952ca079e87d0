"""Passages of prose files."""

from __future__ import annotations

from pathlib import Path

import pytest

from graft import tasks
from graft.errors import DataError
from graft.tasks.prose import ProseTask, read_prose

BODY = "\n\n".join(
    f"Chapter {n}. The sun rose over hill {n}.\nIt was a   warm day! Was it? It was, said number {n}."
    for n in range(300)
)
BOOK = (
    "The Project Gutenberg eBook of Nothing\r\n\r\n*** START OF THE PROJECT GUTENBERG EBOOK NOTHING ***\r\n\r\n"
    f"{BODY}\r\n\r\n*** END OF THE PROJECT GUTENBERG EBOOK NOTHING ***\r\nLicence text"
)


@pytest.fixture
def book(tmp_path: Path) -> Path:
    path = tmp_path / "book.txt"
    path.write_bytes(b"\xef\xbb\xbf" + BOOK.encode())
    return path


def test_header_and_footer_go_and_spaces_are_single(book: Path) -> None:
    paragraphs = read_prose(book)
    assert paragraphs[0] == "Chapter 0. The sun rose over hill 0. It was a warm day! Was it? It was, said number 0."
    assert len(paragraphs) == 300
    assert "Gutenberg" not in "".join(paragraphs)


def test_passages_are_cut_at_sentences_and_lose_nothing(book: Path) -> None:
    task = ProseTask([book], characters=200)
    assert all(0 < len(text) <= 200 and text[-1] in ".!?" for text in task.rows.values())
    assert " ".join(" ".join(task.rows.values()).split()) == " ".join(read_prose(book))


def test_examples_have_no_prompt_and_splits_are_disjoint(book: Path) -> None:
    task = tasks.load("prose", paths=[book])
    train = list(task.examples("train", limit=None, seed=0))
    held_out = list(task.examples("eval", limit=None, seed=0))
    assert all(example.prompt is None for example in train + held_out)
    assert held_out and len(train) > 5 * len(held_out)
    assert not {example.gold for example in train} & {example.gold for example in held_out}
    assert train == list(task.examples("train", limit=None, seed=0)) != list(task.examples("train", limit=None, seed=1))


def test_training_goes_round_when_more_is_wanted_than_there_is(book: Path) -> None:
    task = ProseTask([book])
    one_pass = len(list(task.examples("train", limit=None, seed=0)))
    examples = list(task.examples("train", limit=one_pass + 10, seed=0))
    assert len({example.id for example in examples}) == one_pass + 10


def test_a_long_sentence_stays_whole(tmp_path: Path) -> None:
    path = tmp_path / "one.txt"
    path.write_text("word " * 100 + "end. Next.", encoding="utf-8")
    assert [len(text) for text in ProseTask([path], characters=50).rows.values()] == [504, 5]


def test_missing_empty_or_binary_prose_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        ProseTask([tmp_path / "none.txt"])
    empty = tmp_path / "empty.txt"
    empty.write_text(" \n\n", encoding="utf-8")
    with pytest.raises(DataError, match="no text"):
        ProseTask([empty])
    binary = tmp_path / "binary.txt"
    binary.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="UTF-8"):
        ProseTask([binary])


def test_files_of_the_same_name_in_two_folders_both_count(tmp_path: Path) -> None:
    for folder, text in (("a", "First text."), ("b", "Second text.")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "book.txt").write_text(text, encoding="utf-8")
    task = ProseTask([tmp_path / "a" / "book.txt", tmp_path / "b" / "book.txt"])
    assert set(task.rows.values()) == {"First text.", "Second text."}


def test_without_files_the_packaged_passages_are_all_held_out() -> None:
    task = ProseTask()
    held_out = list(task.examples("eval", limit=None, seed=0))
    assert len(held_out) == len(task.rows) > 20 and all(100 < len(example.gold) < 420 for example in held_out)
    with pytest.raises(DataError, match="the train split has no passages"):
        list(task.examples("train", limit=None, seed=0))
