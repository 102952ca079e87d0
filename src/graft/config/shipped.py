"""Recipes that lie near a name that was not found."""

from __future__ import annotations

from pathlib import Path

import graft
from graft.errors import close_match


def recipe_folders() -> list[Path]:
    """Folders of shipped recipes: `recipes` here and, in a source checkout, the one beside `src`."""
    found = [Path("recipes"), Path(graft.__file__).resolve().parents[2] / "recipes"]
    folders: list[Path] = []
    for folder in found:
        if folder.is_dir() and folder.resolve() not in [known.resolve() for known in folders]:
            folders.append(folder)
    return folders


def near_recipes(path: Path) -> str:
    """The end of a "no such recipe" message: the nearest file, then what there is.

    Args:
        path: the file that was asked for.

    Returns:
        A sentence, or an empty string when no recipe is anywhere near.
    """
    known = [file for folder in dict.fromkeys((path.parent, *recipe_folders())) for file in _recipes(folder)]
    by_name = {file.name: file for file in reversed(known)}
    wanted = path.name if path.suffix in (".yaml", ".yml") else f"{path.name}.yaml"
    near = close_match(wanted, by_name)
    parts = [f"Did you mean {by_name[near]}?"] if near else []
    if known:
        names = [str(file) for file in known[:8]] + (["…"] if len(known) > 8 else [])
        parts.append(f"There {'is' if len(known) == 1 else 'are'}: {', '.join(names)}.")
    return " ".join(parts) or "`graft init` writes one."


def _recipes(folder: Path) -> list[Path]:
    try:
        return sorted(file for file in folder.iterdir() if file.suffix in (".yaml", ".yml"))
    except OSError:
        return []
