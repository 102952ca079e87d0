"""`graft check`: everything that can be known of a recipe before it runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from graft.cli.completion import complete_recipes
from graft.cli.options import Command, Common
from graft.cli.output import print_json, print_table
from graft.cli.progress import open_progress
from graft.cli.recipes import recipe_and_overrides, resolve
from graft.cli.text import echo, echo_styled
from graft.config.writing import to_yaml
from graft.errors import ConfigError

if TYPE_CHECKING:
    from graft.data.survey import ShownExample

EXIT_WARNINGS = 1

STYLES: dict[str, dict[str, Any]] = {
    "template": {"dim": True},
    "prompt": {},
    "trained": {"fg": "green", "bold": True},
    "lost": {"fg": "red", "bold": True},
    "cut": {"fg": "red", "strikethrough": True},
}
"""How a token is shown, by what it is."""


@click.command("check", cls=Command, example="graft check recipes/quickstart.yaml train.max_steps=20")
@click.argument("arguments", nargs=-1, metavar="RECIPE [KEY=VALUE]...", shell_complete=complete_recipes)
@click.option("--html", type=click.Path(dir_okay=False, path_type=Path), help="The page.  [RUNS/preflight.html]")
@click.option(
    "--drop-leaks",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write the ids of the held-out items that no training text gives away.",
)
@click.option("--strict", is_flag=True, help="Exit with 1 when there are warnings.")
@click.pass_obj
def check_command(
    common: Common, arguments: tuple[str, ...], html: Path | None, drop_leaks: Path | None, strict: bool
) -> int:
    """Check a recipe and show what it would do.

    Prints the resolved recipe with the origin of every value that is not a default, examples token by token, what is
    odd about the data, held-out items that leaked into the training rows, what training will take, and the smallest
    effect it could detect. The page has more of it. Trains nothing. Exits with 2 when the recipe cannot run.
    """
    recipe, overrides = recipe_and_overrides(arguments)
    if recipe is None and not overrides:
        raise ConfigError("graft check needs a recipe: graft check RECIPE [key=value …]. `graft init` writes one.")
    resolved = resolve(common, recipe, overrides)
    from graft.pipeline.prepare.validate import validate

    validate(resolved.recipe)  # names and files, before the tokenizer's libraries are imported
    from graft.pipeline.prepare.check import check

    with open_progress(quiet=common.quiet or common.json) as progress:
        result = check(resolved, progress=progress, page=html, clean=drop_leaks)
    code = EXIT_WARNINGS if strict and result.warnings else 0
    if common.json:
        recipe_json = resolved.recipe.model_dump(mode="json")
        print_json({"recipe": recipe_json, "origins": dict(resolved.origins), **result.to_json()})
        return code
    if not common.quiet:
        echo(to_yaml(resolved))
    for line in result.lines:
        echo(line)
    for example in result.shown:
        echo_styled([(f"\n{example.id}, ", {}), ("⟦what is trained⟧", STYLES["trained"])])
        echo_styled(_coloured(example))
    for table in result.tables:
        print_table(table.columns, table.rows)
    for warning in result.warnings:
        echo(f"warning: {warning}", err=True)
    echo(f"page      {result.page}")
    return code


def _coloured(example: ShownExample) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """An example with each token in the colour of what it is; what is trained also stands in brackets."""
    for kind, run in groupby(example.pieces, key=lambda piece: piece[1]):
        shown = "".join(piece for piece, _ in run)
        yield f"⟦{shown}⟧" if kind == "trained" else shown, STYLES[kind]
