"""Every command in the README and the documentation exists, takes these arguments, and names real settings."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest
from doc_blocks import PAGES, ROOT, TO_BE_MADE, blocks, commands

from graft import tasks
from graft.cli.main import cli
from graft.cli.recipes import given_flags, recipe_and_overrides
from graft.config.loading import load_recipe
from graft.pipeline.branches import target_tasks, trained_tasks
from graft.pipeline.prepare.effect import effective
from graft.pipeline.prepare.prompts import own_task
from graft.pipeline.prepare.taskbook import task_names

COMMANDS = [(page, words) for page in PAGES for words in commands(page)]
YAML = [(page, block.text) for page in PAGES for block in blocks(page) if block.kind == "yaml"]
RECIPES = sorted((ROOT / "recipes").rglob("*.yaml"))


def parsed(words: list[str]) -> click.Context:
    """The context of a command line, parsed to its end without running anything."""
    command: click.Command = cli
    context = click.Context(cli, info_name="graft")
    rest = words
    while isinstance(command, click.Group) and rest and not rest[0].startswith("-"):
        found = command.get_command(context, rest[0])
        assert found is not None, f"there is no command {rest[0]}"
        command, rest = found, rest[1:]
        context = click.Context(command, info_name=found.name, parent=context)
    return command.make_context(command.name, list(rest), parent=context.parent)


def ids(case: tuple[Path, object]) -> str:
    page, content = case
    shown = " ".join(content) if isinstance(content, list) else str(content).partition("\n")[0]
    return f"{page.name}: {shown}"


@pytest.mark.parametrize("case", COMMANDS, ids=ids)
def test_every_command_line_exists(case: tuple[Path, list[str]]) -> None:
    _, words = case
    if words[0] == "make":
        targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
        assert set(words[1:]) <= set(targets)
    else:
        assert words[0] == "graft"
        parsed(words[1:])


@pytest.mark.parametrize("case", [case for case in COMMANDS if case[1][0] == "graft"], ids=ids)
def test_the_recipes_and_overrides_of_a_command_line_load(case: tuple[Path, list[str]]) -> None:
    parameters = parsed(case[1][1:]).params
    arguments = parameters.get("arguments") or parameters.get("overrides") or ()
    recipe, overrides = recipe_and_overrides(arguments)
    recipe = recipe or parameters.get("recipe")
    shipped = ROOT / recipe if recipe and recipe.startswith("recipes/") and recipe not in TO_BE_MADE else None
    assert effective(load_recipe(shipped, overrides, given_flags(parameters))).recipe  # no word of it is in vain
    for name in parameters.get("flag_task", ()):
        assert name in tasks.names()


@pytest.mark.parametrize(
    "words", [["run", "--no-such-flag"], ["train", "--lora-x", "3"], ["tasks", "show"], ["runs", "shwo"]], ids=" ".join
)
def test_a_command_line_that_does_not_exist_is_noticed(words: list[str]) -> None:
    with pytest.raises((click.UsageError, AssertionError)):
        parsed(words)


@pytest.mark.parametrize("case", YAML, ids=ids)
def test_every_recipe_shown_on_a_page_is_valid(case: tuple[Path, str], tmp_path: Path) -> None:
    (tmp_path / "shown.yaml").write_text(case[1], encoding="utf-8")
    check_names(tmp_path / "shown.yaml")


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_shipped_recipe_is_valid(path: Path) -> None:
    check_names(path)
    first = path.read_text(encoding="utf-8").lstrip()
    assert first.startswith("#"), "a shipped recipe begins with a comment that says what it is for"
    assert f"graft run {path.relative_to(ROOT)}" in first, "and how to run it"


def check_names(path: Path) -> None:
    """Load a recipe and look its task names and arms up, as `graft check` does before it prepares anything."""
    recipe = load_recipe(path).recipe
    for name in (name for name in task_names(recipe) if own_task(recipe, name) is None):
        tasks.card(name)
    if "shuffled" in recipe.study.arms:
        assert "prose" not in trained_tasks(recipe)
    if "direct" in recipe.study.arms:
        assert target_tasks(recipe)
