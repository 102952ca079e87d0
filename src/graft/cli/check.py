"""`graft check`: everything that can be known of a recipe before it runs."""

from __future__ import annotations

import click

from graft.cli.completion import complete_recipes
from graft.cli.options import Command, Common
from graft.cli.output import print_json, print_table
from graft.cli.recipes import recipe_and_overrides, resolve
from graft.cli.text import printable
from graft.config.writing import to_yaml
from graft.errors import ConfigError


@click.command("check", cls=Command, example="graft check recipes/quickstart.yaml train.max_steps=20")
@click.argument("arguments", nargs=-1, metavar="RECIPE [KEY=VALUE]...", shell_complete=complete_recipes)
@click.pass_obj
def check_command(common: Common, arguments: tuple[str, ...]) -> None:
    """Check a recipe and show what it would do.

    Prints the resolved recipe with the origin of every value that is not a default, what would be trained and scored,
    how large it is, and the smallest effect it could detect. Trains nothing.
    """
    recipe, overrides = recipe_and_overrides(arguments)
    if recipe is None and not overrides:
        raise ConfigError("graft check needs a recipe: graft check RECIPE [key=value …]. `graft init` writes one.")
    resolved = resolve(common, recipe, overrides)
    from graft.pipeline.validate import validate

    validate(resolved.recipe)  # names and files, before the tokenizer's libraries are imported
    from graft.pipeline.check import check

    result = check(resolved)
    if common.json:
        recipe_json = resolved.recipe.model_dump(mode="json")
        print_json({"recipe": recipe_json, "origins": dict(resolved.origins), **result.to_json()})
        return
    if not common.quiet:
        click.echo(to_yaml(resolved))
    for line in result.lines:
        click.echo(printable(line))
    if result.table.rows:
        print_table(result.table.columns, result.table.rows)
    for warning in result.warnings:
        click.echo(printable(f"warning: {warning}"), err=True)
