"""`graft version`, `graft schema` and `graft completion`."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

import click

from graft import __version__
from graft.cli.options import Command, Common
from graft.cli.output import print_json
from graft.cli.text import echo

LIBRARIES = ("torch", "transformers", "peft", "tokenizers", "safetensors", "numpy", "pydantic", "click")


@click.command("version", cls=Command, example="graft version --json")
@click.pass_obj
def version_command(common: Common) -> None:
    """Print the versions of Graft and of what it stands on."""
    versions = {"graft": __version__, "python": platform.python_version(), "platform": platform.platform()}
    versions |= {name: _version(name) for name in LIBRARIES}
    if common.json:
        print_json(versions)
        return
    for name, number in versions.items():
        echo(f"{name:12}  {number}")


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


@click.command("schema", cls=Command, example="graft schema > recipe.schema.json")
def schema_command() -> None:
    """Print the JSON schema of recipes, for editors.

    With `# yaml-language-server: $schema=recipe.schema.json` as its first line a recipe is checked and completed by
    editors that know YAML.
    """
    from graft.config.reference import json_schema

    print_json(json_schema())


INSTALL = {
    "bash": "graft completion bash > ~/.local/share/bash-completion/completions/graft",
    "zsh": "graft completion zsh > ~/.zfunc/_graft, with fpath+=~/.zfunc before compinit in ~/.zshrc",
    "fish": "graft completion fish > ~/.config/fish/completions/graft.fish",
}


@click.command("completion", cls=Command, example='eval "$(graft completion bash)"')
@click.argument("shell", type=click.Choice(tuple(INSTALL)))
def completion_command(shell: str) -> None:
    """Print the completion script of a shell."""
    from click.shell_completion import get_completion_class

    from graft.cli.main import cli

    completion = get_completion_class(shell)
    assert completion is not None
    click.echo(completion(cli, {}, "graft", "_GRAFT_COMPLETE").source())
    # At the end, because zsh reads the first line of the file.
    echo(f"# To install: {INSTALL[shell]}")
