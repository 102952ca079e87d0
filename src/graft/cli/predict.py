"""`graft predict`: the rows of a file, answered."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from graft.cli.completion import complete_recipes, complete_runs
from graft.cli.options import Command, Common
from graft.cli.output import print_json
from graft.cli.progress import open_progress
from graft.cli.recipes import resolve
from graft.cli.text import echo
from graft.errors import ConfigError


@click.command(
    "predict",
    cls=Command,
    example="""graft predict latest messages.csv --out answered.csv
               graft predict latest:trained-seed0 messages.parquet --out answered.jsonl --min-confidence 0.8""",
)
@click.argument("target", metavar="RUN|RUN:ARM|MODEL", shell_complete=complete_runs)
@click.argument("file", metavar="FILE|-")
@click.option(
    "--out", required=True, metavar="FILE", type=click.Path(path_type=Path), help="A .csv, .jsonl or .parquet."
)
@click.option("--task", metavar="TASK", help="Task whose prompt asks.  [default: the one that is trained]")
@click.option("--recipe", metavar="FILE", shell_complete=complete_recipes, help="Settings and tasks for a model.")
@click.option(
    "--min-confidence", type=click.FloatRange(0, 1), default=0.0, metavar="P", help="Give no label that is less likely."
)
@click.option("--force", is_flag=True, help="Replace the file if it exists.")
@click.pass_obj
def predict_command(
    common: Common,
    target: str,
    file: str,
    out: Path,
    task: str | None,
    recipe: str | None,
    min_confidence: float,
    force: bool,
) -> None:
    """Answer every row of a file with a run or a model.

    The file is CSV, JSONL, Parquet or another table with the columns of the task's prompt; - reads it from standard
    input. Rows keep their order and their columns. Tasks with labels add label, confidence, margin and the probability
    of each label, calibrated where the run could; other tasks add the reply. What was answered before a stop is kept.
    """
    from graft.cli.lookup import model_of, split_arm
    from graft.workbench.predict import open_predictor, predict

    run, arm = split_arm(target, common.runs_folder)
    if run is not None and recipe is not None:
        raise ConfigError(f"--recipe is {recipe}, but {run.name} is a run, which has its own; leave it out")
    with _input(file) as path, open_progress(quiet=common.quiet or common.json) as progress:
        if run is not None:
            from graft.config.loading import load_recipe
            from graft.pipeline.branches import find_branch

            stored = load_recipe(run.recipe).recipe
            branch = find_branch(stored, arm)
            predictor = open_predictor(stored, f"{run.name} {branch.label}", task, run=run, branch=branch)
        else:
            named = model_of(target, common.runs_folder)
            found = resolve(
                common, recipe, [f"model.id={named}", *([f"data.train={task}"] if task and not recipe else [])]
            )
            predictor = open_predictor(found.recipe, named, task)
        done = predict(predictor, path, out, least=min_confidence, force=force, progress=progress)
    if common.json:
        print_json(done.to_json())
        return
    for label, count in done.labels.items():
        echo(f"{label:20} {count:,}")
    if done.abstained:
        echo(f"{done.abstained:,} rows have no label: none reached --min-confidence {min_confidence:g}")
    if done.errors:
        echo(f"{done.errors:,} of {done.rows:,} rows could not be asked (first: {done.first_error})", err=True)
    echo(f"{done.rows:,} rows by {done.name}")
    echo(f"wrote   {done.out}")


@contextmanager
def _input(file: str) -> Iterator[Path]:
    """The file, or what standard input holds as a file."""
    if file != "-":
        yield Path(file)
        return
    if sys.stdin.isatty():
        raise ConfigError("FILE is -, which reads standard input, but that is the terminal; pipe a file into it")
    data = sys.stdin.buffer.read()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / ("input.jsonl" if data.lstrip()[:1] == b"{" else "input.csv")
        path.write_bytes(data)
        yield path
