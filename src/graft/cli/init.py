"""`graft init`: a commented recipe to start from."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from graft.cli.options import Common
from graft.cli.output import print_json
from graft.cli.recipes import RecipeCommand, given_flags, recipe_flags, resolve
from graft.cli.text import echo
from graft.config.keys import settings, value_at
from graft.config.loading import load_recipe
from graft.config.reference import plain_default
from graft.config.writing import template
from graft.errors import ConfigError, StorageError

QUESTIONS = (
    ("model.id", "Model: sprout, a local folder or a hub id"),
    ("data.train", "Task to train (graft tasks lists them)"),
    ("adapter.kind", "Train adapters (lora) or every weight (none)"),
    ("train.epochs", "Passes over the training examples"),
    ("eval.tasks", "Tasks to score, separated by commas"),
    ("study.seeds", "Training seeds, separated by commas (5 or more for a firm claim)"),
)


@click.command(
    "init",
    cls=RecipeCommand,
    example="""graft init my.yaml
               graft init my.yaml --model sprout --task spelling --lora-r 16 --seeds 0,1""",
)
@click.argument("path", default="recipe.yaml", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--force", is_flag=True, help="Replace the file if it exists.")
@click.option("--yes", is_flag=True, help="Ask nothing; take the flags and the defaults.")
@recipe_flags
@click.pass_obj
def init_command(common: Common, /, path: Path, force: bool, yes: bool, **values: Any) -> None:
    """Write a commented recipe after a few questions.

    With any flag that sets something nothing is asked. Every other setting is in the file too, commented out, with
    its documentation and its default.
    """
    _refuse_to_overwrite(path, force)
    given = given_flags(values)
    answers = given or ({} if yes else _ask())
    resolved = resolve(common, None, (), answers)
    chosen = {key: value_at(resolved.recipe, key) for key in resolved.origins}
    _write(path, template(chosen, str(path)))
    if common.json:
        print_json({"recipe": str(path)})
    elif not common.quiet:
        echo(f"Wrote {path}. Look at what it would do: graft check {path}")


def _refuse_to_overwrite(path: Path, force: bool) -> None:
    if path.exists() and not force:
        raise ConfigError(f"{path} exists already; choose another name or replace it with --force.")


def _ask() -> dict[str, str]:
    """Ask the questions; an answer that breaks a rule is asked again."""
    known = settings()
    answers: dict[str, str] = {}
    for key, question in QUESTIONS:
        check = _checker(key)
        answers[key] = click.prompt(question, default=plain_default(known[key]), value_proc=check, err=True)
    return answers


def _checker(key: str) -> Any:
    def check(answer: str) -> str:
        try:
            recipe = load_recipe(None, (), {key: answer}).recipe
            _check_names({key: answer}, recipe.eval.tasks, [source.task for source in recipe.data.train])
        except ConfigError as error:
            raise click.UsageError(str(error).replace(" (command line)", "")) from error
        return answer

    return check


def _check_names(given: Mapping[str, Any], *named: Any) -> None:
    """Look task names up now, where the answer can still be changed."""
    if given.keys() & {"data.train", "eval.tasks"}:
        from graft import tasks

        for name in (name for group in named for name in group):
            tasks.card(name)


def _write(path: Path, text: str) -> None:
    from graft.runs.files import write_text

    if not path.parent.is_dir():
        raise StorageError(f"{path} cannot be written: there is no folder {path.parent}; make it first.")
    write_text(path, text)
