"""Everything a person can do wrong, as one tree of exceptions.

    GraftError
    ├── ConfigError      (ValueError)        a recipe or a flag breaks a rule
    ├── DataError        (ValueError)        rows, words or files break a rule
    ├── ModelError       (RuntimeError)      a model cannot be loaded or used
    │   └── ThinkingPolicyError              it would think where it must not, or cannot where it must
    ├── TrainError       (RuntimeError)      training cannot go on
    ├── RunError         (RuntimeError)      a run directory is missing, busy or damaged
    │   └── StorageError (OSError)           it cannot be written: rights or space
    └── MissingExtra     (ImportError)       an optional dependency is not installed

A message says where, which rule, the actual value and the next step. The command line prints it without a
traceback and exits with code 2; anything outside this tree is a bug and keeps its traceback.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

_LONGEST, _KEPT = 2000, 1950
_LONGEST_NAME = 200


class GraftError(Exception):
    """Base of every error that the user can act on."""


class ConfigError(GraftError, ValueError):
    """A recipe, a flag or an override breaks a rule."""


class DataError(GraftError, ValueError):
    """Rows, words or source files break a rule."""


class ModelError(GraftError, RuntimeError):
    """A model or tokenizer cannot be loaded or used."""


class ThinkingPolicyError(ModelError):
    """A model would think where the recipe forbids it, or cannot think where the recipe asks for it."""


class TrainError(GraftError, RuntimeError):
    """Training cannot start or cannot go on."""


class RunError(GraftError, RuntimeError):
    """A run directory is missing, busy, incomplete or damaged."""


class StorageError(RunError, OSError):
    """A file cannot be written: no permission or no space."""


class MissingExtra(GraftError, ImportError):  # noqa: N818  (what is missing is the name)
    """An optional dependency is not installed."""

    def __init__(self, feature: str, extra: str) -> None:
        super().__init__(f"{feature} needs an optional part of Graft: pip install 'graft-lm[{extra}]'")


def shortened(message: str) -> str:
    """A message of at most 2,000 characters: what was meant as a value may be a whole file."""
    left = len(message) - _KEPT
    return message if len(message) <= _LONGEST else f"{message[:_KEPT]} … ({left:,} more characters)"


def close_match(value: str, known: Iterable[str], cutoff: float = 0.5) -> str | None:
    """The known name that is spelled most like a value; none for what is too long to be a name."""
    near = difflib.get_close_matches(value, list(known), n=1, cutoff=cutoff) if len(value) <= _LONGEST_NAME else []
    return near[0] if near else None


def choices(value: str, known: Iterable[str]) -> str:
    """The end of an "unknown name" message: the nearest known name, then all of them.

    Args:
        value: the name that was not found.
        known: the names that would have been right.

    Returns:
        A sentence such as ``Did you mean 'count'? Known: count, position, spelling.``
    """
    names = sorted(known)
    near = close_match(value, names)
    hint = f"Did you mean '{near}'? " if near else ""
    return f"{hint}Known: {', '.join(names)}."
