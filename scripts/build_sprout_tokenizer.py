"""Rebuild Sprout's tokenizer in the package from public-domain books.

Usage: ``python scripts/build_sprout_tokenizer.py BOOK.txt …``. The packaged one was built from Project Gutenberg's
"Alice's Adventures in Wonderland" (11) and "Pride and Prejudice" (1342).
"""

from __future__ import annotations

import sys
from pathlib import Path

from graft import sprout
from graft.sprout.tokenizer import build_tokenizer
from graft.tasks.prose import read_prose
from graft.tasks.words.pool import package_words


def main(arguments: list[str]) -> None:
    """Build it from the named books."""
    paragraphs = (paragraph for name in sorted(arguments) for paragraph in read_prose(Path(name)))
    print(build_tokenizer(paragraphs, (word.text for word in package_words("base")), sprout.path()))


if __name__ == "__main__":
    main(sys.argv[1:])
