"""`graft doctor`: what this machine offers, and whether a recipe can run here."""

from __future__ import annotations

import click

from graft.cli.completion import complete_recipes
from graft.cli.options import Command, Common
from graft.cli.output import print_json, print_table
from graft.cli.recipes import recipe_and_overrides, resolve
from graft.cli.text import echo

NOT_HERE = 2
"""Exit code when the recipe cannot run here."""


@click.command("doctor", cls=Command, example="graft doctor\ngraft doctor recipes/quickstart.yaml model.device=cuda")
@click.argument("arguments", nargs=-1, metavar="[RECIPE] [KEY=VALUE]...", shell_complete=complete_recipes)
@click.pass_obj
def doctor_command(common: Common, arguments: tuple[str, ...]) -> int:
    """Show what this machine offers and whether a recipe can run here.

    Lists devices, memory, disk, library versions, and the optional parts of Graft with what each would enable. For a
    recipe it forecasts the memory from the model's config, without loading or downloading its weights. The exit code is
    2 when the recipe cannot run here.
    """
    recipe, overrides = recipe_and_overrides(arguments)
    resolved = resolve(common, recipe, overrides) if arguments else None
    from graft.workbench.doctor import examine

    runs = resolved.recipe.runs if resolved else common.runs_folder
    diagnosis = examine(resolved.recipe if resolved else None, runs)
    if common.json:
        print_json(diagnosis.to_json())
        return 0 if diagnosis.can_run else NOT_HERE
    if not common.quiet:
        for table in diagnosis.tables.values():
            print_table(table.columns, table.rows)
    if resolved:
        rows = [(f.what, "yes" if f.ok else "no", f.detail) for f in diagnosis.findings]
        print_table(("recipe", "right", "found"), rows)
        echo("The recipe can run here." if diagnosis.can_run else "The recipe cannot run here: see above.")
    return 0 if diagnosis.can_run else NOT_HERE
