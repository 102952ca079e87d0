"""`graft run`, `graft train` and `graft eval`: the commands that compute."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Container, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from graft.cli.completion import complete_recipes, complete_runs
from graft.cli.launch import helps_another, launch, process_flags, processes_to_start
from graft.cli.options import Common
from graft.cli.output import print_json, print_table
from graft.cli.progress import open_progress
from graft.cli.recipes import RecipeCommand, given_flags, recipe_and_overrides, recipe_flags, resolve
from graft.cli.text import echo
from graft.config.grid import sampling_grid as read_grid
from graft.config.loading import COMMAND_LINE, Resolved, load_recipe
from graft.errors import ConfigError, RunError

if TYPE_CHECKING:
    from graft.pipeline.outcome import Outcome
    from graft.pipeline.prepare.effect import Use
    from graft.pipeline.progress import Progress
    from graft.runs.directory import RunDirectory

ARMS = "study.arms"
"""The setting that decides what `graft train` trains."""

SCORING = (
    "name thinking model -model.id data -data.exhausted words style eval sampling generation remote study.outcome "
    "study.resamples check report runs"
)
"""What `graft eval MODEL` reads of its command line."""


@click.command(
    "run",
    cls=RecipeCommand,
    example="""graft run recipes/quickstart.yaml
               graft run recipes/quickstart.yaml train.max_steps=20 study.seeds=[0,1,2]
               graft run --resume latest""",
)
@click.argument("arguments", nargs=-1, metavar="RECIPE [KEY=VALUE]...", shell_complete=complete_recipes)
@click.option(
    "--resume", metavar="RUN|CHECKPOINT|latest", shell_complete=complete_runs, help="Continue a run that stopped."
)
@recipe_flags
@process_flags
@click.pass_obj
def run_command(
    common: Common,
    /,
    arguments: tuple[str, ...],
    resume: str | None,
    multi_gpu: bool,
    processes: int | None,
    **values: Any,
) -> int:
    """Run a recipe from data to report."""
    if (code := helps_another()) is not None:
        return code
    recipe, overrides = recipe_and_overrides(arguments)
    if recipe is None and resume is None:
        raise ConfigError("graft run needs a recipe: graft run RECIPE [key=value …]. `graft init` writes one.")
    unfinished = _to_resume(common, resume)
    resolved = _resolved(common, recipe, overrides, given_flags(values), unfinished)

    def work(progress: Progress) -> Outcome:
        from graft.pipeline.run import run

        return run(resolved, progress=progress, resume=unfinished)

    return _in_processes(common, "run", resolved, work, unfinished, multi_gpu=multi_gpu, processes=processes)


@click.command(
    "train",
    cls=RecipeCommand,
    example="""graft train --model sprout --task spelling --mode sft --lora-r 16 --max-steps 200
               graft train --recipe recipes/quickstart.yaml --seeds 0,1""",
)
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("--recipe", metavar="FILE", shell_complete=complete_recipes, help="Start from this recipe.")
@click.option(
    "--resume", metavar="RUN|CHECKPOINT|latest", shell_complete=complete_runs, help="Continue a run that stopped."
)
@recipe_flags
@process_flags
@click.pass_obj
def train_command(
    common: Common,
    /,
    overrides: tuple[str, ...],
    recipe: str | None,
    resume: str | None,
    multi_gpu: bool,
    processes: int | None,
    **values: Any,
) -> int:
    """Train only, from flags or a recipe.

    Where neither names study.arms, the task alone is trained, with one seed and without the controls of a study.
    """
    if (code := helps_another()) is not None:
        return code
    unfinished = _to_resume(common, resume)
    resolved = _resolved(common, recipe, list(overrides), given_flags(values), unfinished)
    if ARMS not in resolved.origins and unfinished is None:
        resolved = _resolved(common, recipe, list(overrides), {**given_flags(values), ARMS: "base,trained"}, None)
        resolved = replace(resolved, origins={**resolved.origins, ARMS: "graft train"})

    def work(progress: Progress) -> Outcome:
        from graft.pipeline.run import train

        return train(resolved, progress=progress, resume=unfinished)

    return _in_processes(common, "train", resolved, work, unfinished, multi_gpu=multi_gpu, processes=processes)


@click.command(
    "eval",
    cls=RecipeCommand,
    example="""graft eval latest
               graft eval latest --tasks echo,length --eval-items 500
               graft eval sprout --eval-tasks spelling,count --eval-items 500
               graft eval sprout --sampling-grid "temperature=0,0.7 top_p=0.8,1"
               graft eval qwen3:0.6b model.backend=ollama""",
)
@click.argument("target", metavar="RUN|RUN:ARM|MODEL", shell_complete=complete_runs)
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("--tasks", metavar="A,B,…", help="Tasks to score; for a run, others than its own.")
@click.option("--recipe", metavar="FILE", shell_complete=complete_recipes, help="Settings and tasks for a model.")
@click.option("--sampling-grid", metavar="KEY=A,B…", help="Score every combination of these sampling settings too.")
@recipe_flags
@click.pass_obj
def eval_command(
    common: Common,
    /,
    target: str,
    overrides: tuple[str, ...],
    tasks: str | None,
    recipe: str | None,
    sampling_grid: str | None,
    **values: Any,
) -> None:
    """Score a run or a model on held-out items.

    A run is scored by its own recipe. With --tasks its arms are scored on other tasks, in a run of their own; RUN:ARM
    is a model.
    """
    from graft.cli.lookup import model_of, named_run
    from graft.train.processes import count

    if count() > 1:
        raise ConfigError(f"graft eval scores in one process, but {count()} were started; start one")
    flag_values = given_flags(values)
    if tasks is not None and "eval.tasks" in flag_values:
        raise ConfigError("--tasks and --eval-tasks are the same; give one of them")
    flag_values |= {} if tasks is None else {"eval.tasks": tasks}
    root = resolve(common, None, [pair for pair in overrides if pair.startswith("runs=")]).recipe.runs
    run = named_run(target, root)
    if run is not None:
        _eval_run(common, run, list(overrides), recipe, sampling_grid, flag_values)
        return
    resolved = resolve(common, recipe, overrides, flag_values, _use_of_eval(sampling_grid, flag_values))
    if sampling_grid is not None:
        read_grid(sampling_grid, resolved.recipe.sampling)  # a mistake is told before torch loads
    model = target if resolved.recipe.model.backend != "transformers" else model_of(target, root)

    def work(progress: Progress) -> Outcome:
        from graft.pipeline.run import evaluate

        return evaluate(model, resolved, progress=progress, sampling_grid=sampling_grid)

    _compute(common, "eval", resolved, work, options=_grid_option(sampling_grid))


def _grid_option(sampling_grid: str | None) -> str:
    return "" if sampling_grid is None else f" --sampling-grid {shlex.quote(sampling_grid)}"


def _eval_run(
    common: Common,
    run: RunDirectory,
    overrides: list[str],
    recipe: str | None,
    sampling_grid: str | None,
    flag_values: dict[str, Any],
) -> None:
    """Score what a run has not scored yet or, where tasks are named, its arms on these."""
    resolved = load_recipe(run.recipe, overrides, flag_values)
    if sampling_grid is not None:
        read_grid(sampling_grid, resolved.recipe.sampling)
    kept = ("runs", "model.url")
    typed = [key for key, origin in resolved.origins.items() if origin == COMMAND_LINE and key not in kept]
    further = "eval.tasks" in typed
    if not further and (typed or recipe):
        told = ", ".join([*typed, *([f"--recipe {recipe}"] if recipe else [])])
        raise ConfigError(
            f"{run.name} is a run, which is scored by its own recipe ({run.recipe}); {told} would have no effect. Name "
            "other tasks for its arms with --tasks, or start a run: graft run RECIPE"
        )
    if further and sampling_grid is not None:
        raise ConfigError("--sampling-grid is about the run's own tasks; leave it or --tasks out")
    if further:
        resolved = _further(resolved, recipe)

    def work(progress: Progress) -> Outcome:
        from graft.pipeline.run import evaluate, evaluate_further

        if further:
            return evaluate_further(run, resolved, progress=progress)
        return evaluate(str(run.path), resolved, progress=progress, sampling_grid=sampling_grid)

    _compute(common, "eval", resolved, work, None if further else run, _grid_option(sampling_grid))


def _further(resolved: Resolved, recipe: str | None) -> Resolved:
    """A run's recipe for other tasks, which may stand in a recipe of their own."""
    from graft.pipeline.prepare.effect import Use, effective
    from graft.pipeline.prepare.further import READS, further_recipe

    typed = {key: origin for key, origin in resolved.origins.items() if origin == COMMAND_LINE}
    use = Use("graft eval RUN --tasks", READS, "the run keeps its own; leave it out")
    effective(replace(resolved, origins=typed), use)
    return further_recipe(resolved, load_recipe(Path(recipe)).recipe.data.tasks if recipe else ())


