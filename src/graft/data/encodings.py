"""Text files in any encoding, opened as UTF-8 bytes; what had to be guessed is said."""

from __future__ import annotations

import codecs
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from encodings.aliases import aliases
from pathlib import Path
from typing import IO

from graft.data.packed import CHUNK, open_bytes
from graft.errors import DataError, choices

SHOWN = 5
"""Bad lines that an error names."""

_BOMS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


@dataclass(frozen=True, slots=True)
class OpenText:
    """A text file that can be read as UTF-8 at any byte.

    Attributes:
        file: the file itself, or a temporary copy where it was compressed or in another encoding.
        start: the first byte of the text, after a byte-order mark.
        encoding: the encoding that the file had.
        words: the encoding for people, with how it was found out.
    """

    file: IO[bytes]
    start: int
    encoding: str
    words: str

    def lines(self) -> Iterator[bytes]:
        """The lines from the beginning, each with its end."""
        self.file.seek(self.start)
        return iter(self.file)


class BadLines:
    """The lines of one file that break a rule, for one error that names the first ones and counts all.

    Args:
        path: the file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.count = 0
        self.first: list[str] = []

    def add(self, line: int, why: str) -> None:
        """Note a bad line, counted from 1."""
        self.count += 1
        if len(self.first) < SHOWN:
            self.first.append(f"line {line}: {why}")

    def require_none(self) -> None:
        """Refuse the file if a line was bad.

        Raises:
            DataError: naming the first bad lines.
        """
        if self.count:
            more = f"; and {self.count - SHOWN:,} more" if self.count > SHOWN else ""
            lines = "1 line" if self.count == 1 else f"{self.count:,} lines"
            raise DataError(f"{self.path}: {lines} cannot be used: {'; '.join(self.first)}{more}; mend or delete them")


def open_text(path: Path, encoding: str | None = None) -> OpenText:
    """Open a text file, compressed or not.

    A byte-order mark decides; without one the text is UTF-8 if it can be, and otherwise its encoding is guessed. Lines
    that break UTF-8 in a file that is mostly UTF-8 are left for the reader to report.

    Args:
        path: the file; its name says if it is compressed.
        encoding: name of the encoding; found out when ``None``.

    Raises:
        DataError: the file cannot be read, the encoding does not exist or is not the file's.
    """
    file = open_bytes(path)
    head = file.read(4)
    mark, marked = next(((mark, name) for mark, name in _BOMS if head.startswith(mark)), (b"", ""))
    if encoding is not None:
        known = _codec(path, encoding)
        if known == "utf-8":
            return OpenText(file, len(mark) if marked == "utf-8" else 0, known, "UTF-8")
        if not marked and _non_ascii_utf8(file):
            raise DataError(
                f"{path}: encoding is {encoding}, but the file is valid UTF-8 beyond ASCII, so every such letter would "
                "be misread; leave encoding out"
            )
        return OpenText(_transcoded(path, file, known), 0, known, known)
    if marked == "utf-8":
        return OpenText(file, len(mark), marked, "UTF-8 with a byte-order mark")
    if marked:
        return OpenText(_transcoded(path, file, marked), 0, marked, f"{marked.upper()} by its byte-order mark")
    guess = _guess(path, file)
    if guess is None:
        return OpenText(file, 0, "utf-8", "UTF-8")
    return OpenText(_transcoded(path, file, guess), 0, guess, f"{guess}, guessed; set encoding if it is another")


_NO_FILES = ("idna", "punycode", "raw_unicode_escape", "undefined", "unicode_escape")
"""Codecs of Python that turn letters into others: names of hosts, and its own source."""


def _codec(path: Path, name: str) -> str:
    try:
        found = codecs.lookup(name)
        text = found.incrementaldecoder is not None and "a".encode(found.name).decode(found.name) == "a"
        if not text or found.name.replace("-", "_") in _NO_FILES:
            raise LookupError
        return found.name
    except (LookupError, UnicodeError, ValueError):
        known = {alias.replace("_", "-") for alias in (*aliases, *aliases.values())}
        near = choices(name, known).partition("Known: ")[0].strip() or "Try utf-8, cp1252 or utf-16."
        raise DataError(f"{path}: encoding is {name}, which is none of text that Python reads. {near}") from None


def _blocks(file: IO[bytes]) -> Iterator[bytes]:
    """The file in blocks of whole lines."""
    file.seek(0)
    while block := file.read(CHUNK):
        yield block + file.readline()


def _non_ascii_utf8(file: IO[bytes]) -> bool:
    ascii_only = True
    for block in _blocks(file):
        if not _decodes(block, "utf-8"):
            return False
        ascii_only = ascii_only and block.isascii()
    return not ascii_only


def _decodes(data: bytes, encoding: str) -> bool:
    try:
        data.decode(encoding)
    except UnicodeDecodeError:
        return False
    return True


def _guess(path: Path, file: IO[bytes]) -> str | None:
    """The encoding of a file that is not UTF-8; ``None`` when it is, at least for the most part."""
    good, bad, sample = 0, 0, bytearray()
    for block in _blocks(file):
        if block.isascii():
            continue
        if _decodes(block, "utf-8"):
            good += 1
            continue
        for line in block.splitlines(keepends=True):
            if not line.isascii():
                fits = _decodes(line, "utf-8")
                good, bad = good + fits, bad + (not fits)
                if not fits and len(sample) < CHUNK:
                    sample += line
    if good >= bad:
        return None
    return _likeliest(path, bytes(sample[:CHUNK]))


def _likeliest(path: Path, sample: bytes) -> str:
    from charset_normalizer import from_bytes

    found = list(from_bytes(sample))
    if not found:
        raise DataError(f"{path}: this is text in no encoding that can be told; set encoding, or check that it is text")
    # encodings that give the very same text are one match
    equal = [name for match in found if match.chaos <= found[0].chaos for name in match.could_be_from_charset]
    return "cp1252" if "cp1252" in equal else found[0].encoding  # by far the most frequent of those that look as well


def _transcoded(path: Path, file: IO[bytes], encoding: str) -> IO[bytes]:
    """A temporary copy in UTF-8."""
    copy = tempfile.SpooledTemporaryFile(max_size=CHUNK)  # noqa: SIM115  (it lives as long as its rows)
    decoder = codecs.getincrementaldecoder(encoding)("strict")
    file.seek(0)
    line = 1
    try:
        while block := file.read(CHUNK):
            text = decoder.decode(block)
            line += text.count("\n")
            copy.write(text.encode("utf-8", "surrogatepass"))
        copy.write(decoder.decode(b"", final=True).encode())
    except UnicodeError as error:
        _report(path, file, encoding, line, error)
    copy.seek(0)
    return copy


def _report(path: Path, file: IO[bytes], encoding: str, line: int, error: UnicodeError) -> None:
    """Name the lines that are not in an encoding; where a line end is not one byte, only where the first one is."""
    problems = BadLines(path)
    if "\n".encode(encoding) == b"\n":
        file.seek(0)
        for number, raw in enumerate(file, 1):
            if not _decodes(raw, encoding):
                problems.add(number, undecodable(raw, encoding))
    if not problems.count:
        problems.add(line, f"not {encoding} from here on ({error.args[-1]})")
    problems.require_none()


def undecodable(raw: bytes, encoding: str = "utf-8") -> str:
    """Why a line is not in an encoding: its first wrong byte."""
    try:
        raw.decode(encoding)
    except UnicodeDecodeError as error:
        return f"byte 0x{raw[error.start]:02x} at column {error.start + 1} is not {encoding}"
    return ""
