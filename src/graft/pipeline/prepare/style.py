"""Style control before training: its settings, checked, and its task, built."""

from __future__ import annotations

from graft.config.schema import Recipe
from graft.data.style import style_rows
from graft.errors import ConfigError
from graft.pipeline.prepare.modes import MODES
from graft.pipeline.prepare.served import is_remote
from graft.tasks.style import GENERATED_WORDS, StyleTask, generated_rows, style_name
from graft.tasks.words.split import package_sets


def check_style(recipe: Recipe) -> None:
    """Refuse style settings that contradict each other, before anything is loaded.

    Raises:
        ConfigError: the message says which.
    """
    tokens, used = recipe.style.tokens, _uses_style(recipe)
    if not tokens:
        if used or "swapped" in recipe.study.arms:
            what = "the task style is used" if used else "study.arms holds swapped"
            raise ConfigError(f"{what}, but style.tokens is empty; set style.tokens: [<STYLE_TERSE>, <STYLE_VERBOSE>]")
        return
    names = [style_name(token) for token in tokens]
    if len(tokens) < 2 or len(set(names)) != len(names):
        raise ConfigError(f"style.tokens is {list(tokens)}, but at least two styles of different names are needed")
    if not any(source.task == StyleTask.card.name for source in recipe.data.train):
        raise ConfigError("style.tokens is set, but data.train does not hold the task style; set data.train: style")
    wrong = {
        "adapter.kind": recipe.adapter.kind != "lora",
        "mode": not MODES[recipe.mode].answers,
        "engine.name": recipe.engine.name == "unsloth",
        "model.backend": is_remote(recipe),
        "train.restrict_to": recipe.train.restrict_to is not None,
    }
    if bad := [key for key, is_wrong in wrong.items() if is_wrong]:
        raise ConfigError(
            f"style.tokens is set, but so is {', '.join(bad)}; style tokens are trained beside adapters of a model in "
            "this process, by the engine native or trl in mode sft, over the whole vocabulary"
        )
    path = recipe.style.data
    if path is not None and not path.expanduser().is_file():
        raise ConfigError(f"style.data is {str(path)!r}, but there is no such file; give a JSONL file")


def _uses_style(recipe: Recipe) -> bool:
    return StyleTask.card.name in (*(source.task for source in recipe.data.train), *recipe.eval.tasks)


def build_style_task(recipe: Recipe) -> StyleTask:
    """The task of the recipe's tokens, over its own rows or generated ones.

    Raises:
        ConfigError: there are no tokens.
    """
    section = recipe.style
    if section.data is not None:
        return StyleTask(style_rows(section.data, section.tokens, held_out=section.held_out), section.tokens)
    words = package_sets(**GENERATED_WORDS, seed=recipe.words.seed)
    return StyleTask(generated_rows(words, [style_name(token) for token in section.tokens]), section.tokens)
