"""Fenced blocks, commands and paths of the documentation, for the tests of this folder."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = (
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "CHANGELOG.md",
    *sorted(path for path in DOCS.rglob("*.md") if not {"_build", "reference"} & set(path.parts)),
)
"""Everything written by hand; docs/reference is generated."""

_FENCE = re.compile(r"^(```+|:::+)\{?([\w-]*)\}?[ ]*(.*?)\n(.*?)^\1[ ]*$", re.MULTILINE | re.DOTALL)
_OPTION = re.compile(r"^:([\w-]+):[ ]*(.*)\n", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block: language or directive, its argument, its options, its text."""

    kind: str
    argument: str
    options: dict[str, str]
    text: str


def blocks(page: Path) -> Iterator[Block]:
    for _, kind, argument, body in _FENCE.findall(page.read_text(encoding="utf-8")):
        options: dict[str, str] = {}
        while found := _OPTION.match(body):
            options[found[1]] = found[2]
            body = body[found.end() :]
        yield Block(kind, argument, options, body.lstrip("\n"))


def prose(page: Path) -> str:
    """A page without its fenced blocks."""
    return _FENCE.sub("", page.read_text(encoding="utf-8"))


def commands(page: Path) -> Iterator[list[str]]:
    """The words of every line in the `sh` blocks of a page, without leading NAME=value."""
    for block in blocks(page):
        if block.kind == "sh":
            for line in block.text.splitlines():
                words = shlex.split(line, comments=True)
                while words and re.match(r"[A-Z_]+=", words[0]):
                    del words[0]
                if words:
                    yield words


def examples(page: Path) -> dict[str, str]:
    """The Python files that a page shows in full, by the path in their caption."""
    return {block.options["caption"]: block.text for block in blocks(page) if block.options.get("caption")}


TO_BE_MADE = {caption for page in PAGES for caption in examples(page)} | {"recipes/mine.yaml"}
"""Files that a page tells the reader to make."""
