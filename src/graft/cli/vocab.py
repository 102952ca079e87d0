"""`graft vocab`: the English part of a vocabulary, a model trimmed to it, and the way back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from graft.cli.options import Command, CommandGroup, Common
from graft.cli.output import print_json, print_table
from graft.cli.progress import open_progress
from graft.cli.text import echo

_FILE = click.Path(path_type=Path, dir_okay=False)
_FOLDER = click.Path(path_type=Path)
_out = click.option("--out", required=True, metavar="FOLDER", type=_FOLDER, help="Folder to write.")
_force = click.option("--force", is_flag=True, help="Write into a folder that is not empty.")
_revision = click.option("--revision", metavar="NAME", help="Branch, tag or commit of a hub model.")


@click.group(
    "vocab",
    cls=CommandGroup,
    example="""graft vocab english sprout --out vocabulary
               graft vocab trim sprout --keep english --out sprout-english""",
)
def vocab_command() -> None:
    """Classify a vocabulary, or trim a model to a part of it."""


def _named(common: Common, model: str) -> str:
    """The model; an arm of a run as a folder, merged with its base where it is an adapter."""
    from graft.cli.lookup import model_of
    from graft.models.adapted import ready

    found = model_of(model, common.runs_folder)
    ready(found)
    return found


@vocab_command.command(
    "english", cls=Command, example="graft vocab english Qwen/Qwen3-0.6B --corpus prose.txt --out vocabulary"
)
@click.argument("model")
@click.option("--corpus", multiple=True, metavar="FILE", type=_FILE, help="English text to measure coverage on.")
@_revision
@_out
@_force
@click.pass_obj
def english_command(
    common: Common, model: str, corpus: tuple[Path, ...], revision: str | None, out: Path, force: bool
) -> None:
    """Classify every entry of a tokenizer and check the English subset."""
    from graft.workbench.vocabulary import english

    with open_progress(quiet=common.quiet) as progress:
        summary = english(
            _named(common, model), revision=revision, corpus=corpus, out=out, force=force, progress=progress
        )
    if common.json:
        print_json({**summary, "out": str(out)})
        return
    rows = [
        (name.replace("_", " "), f"{row['entries']:,}", f"{row['percent']:.1f}%", f"{row['kept']:,}")
        for name, row in summary["classes"].items()
    ]
    print_table(("class", "entries", "share", "kept"), rows)
    for line in _validation_lines(summary["validation"]):
        echo(line)
    echo(f"wrote   {out}: entries.jsonl, summary.json, composition.svg")


def _validation_lines(validation: dict[str, Any]) -> list[str]:
    goal = validation["coverage_goal"]
    lines = [
        f"covers  {found['share']:.3%} of {found['tokens']:,} tokens of {name}"
        f"{'' if found['share'] >= goal else f', below the goal of {goal:.1%}'}"
        for name, found in validation["coverage"].items()
    ] or [f"covers  unknown: {validation['coverage_note']}"]
    trips = validation["round_trips"]
    return [
        *lines,
        f"lets in {validation['other_script_kept']} entries of other scripts",
        f"returns {trips['texts'] - trips['failed']:,} of {trips['texts']:,} texts unchanged",
    ]


@vocab_command.command(
    "trim", cls=Command, example="graft vocab trim Qwen/Qwen3-0.6B --keep english --out qwen3-english"
)
@click.argument("model")
@click.option("--keep", "subset", required=True, metavar="SUBSET", help="Part that stays: english.")
@click.option("--corpus", multiple=True, metavar="FILE", type=_FILE, help="Keep every token of this text as well.")
@_revision
@_out
@_force
@click.pass_obj
def trim_command(
    common: Common, model: str, subset: str, corpus: tuple[Path, ...], revision: str | None, out: Path, force: bool
) -> None:
    """Write a smaller model: its tokenizer and its embeddings trimmed together."""
    from graft.workbench.vocabulary import trim

    with open_progress(quiet=common.quiet) as progress:
        report = trim(
            _named(common, model),
            revision=revision,
            subset=subset,
            corpus=corpus,
            out=out,
            force=force,
            progress=progress,
        )
    if common.json:
        print_json({**report, "out": str(out)})
        return
    before, after = report["before"], report["after"]
    saved = {name: 1 - after[name] / before[name] for name in ("rows", "parameters", "bytes")}
    rows = [(name, f"{before[name]:,}", f"{after[name]:,}", f"{share:.1%}") for name, share in saved.items()]
    shares = [f"{size['embedding_share']:.1%}" for size in (before, after)]
    print_table(("", "before", "after", "saved"), [*rows, ("embedding share", *shares, "")])
    echo(f"wrote   {out}")


@vocab_command.command(
    "restore",
    cls=Command,
    example="graft vocab restore runs/NAME/checkpoints/trained-seed0/final --out adapter-full",
)
@click.argument("adapter", type=click.Path(path_type=Path, file_okay=False))
@click.option("--trimmed", metavar="FOLDER", type=_FOLDER, help="The trimmed model it was trained on.")
@_out
@_force
@click.pass_obj
def restore_command(common: Common, adapter: Path, trimmed: Path | None, out: Path, force: bool) -> None:
    """Put an adapter trained on a trimmed model back onto the full one."""
    from graft.workbench.vocabulary import restore

    mapping = restore(adapter, trimmed=trimmed, out=out, force=force)
    if common.json:
        print_json({"adapter": str(out), "model": mapping.model, "revision": mapping.revision})
    else:
        echo(f"wrote   {out}, an adapter of {mapping.model}")
