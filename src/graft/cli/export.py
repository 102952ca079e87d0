"""`graft export`: a branch of a run as something that other programs load."""

from __future__ import annotations

from pathlib import Path

import click

from graft.cli.completion import complete_runs
from graft.cli.options import Command, Common
from graft.cli.output import print_json, print_table
from graft.cli.progress import open_progress
from graft.cli.text import echo

TARGETS = ("merged", "adapter", "gguf", "ollama")
DTYPES = ("float32", "bfloat16", "float16")


def _list_forms(context: click.Context, parameter: click.Parameter, value: bool) -> None:
    """Show what can be made here, and end."""
    if not value or context.resilient_parsing:
        return
    from graft.export.possible import forms

    found = list(forms())
    if context.ensure_object(Common).json:
        print_json([form._asdict() for form in found])
    else:
        rows = [(form.flag, form.what, form.missing or "ready") for form in found]
        print_table(("form", "what it is", "here"), rows)
    context.exit()


@click.command(
    "export",
    cls=Command,
    example="""graft export latest --to merged --out my-model
               graft export latest --to gguf --quantize f16,q4_k_m --out my-gguf""",
)
@click.argument("run", metavar="RUN|latest", shell_complete=complete_runs)
@click.option("--to", "target", type=click.Choice(TARGETS), default="merged", show_default=True, help="What is made.")
@click.option("--arm", metavar="ARM", help="Arm of the run, such as trained-seed0.  [default: the first trained one]")
@click.option("--dtype", type=click.Choice(DTYPES), help="Type of merged weights.  [default: that of the base's files]")
@click.option("--quantize", metavar="TYPE,...", help="Types of GGUF files: f32, f16, q8_0, q4_k_m …  [default: f16]")
@click.option("--create", metavar="NAME", help="Give the model to a running Ollama under this name.")
@click.option("--out", required=True, metavar="FOLDER", type=click.Path(path_type=Path), help="Folder to write.")
@click.option("--score/--no-score", default=None, help="Ask the held-out items anew.  [default: GGUF of a scored arm]")
@click.option("--push-to", metavar="hub:OWNER/NAME", help="Upload the folder afterwards, to a private repository.")
@click.option("--force", is_flag=True, help="Replace a folder that is not empty.")
@click.option(
    "--list",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_list_forms,
    help="Show what can be made here, and what is missing for the rest.",
)
@click.pass_obj
def export_command(
    common: Common,
    run: str,
    target: str,
    arm: str | None,
    dtype: str | None,
    quantize: str | None,
    create: str | None,
    out: Path,
    score: bool | None,
    push_to: str | None,
    force: bool,
) -> None:
    """Make a model for other programs of a run, and compare it with the run.

    merged: one model without adapters. adapter: for PEFT and vLLM, beside the base. gguf: files for
    llama.cpp. ollama: one such file with a Modelfile.
    """
    from graft.cli.lookup import find_run

    directory = find_run(run, common.runs_folder)
    from graft.workbench.export.command import export

    wanted = [name.strip() for name in quantize.split(",")] if quantize is not None else []
    with open_progress(quiet=common.quiet) as progress:
        record = export(
            directory,
            target,
            arm=arm,
            dtype=dtype,
            quantize=wanted,
            create=create,
            out=out,
            force=force,
            score=score,
            push_to=push_to,
            progress=progress,
        )
    if common.json:
        print_json(record)
        return
    for line in (record["summary"], *record["notes"]):
        echo(line)
    echo(f"wrote   {out}")