def _use_of_eval(sampling_grid: str | None, flag_values: Mapping[str, Any]) -> Use:
    """What counts when a model is scored; a grid varies the sampling, and tasks to train only name tasks to score."""
    from graft.pipeline.prepare.effect import Use

    reads = f"{SCORING}{' -data.train' if 'eval.tasks' in flag_values else ''}"
    varied = ("temperature", "top_p", "top_k", "min_p", "seed") if sampling_grid is not None else ()
    instead = "it scores the model that is named as it is; leave it out"
    return Use("graft eval", reads, instead, tuple(f"sampling.{name}" for name in varied))


def _to_resume(common: Common, resume: str | None) -> RunDirectory | None:
    from graft.cli.lookup import run_to_resume

    return None if resume is None else run_to_resume(resume, common.runs_folder)


def _resolved(
    common: Common, recipe: str | None, overrides: list[str], flag_values: dict[str, Any], run: RunDirectory | None
) -> Resolved:
    """The recipe of the command line or, for a run that is continued, the one it was begun with."""
    if run is None or recipe is not None:
        return resolve(common, recipe, overrides, flag_values)
    if not run.recipe.is_file():
        raise RunError(f"{run.name} stopped before its recipe was written; start it again with: graft run RECIPE")
    return load_recipe(run.recipe, overrides, flag_values)


