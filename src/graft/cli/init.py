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

FILE = click.Path(path_type=Path, dir_okay=False)
TABLES = (".csv", ".tsv", ".json", ".jsonl", ".ndjson", ".parquet", ".arrow", ".feather", ".gz", ".xlsx", ".xls")

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
               graft init messages.csv
               graft init my.yaml --model sprout --task spelling --lora-r 16 --seeds 0,1""",
)
@click.argument(
    "path", metavar="[RECIPE|TABLE]", default="recipe.yaml", type=click.Path(path_type=Path, dir_okay=False)
)
@click.option("--out", metavar="RECIPE", type=FILE, help="Recipe for a table.")
@click.option("--label", metavar="COLUMN", help="Column of the table with labels or answers.  [default: found out]")
@click.option("--text", metavar="A,B,…", help="Columns of the table that the prompt shows.  [default: found out]")
@click.option("--force", is_flag=True, help="Replace the file if it exists.")
@click.option("--yes", is_flag=True, help="Ask nothing; take the flags and the defaults.")
@recipe_flags
@click.pass_obj
def init_command(
    common: Common,
    /,
    path: Path,
    out: Path | None,
    label: str | None,
    text: str | None,
    force: bool,
    yes: bool,
    **values: Any,
) -> None:
    """Write a commented recipe after a few questions, or one for a table of your own.

    With any flag that sets something nothing is asked. Every other setting is in the file too, commented out, with
    its documentation and its default. Of a table (CSV, JSONL, Parquet …) the columns are found out, and prompt, labels,
    split and length are proposed.
    """
    given = given_flags(values)
    if path.suffix.lower() in TABLES:
        _propose(common, path, out or Path(f"{path.name.partition('.')[0]}.yaml"), force, label, text, given)
        return
    if beside := [flag for flag, value in (("--out", out), ("--label", label), ("--text", text)) if value is not None]:
        raise ConfigError(f"{beside[0]} is about a table, but {path} is the recipe to write; leave it out")
    _refuse_to_overwrite(path, force)
    answers = given or ({} if yes else _ask())
    resolved = resolve(common, None, (), answers)
    chosen = {key: value_at(resolved.recipe, key) for key in resolved.origins}
    _write(path, template(chosen, str(path)))
    if common.json:
        print_json({"recipe": str(path)})
    elif not common.quiet:
        echo(f"Wrote {path}. Look at what it would do: graft check {path}")


def _propose(
    common: Common, table: Path, path: Path, force: bool, label: str | None, text: str | None, given: Mapping[str, Any]
) -> None:
    """Write the recipe that is proposed for a table, and show what its first row becomes."""
    if others := [key for key in given if key != "model.id"]:
        raise ConfigError(f"{', '.join(others)} cannot be set beside a table; change the recipe that is written")
    _refuse_to_overwrite(path, force)
    from graft.workbench.proposal import propose

    texts = [name.strip() for name in text.split(",")] if text else []
    proposal = propose(table, model=given.get("model.id", "sprout"), label=label, texts=texts)
    _write(path, proposal.text)
    if common.json:
        print_json({"recipe": str(path), "found": list(proposal.found)})
        return
    if common.quiet:
        return
    for line in proposal.found:
        echo(line)
    echo("".join(f"⟦{piece}⟧" if kind == "trained" else piece for piece, kind in proposal.shown.pieces))
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
