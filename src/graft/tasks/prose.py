"""Plain prose in passages, trained whole: no prompt, no answer.

One row: a passage of about 400 characters of a public-domain book. Licence: that of the given files. Split: by hash of
the passage, one in twenty held out. Without files it has the packaged passages, written for Graft so that no model has
read them, and all held out. Metric: bits per byte of held-out passages.
"""

from __future__ import annotations

import hashlib
import random
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import count, islice
from pathlib import Path

from graft import errors
from graft.tasks.base import Split, Task, TaskCard
from graft.tasks.stream import LONGEST
from graft.types import Example, Score

HELD_OUT_SHARE = 0.05
PACKAGED = Path(__file__).with_name("prose.txt")

_START = re.compile(r"^\*\*\* ?START OF.*$", re.MULTILINE)
_END = re.compile(r"^\*\*\* ?END OF.*$", re.MULTILINE)


class ProseTask(Task):
    """Passages of plain text files.

    Args:
        paths: UTF-8 text files; the header and footer of Project Gutenberg are left out. Without any, the packaged
            passages, which are only scored.
        characters: wanted length of a passage; a passage ends at a sentence or paragraph border.

    Raises:
        DataError: a file is missing, not UTF-8 or empty.
    """

    card = TaskCard(
        "prose", "Plain prose, trained whole.", "none", "that of the files", "text files of your own", "corpus"
    )

    def __init__(self, paths: Sequence[Path] = (), characters: int = 400) -> None:
        self.packaged = not paths
        self.rows: dict[str, str] = {}
        per_stem: Counter[str] = Counter()  # files of one name in two folders count on
        for path in paths or (PACKAGED,):
            for text in passages(read_prose(path), characters):
                self.rows[f"{path.stem}-{per_stem[path.stem]}"] = text
                per_stem[path.stem] += 1

    def examples(self, split: Split, *, limit: int | None, seed: int) -> Iterator[Example]:
        """Yield passages in a seeded order; training goes round again when `limit` exceeds their number."""
        names = [name for name, text in self.rows.items() if self._held_out(text) == (split == "eval")]
        if not names:
            raise errors.DataError(f"task prose: the {split} split has no passages; give longer or more files")
        rounds = count() if split == "train" and limit is not None else range(1)
        return islice((example for number in rounds for example in self._round(names, split, seed, number)), limit)

    def _held_out(self, text: str) -> bool:
        return self.packaged or _held_out(text)

    def _round(self, names: Sequence[str], split: Split, seed: int, number: int) -> Iterator[Example]:
        suffix = f"/pass-{number + 1}" if number else ""
        for name in random.Random(f"prose/{split}/{seed}/{number}").sample(names, len(names)):
            yield Example(id=f"prose/{name}{suffix}", task="prose", prompt=None, gold=self.rows[name], cluster=name)

    def score(self, example: Example, reply: str) -> Score:
        """Exact match; prose has no other right answer."""
        same = reply.strip() == example.gold
        return Score(strict=same, lenient=same, parsed=bool(reply.strip()), answer=reply.strip() or None)


def read_prose(path: Path) -> list[str]:
    """Read a text file as paragraphs with single spaces, without the Project Gutenberg header and footer.

    Raises:
        DataError: the file is missing, not UTF-8 or has no text.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise errors.DataError(
            f"{path}: prose must be UTF-8 text, but byte {error.start} is not; re-save it as UTF-8"
        ) from None
    except OSError as error:
        raise errors.DataError(f"{path}: the prose file cannot be read ({error.strerror}); check the path") from None
    if start := _START.search(text):
        text = text[start.end() :]
    if end := _END.search(text):
        text = text[: end.start()]
    paragraphs = [" ".join(paragraph.split()) for paragraph in re.split(r"\n\s*\n", text)]
    paragraphs = [paragraph for paragraph in paragraphs if paragraph]
    if not paragraphs:
        raise errors.DataError(f"{path}: expected prose, but the file has no text")
    return paragraphs


def stream_passages(paths: Sequence[Path], part: str, characters: int = 400) -> Iterator[tuple[str, str]]:
    """Yield the passages of one part with their names as `ProseTask` has them, in the order of the files.

    Args:
        paths: UTF-8 text files of any size.
        part: ``train`` or ``eval``.
        characters: wanted length of a passage.

    Raises:
        DataError: a file is missing or not UTF-8.
    """
    per_stem: Counter[str] = Counter()
    for path in paths:
        for text in passages(_paragraphs(path), characters):
            if _held_out(text) == (part == "eval"):
                yield f"{path.stem}-{per_stem[path.stem]}", text
            per_stem[path.stem] += 1


def _paragraphs(path: Path) -> Iterator[str]:
    """What `read_prose` gives, one paragraph at a time; lines that never end are read in parts."""
    number = 0
    try:
        with path.open(encoding="utf-8-sig") as file:
            begun = not any(_START.match(line) for line in iter(lambda: file.readline(LONGEST), ""))
            file.seek(0)
            waiting: list[str] = []
            size = 0
            while line := file.readline(LONGEST):
                number += 1
                if not begun:
                    begun = bool(_START.match(line))
                    continue
                if _END.match(line):
                    break
                if words := line.split():
                    waiting.append(" ".join(words))
                    size += len(line)
                if waiting and (not words or size >= LONGEST):
                    yield " ".join(waiting)
                    waiting, size = [], 0
            if waiting:
                yield " ".join(waiting)
    except UnicodeDecodeError:
        raise errors.DataError(
            f"{path}: prose must be UTF-8 text, but after line {number:,} it is not; re-save it"
        ) from None
    except OSError as error:
        raise errors.DataError(f"{path}: the prose file cannot be read ({error.strerror}); check the path") from None


def passages(paragraphs: Iterable[str], characters: int) -> Iterator[str]:
    """Join sentences to consecutive passages of at most `characters`, or one sentence if that is longer.

    Sentences of one paragraph are joined with a space, paragraphs with an empty line.
    """
    passage = ""
    for paragraph in paragraphs:
        joint = "\n\n"
        for sentence in re.split(r"(?<=[.!?][\"”’)]) +|(?<=[.!?]) +", paragraph):
            if passage and len(passage) + len(joint) + len(sentence) > characters:
                yield passage
                passage = ""
            passage = f"{passage}{joint}{sentence}" if passage else sentence
            joint = " "
    if passage:
        yield passage


def _held_out(text: str) -> bool:
    return hashlib.blake2b(text.encode(), digest_size=2).digest() < round(HELD_OUT_SHARE * 2**16).to_bytes(2, "big")
