"""The rules that need more than one section of a recipe, or a look at the disk; checked before torch loads."""

from __future__ import annotations

from pathlib import Path

from graft import tasks
from graft.config.schema import Recipe
from graft.data.files import named, told_paths
from graft.data.user_tasks import check_spec
from graft.errors import ConfigError, DataError, StorageError
from graft.pipeline.branches import branches, target_tasks, trained_tasks
from graft.pipeline.prepare.modes import MODES
from graft.pipeline.prepare.prompts import check_prompt_style, own_task
from graft.pipeline.prepare.served import is_remote
from graft.pipeline.prepare.stopping import stopping_of
from graft.pipeline.prepare.style import check_style
from graft.pipeline.prepare.taskbook import task_names, uses_words
from graft.runs.space import require_space
from graft.tasks.custom import TaskSpec
from graft.train.backends import preload_engine, require_engine

CHECKPOINT_ALLOWANCE = 32 * 2**20
"""Bytes asked for per trained branch of a small model: adapter or weights, samples and logs."""


def validate(recipe: Recipe, *, training: bool = True) -> None:
    """Check names, files, arms, the engine and the run folder.

    Args:
        recipe: the settings.
        training: something will be trained, so the engine must be there; a scored run may have been trained elsewhere.

    Raises:
        ConfigError: a name, a file or a combination of settings is wrong.
        MissingExtra: the engine's package is not installed.
        StorageError: the run folder cannot be written or has no room.
    """
    _check_tasks(recipe)
    _check_server(recipe, training=training)
    if training and any(branch.seed is not None for branch in branches(recipe)):
        _check_engine(recipe)
        stopping_of(recipe, load=False)
        MODES[recipe.mode].check(recipe)
    _check_roles(recipe)
    _check_sources(recipe)
    check_prompt_style(recipe)
    check_style(recipe)
    _check_arms(recipe)
    worded = uses_words(recipe) and recipe.words.source not in ("package", "tokenizer")
    if worded and not Path(recipe.words.source).expanduser().is_file():
        raise ConfigError(
            f"words.source is {recipe.words.source!r}, but there is no such file; use package, tokenizer or a word file"
        )
    for path in recipe.data.corpus:
        if not path.is_file():
            raise ConfigError(f"data.corpus names {path}, but there is no such file; give paths of plain-text files")
    check_run_folder(recipe)


def _check_tasks(recipe: Recipe) -> None:
    """Names that exist, one task behind each, and files that are there."""
    for name in task_names(recipe):
        if own_task(recipe, name) is None:
            tasks.card(name)
    names = [section.name for section in recipe.data.tasks]
    for index, section in enumerate(recipe.data.tasks):
        where = f"data.tasks[{index}]"
        if names.count(section.name) > 1:
            raise ConfigError(f"data.tasks names {section.name} more than once; give every task a name of its own")
        check_spec(TaskSpec(**section.model_dump()))
        for key, paths in (("train", section.train), ("eval", section.eval)):
            try:
                named(paths or ())
            except DataError as error:
                raise ConfigError(f"{where}.{key} is {told_paths(paths or ())!r}, but {error}") from error


def _check_roles(recipe: Recipe) -> None:
    """A role is for a task that is scored and not trained, and plain text carries no claim."""
    for task, role in recipe.eval.roles.items():
        if task in trained_tasks(recipe):
            raise ConfigError(f"eval.roles says {task} is {role}, but data.train trains it; leave its role out")
        if role == "target" and own_task(recipe, task) is None and tasks.card(task).kind == "corpus":
            raise ConfigError(
                f"eval.roles says {task} is a target, but it is plain text, whose perplexity carries no claim; make it "
                "collateral"
            )


def check_run_folder(recipe: Recipe) -> None:
    """Make sure that the run folder exists, can be written and has room."""
    try:
        recipe.runs.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"runs is {recipe.runs}, but it cannot be made: {error.strerror}; choose another") from error
    trained = sum(branch.seed is not None for branch in branches(recipe))
    require_space(recipe.runs, CHECKPOINT_ALLOWANCE * max(1, trained), "checkpoints and samples")


def _check_sources(recipe: Recipe) -> None:
    named = trained_tasks(recipe)
    repeated = sorted({name for name in named if named.count(name) > 1})
    if repeated:
        raise ConfigError(f"data.train names {', '.join(repeated)} more than once; give one source per task")
    if "prose" in named and not recipe.data.corpus:
        raise ConfigError("data.train holds prose, but data.corpus is empty; name plain-text files there")


def _check_server(recipe: Recipe, *, training: bool) -> None:
    """A server writes replies; it neither trains nor shows its logits."""
    backend = recipe.model.backend
    if not is_remote(recipe):
        return
    if training and any(branch.seed is not None for branch in branches(recipe)):
        raise ConfigError(
            f"model.backend is {backend}, which can be scored but not trained; use graft eval, or set "
            "model.backend: transformers"
        )
    if recipe.generation.restrict_to is not None:
        raise ConfigError(
            f"generation.restrict_to is {recipe.generation.restrict_to}, but model.backend is {backend}, whose "
            "vocabulary cannot be masked from here; leave it out"
        )
    if recipe.thinking != "off" and recipe.model.tokenizer is None:
        raise ConfigError(
            f"thinking is {recipe.thinking} and model.backend is {backend}; name the model's tokenizer in "
            "model.tokenizer, so that its thinking can be counted"
        )


def _check_engine(recipe: Recipe) -> None:
    engine = recipe.engine.name
    require_engine(engine)
    if engine == "unsloth" and recipe.model.init == "random":
        raise ConfigError(
            "engine.name is unsloth, which loads its models itself, but model.init is random; "
            "save such a model to a folder and name that, or use engine.name: native"
        )
    if engine != "native" and recipe.train.restrict_to is not None:
        raise ConfigError(
            f"train.restrict_to is {recipe.train.restrict_to}, but engine.name is {engine}, whose softmax is its own; "
            "use engine.name: native"
        )
    preload_engine(engine)


def _is_corpus(recipe: Recipe, name: str) -> bool:
    """Whether a task that is not the recipe's own is plain text, which no arm is asked about."""
    return own_task(recipe, name) is None and tasks.card(name).kind == "corpus"


def _check_arms(recipe: Recipe) -> None:
    arms = recipe.study.arms
    others = [name for name in task_names(recipe) if not (tasks.is_word_task(name) or _is_corpus(recipe, name))]
    if "prompted" in arms and others:
        raise ConfigError(
            f"study.arms holds prompted, which asks the base to spell first, but {', '.join(others)} ask about no "
            "word; leave that arm out"
        )
    texts = [name for name in trained_tasks(recipe) if _is_corpus(recipe, name)]
    if "shuffled" in arms and texts:
        raise ConfigError(
            f"study.arms holds shuffled, which exchanges answers, but {', '.join(texts)} in data.train is plain text; "
            "leave that arm out"
        )
    if "direct" in arms and not target_tasks(recipe):
        raise ConfigError("study.arms holds direct, but every task of eval.tasks is trained; add a task to score")
