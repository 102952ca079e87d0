"""Which tasks of a recipe are asked as the field asks them, and which as Graft does."""

from __future__ import annotations

from graft.config.data import TaskSection
from graft.config.schema import Recipe
from graft.errors import ConfigError
from graft.pipeline.branches import target_tasks, trained_tasks
from graft.pipeline.prepare.served import is_remote
from graft.tasks.field import STANDARDS


def own_task(recipe: Recipe, name: str) -> TaskSection | None:
    """The recipe's own task of that name, if it has one."""
    return next((section for section in recipe.data.tasks if section.name == name), None)


def benchmark(recipe: Recipe, name: str) -> str:
    """The built-in task whose prompts and scorer a task uses: itself, or what it is like; empty for none."""
    section = own_task(recipe, name)
    return name if section is None else section.like or ""


def asked_as_field(recipe: Recipe, name: str) -> bool:
    """Whether the held-out rows of a task are asked and scored as lm-evaluation-harness does."""
    style = recipe.data.prompt_style
    if style == "instruct" or benchmark(recipe, name) not in STANDARDS or name not in recipe.eval.tasks:
        return False
    trained = {*trained_tasks(recipe), *(target_tasks(recipe) if "direct" in recipe.study.arms else ())}
    possible = not is_remote(recipe) and recipe.thinking == "off"
    return style == "field" or (possible and own_task(recipe, name) is None and name not in trained)


def prompt_style(recipe: Recipe, name: str) -> str:
    """How the held-out rows of a benchmark are asked, ``field`` or ``instruct``; empty where there is one way alone."""
    if benchmark(recipe, name) not in STANDARDS:
        return ""
    return "field" if asked_as_field(recipe, name) else "instruct"


def check_prompt_style(recipe: Recipe) -> None:
    """Refuse a style that could not be had.

    Raises:
        ConfigError: the recipe asks for the field's style, but its model is behind a server, or it thinks.
    """
    if recipe.data.prompt_style != "field":
        return
    where = "data.prompt_style is field"
    if is_remote(recipe):
        raise ConfigError(
            f"{where}, which needs likelihoods and plain text, but model.backend is {recipe.model.backend}, which "
            "answers chats; set data.prompt_style: instruct, or model.backend: transformers"
        )
    if recipe.thinking != "off":
        raise ConfigError(
            f"{where}, which asks without thinking, but thinking is {recipe.thinking}; set data.prompt_style: "
            "instruct, or thinking: off"
        )