def _in_processes(
    common: Common,
    command: str,
    resolved: Resolved,
    work: Callable[[Progress], Outcome],
    unfinished: RunDirectory | None,
    *,
    multi_gpu: bool,
    processes: int | None,
) -> int:
    """Do the work here, or have the same command line done by as many processes as its flags ask for."""
    device = resolved.recipe.model.device
    count = processes_to_start(multi_gpu=multi_gpu, processes=processes, device=device)
    if count == 1:
        _compute(common, command, resolved, work, unfinished)
        return 0
    from graft.pipeline.prepare.validate import validate
    from graft.pipeline.train.crew import check_processes
    from graft.train.processes import gpu_count

    validate(resolved.recipe)
    check_processes(resolved.recipe, count)
    return launch(common.arguments, count, cpu=device == "cpu" or not gpu_count())


def _compute(
    common: Common,
    command: str,
    resolved: Resolved,
    work: Callable[[Progress], Outcome],
    unfinished: RunDirectory | None = None,
    options: str = "",
) -> None:
    """Check names, files and space before torch is imported, do the work under a display, print its outcome."""
    from graft.pipeline.prepare.validate import validate
    from graft.runs.directory import run_names
    from graft.runs.interrupts import terminable

    validate(resolved.recipe, training=command != "eval")
    root = unfinished.path.parent if unfinished else resolved.recipe.runs
    before = {*run_names(root)} - {unfinished.name if unfinished else ""}
    try:
        with terminable(), open_progress(quiet=common.quiet) as progress:
            outcome = work(progress)
    except KeyboardInterrupt:
        found = _how_to_resume(command, root, before)
        common.resume = f"{found}{options}" if found else ""
        raise
    show_outcome(common, outcome)


def _how_to_resume(command: str, root: Path, before: Container[str]) -> str:
    """The command that continues the run that was just interrupted; empty when none had begun."""
    from graft.runs.listing import list_runs
    from graft.runs.state import Status

    stopped = [run for run in list_runs(root) if run.name not in before and run.status is Status.INTERRUPTED]
    if not stopped:
        return ""
    elsewhere = "" if root == Path("runs") else f" --runs {shlex.quote(str(root))}"
    verb = "eval" if command == "eval" else f"{command} --resume"
    return f"graft {verb} {stopped[0].name}{elsewhere}"


def show_outcome(common: Common, outcome: Outcome) -> None:
    """Print the table, the headline and where everything lies."""
    if common.json:
        print_json(outcome.to_json())
        return
    if outcome.table.rows:
        print_table(outcome.table.columns, outcome.table.rows)
    echo(outcome.headline)
    for note in outcome.notes:
        echo(note)
    echo(f"run     {outcome.run.path}")
    if outcome.report is not None:
        echo(f"report  {outcome.report}")
