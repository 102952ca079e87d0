"""What was set and would have no effect: refused, with the way to get what was meant.

A setting that was typed on the command line counts whatever its value. One of a recipe file counts when it differs from
its default, since the copy of a recipe that a run keeps holds them all. Where the command line itself changed what
decides (``graft run mine.yaml adapter.kind=none``), the file is overruled: its idle settings go back to their defaults,
so that the recipe of the run says what was done.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from graft import tasks
from graft.config.data import TaskSection
from graft.config.keys import section_settings, settings, value_at
from graft.config.loading import COMMAND_LINE, Resolved
from graft.config.schema import Recipe
from graft.errors import ConfigError
from graft.models.sampling import PRESETS, from_section
from graft.pipeline.branches import branches
from graft.pipeline.prepare.modes import MODES
from graft.pipeline.prepare.prompts import own_task, prompt_style
from graft.pipeline.prepare.served import is_remote
from graft.pipeline.prepare.streams import may_be_text
from graft.pipeline.prepare.taskbook import LABELLED, task_names, uses_words
from graft.tasks.code import CodeTask
from graft.tasks.field import STANDARDS
from graft.tasks.prose import ProseTask


@dataclass(frozen=True, slots=True)
class Rule:
    """When some settings have no effect.

    Attributes:
        keys: the settings, or whole sections, separated by blanks.
        when: whether they are idle in this recipe.
        why: what decides and how to get what was meant; may quote settings of the recipe ``r``, and its ``arms``.
        decides: the settings that decide, separated by blanks.
        untold: these settings, of those in ``keys``, are not idle.
    """

    keys: str
    when: Callable[[Recipe], bool]
    why: str
    decides: str
    untold: str = ""

    def settings(self) -> tuple[str, ...]:
        """The settings by dotted key."""
        names = {name for key in self.keys.split() for name in _below(key)}
        return tuple(name for name in settings() if name in names and name not in self.untold.split())


def _below(key: str) -> tuple[str, ...]:
    return tuple(name for name in settings() if name == key or name.startswith(f"{key}."))


def _is_texts(recipe: Recipe, name: str) -> bool:
    section = own_task(recipe, name)
    return may_be_text(name, section) and (section is None or MODES[recipe.mode].texts_only)


def _asks_nothing(recipe: Recipe) -> bool:
    return all(_is_texts(recipe, name) for name in task_names(recipe))


def _trains(recipe: Recipe) -> bool:
    return any(branch.seed is not None for branch in branches(recipe))


def _may_have_labels(recipe: Recipe, name: str) -> bool:
    section = own_task(recipe, name)
    if section is None or section.like is not None:
        return tasks.card(name if section is None else str(section.like)).kind in LABELLED
    return section.label is not None or section.prompt is None  # without a prompt its columns tell


def _has_labels(recipe: Recipe) -> bool:
    return not is_remote(recipe) and any(_may_have_labels(recipe, name) for name in recipe.eval.tasks)


def _runs_code(recipe: Recipe) -> bool:
    names = (section.like if (section := own_task(recipe, name)) else name for name in task_names(recipe))
    return any(issubclass(tasks.find(name), CodeTask) for name in names if name is not None)


def _is_on_hub(recipe: Recipe) -> bool:
    name = recipe.model.id
    return name != "sprout" and "://" not in name and not Path(name).expanduser().exists()


def _stops_early(recipe: Recipe) -> bool:
    return recipe.stopping.patience is not None or recipe.stopping.criterion is not None or recipe.train.keep_best


def _reads_prose(recipe: Recipe) -> bool:
    return ProseTask.card.name in task_names(recipe)


_GREEDY = "sampling is greedy (temperature 0), which draws nothing; set sampling.temperature or sampling.preset"
_OWN_ENGINE = "engine.layout engine.compile engine.parallel engine.activation_checkpointing"

RULES = (
    Rule(
        "train adapter engine stopping study.seeds data.exhausted",
        lambda r: not _trains(r),
        "study.arms is {arms}, and none of these is trained; add trained to study.arms",
        "study.arms",
    ),
    Rule(
        "adapter",
        lambda r: r.adapter.kind == "none",
        "adapter.kind is none, which trains every weight; set adapter.kind=lora to train adapters",
        "adapter.kind",
        untold="adapter.kind",
    ),
    Rule(
        "adapter.rslora adapter.dora model.dtype model.attention model.precision model.trust_remote_code",
        lambda r: r.engine.name == "unsloth",
        "engine.name is unsloth, which loads and adapts models its own way; set engine.name=native",
        "engine.name",
    ),
    Rule(
        "engine.self_check",
        lambda r: r.engine.name == "unsloth",
        "engine.name is unsloth, whose models have no other forward pass to compare with; leave it out",
        "engine.name",
    ),
    Rule(
        _OWN_ENGINE,
        lambda r: r.engine.name != "native",
        "engine.name is {r.engine.name}, which arranges that itself; set engine.name=native",
        "engine.name",
    ),
    Rule(
        "engine.layout engine.compile engine.parallel",
        lambda r: r.mode == "grpo",
        "mode is grpo, which trains through TRL; leave it out",
        "mode",
    ),
    Rule(
        "train.epochs",
        lambda r: r.train.max_steps is not None,
        "train.max_steps is {r.train.max_steps}, which decides; set train.max_steps=null or leave epochs out",
        "train.max_steps",
    ),
    Rule(
        "train.warmup_share",
        lambda r: r.train.warmup_steps is not None,
        "train.warmup_steps is {r.train.warmup_steps}, which decides; set train.warmup_steps=null or leave this out",
        "train.warmup_steps",
    ),
    Rule(
        "train.warmup_share",
        lambda r: r.train.schedule == "constant",
        "train.schedule is constant, which has no warm-up; set train.schedule=constant_with_warmup",
        "train.schedule",
    ),
    Rule(
        "train.eval_max_batches",
        lambda r: r.train.eval_steps is None,
        "train.eval_steps is unset, so nothing is measured on the way; set train.eval_steps",
        "train.eval_steps",
    ),
    Rule(
        "train.keep_last",
        lambda r: r.train.save_steps is None and r.train.save_minutes is None,
        "train.save_steps and train.save_minutes are unset, so there are no checkpoints to keep; set one of them",
        "train.save_steps train.save_minutes",
    ),
    Rule(
        "stopping.metric stopping.mode stopping.min_delta",
        lambda r: not _stops_early(r),
        "nothing is stopped by it; set stopping.patience, stopping.criterion or train.keep_best",
        "stopping.patience stopping.criterion train.keep_best",
    ),
    Rule("grpo", lambda r: r.mode != "grpo", "mode is {r.mode}, which draws no rewards; set mode=grpo", "mode"),
    Rule(
        "style.data style.held_out",
        lambda r: not r.style.tokens,
        "style.tokens is empty; set style.tokens, such as [<STYLE_TERSE>, <STYLE_VERBOSE>]",
        "style.tokens",
    ),
    Rule(
        "style.held_out",
        lambda r: r.style.data is None,
        "style.data is unset, and generated rows have a split of their own; set style.data",
        "style.data",
    ),
    Rule(
        "words",
        lambda r: not uses_words(r),
        "no word task is trained or scored; add one to data.train or eval.tasks (graft tasks lists them)",
        "data.train eval.tasks",
        untold="words.seed",
    ),
    Rule(
        "words.pool",
        lambda r: r.words.source != "package",
        "words.source is {r.words.source}, which has no pools; set words.source=package",
        "words.source",
    ),
    Rule(
        "data.corpus",
        lambda r: not _reads_prose(r),
        "only the task prose reads it, which is neither trained nor scored; add prose to data.train or eval.tasks",
        "data.train eval.tasks",
    ),
    Rule(
        "data.prompt_style",
        lambda r: not any(prompt_style(r, name) for name in r.eval.tasks),
        f"no scored task is one that the field asks in one way; score one ({', '.join(STANDARDS)}), or leave it out",
        "eval.tasks data.tasks",
    ),
    Rule(
        "eval.labels eval.calibration_items",
        lambda r: not _has_labels(r),
        "no task with labels is scored by a model in this process; add one to eval.tasks (graft tasks lists them)",
        "eval.tasks data.train model.backend",
    ),
    Rule(
        "eval.allow_code_execution eval.weak_sandbox",
        lambda r: not _runs_code(r),
        "no task here is answered with code; add one, such as bigcodebench, or leave it out",
        "eval.tasks data.train",
    ),
    Rule(
        "eval.thinking_samples eval.thinking_max_new_tokens",
        lambda r: r.thinking == "off",
        "thinking is off; set thinking=on or thinking=compare",
        "thinking",
    ),
    Rule(
        "sampling.top_p sampling.top_k sampling.min_p",
        lambda r: from_section(r.sampling).greedy,
        _GREEDY,
        "sampling.temperature sampling.preset",
    ),
    Rule(
        "sampling.seed",
        lambda r: from_section(r.sampling).greedy and r.thinking == "off",
        _GREEDY,
        "sampling.temperature sampling.preset thinking",
    ),
    Rule(
        "sampling.preset",
        lambda r: from_section(r.sampling).greedy and not PRESETS[r.sampling.preset].greedy,
        "sampling.temperature is 0, which is greedy; leave one of the two out",
        "sampling.temperature",
    ),
    Rule(
        "thinking model.system model.template sampling eval.seen_items report.items",
        _asks_nothing,
        "only plain text is trained and scored, so nothing is asked; add a task with prompts to eval.tasks",
        "eval.tasks data.train mode",
    ),
    Rule(
        "remote",
        lambda r: not is_remote(r),
        "model.backend is transformers, which asks no server; set model.backend=openai or model.backend=ollama",
        "model.backend",
    ),
    Rule(
        "model.revision model.init model.device model.dtype model.precision model.attention model.quantize "
        "model.trust_remote_code model.allow_pickle model.template",
        is_remote,
        "model.backend is {r.model.backend}, and the server loads and prompts its model itself; leave it out",
        "model.backend",
    ),
    Rule(
        "model.revision",
        lambda r: not _is_on_hub(r),
        "model.id is {r.model.id}, which is on no hub and has no revisions; leave it out",
        "model.id",
    ),
    Rule(
        "model.allow_pickle",
        lambda r: r.model.init == "random",
        "model.init is random, so no weights are loaded; leave one of the two out",
        "model.init",
    ),
    Rule(
        "study.control",
        lambda r: r.study.control not in ("auto", *r.study.arms),
        "study.arms is {arms}, which lacks it; add it there",
        "study.arms",
    ),
    Rule(
        "study.margin study.alpha",
        lambda r: len(r.study.arms) == 1,
        "study.arms is {arms}, and there is nothing to compare it with; add arms",
        "study.arms",
    ),
    Rule(
        "study.resamples",
        lambda r: not (_has_labels(r) or r.style.tokens or any(_is_texts(r, name) for name in r.eval.tasks)),
        "no task with labels, plain text or style is scored, and other intervals need no resampling; leave it out",
        "eval.tasks data.train",
    ),
)
"""All of them; of several that hold the first is told."""


@dataclass(frozen=True, slots=True)
class Use:
    """What a recipe is used for, where that reads less than a run.

    Attributes:
        command: as it is typed.
        reads: settings and sections that count on its command line, with blanks between; ``-model.id`` takes one out.
        instead: what to do about others.
        varied: settings that the command varies itself.
    """

    command: str
    reads: str
    instead: str
    varied: tuple[str, ...] = ()

    def counts(self, key: str) -> bool:
        """Whether the command reads a setting."""
        names = self.reads.split()
        return f"-{key}" not in names and any(key in _below(name) for name in names)


def effective(resolved: Resolved, use: Use | None = None) -> Resolved:
    """The recipe as it counts: what the command line overruled has its default.

    Args:
        resolved: the recipe with the origin of each value that was given.
        use: what it is used for, where that reads less than a run.

    Raises:
        ConfigError: something was set that has no effect; the message lists all of it.
    """
    problems = [] if use is None else list(_unread(resolved, use))
    overruled: dict[str, Any] = {}
    for key, rule in _idle(resolved, () if use is None else use.varied):
        if any(line.startswith(f"{key} is ") for line in problems):
            continue
        if _overrules(resolved, key, rule.decides):
            overruled[key] = settings()[key].default
        else:
            arms = ", ".join(resolved.recipe.study.arms)
            problems.append(_told(resolved, key, rule.why.format(r=resolved.recipe, arms=arms)))
    problems += _entries(resolved)
    train, warm_up = resolved.recipe.train, "train.warmup_steps"
    if train.max_steps is not None and (train.warmup_steps or 0) >= train.max_steps and _counts(resolved, warm_up):
        if _overrules(resolved, warm_up, "train.max_steps"):
            overruled[warm_up] = train.max_steps // 2
        else:
            why = f"train.max_steps is {train.max_steps}, so the learning rate would never peak; warm up shorter"
            problems.append(_told(resolved, warm_up, why))
    if problems:
        raise ConfigError("\n".join(problems))
    return _with(resolved, overruled)


def _idle(resolved: Resolved, varied: Sequence[str]) -> Iterator[tuple[str, Rule]]:
    """The settings that somebody gave and no one reads, each with the rules that say so."""
    for rule in RULES:
        if rule.when(resolved.recipe):
            yield from ((key, rule) for key in rule.settings() if key not in varied and _counts(resolved, key))


def _unread(resolved: Resolved, use: Use) -> Iterator[str]:
    """What was typed for a command that does not read it."""
    for key, origin in resolved.origins.items():
        if origin == COMMAND_LINE and not use.counts(key):
            yield _told(resolved, key, f"{use.command} does not read it; {use.instead}")


def _counts(resolved: Resolved, key: str) -> bool:
    """Whether somebody meant something by a setting."""
    origin = resolved.origins.get(key)
    return origin == COMMAND_LINE or (origin is not None and value_at(resolved.recipe, key) != settings()[key].default)


def _overrules(resolved: Resolved, key: str, decides: str) -> bool:
    """Whether the command line changed what makes a setting of the file idle."""
    typed = any(resolved.origins.get(name) == COMMAND_LINE for name in decides.split())
    return typed and resolved.origins.get(key) != COMMAND_LINE


def _told(resolved: Resolved, key: str, why: str) -> str:
    value = value_at(resolved.recipe, key)
    listed = [str(getattr(entry, "task", entry)) for entry in value] if isinstance(value, tuple) else None
    shown = ", ".join(listed) if listed else "null" if value is None else str(value)
    return f"{key} is {shown} ({resolved.origins[key]}), but {why}"


def _entries(resolved: Resolved) -> Iterator[str]:
    """Settings inside lists: of training sources, and of tasks of one's own."""
    recipe = resolved.recipe
    if "data.train" not in resolved.origins and "data.tasks" not in resolved.origins:
        return
    for index, source in enumerate(recipe.data.train):
        word_task = own_task(recipe, source.task) is None and tasks.is_word_task(source.task)
        for name in ("words", "pseudo"):
            if getattr(source, name) and not word_task:
                yield f"data.train[{index}].{name} is {getattr(source, name)}, but {source.task} asks about no words"
    chosen = COMMAND_LINE in (resolved.origins.get("data.train"), resolved.origins.get("eval.tasks"))
    for index, section in enumerate(recipe.data.tasks):
        where, name = f"data.tasks[{index}]", section.name
        if name not in task_names(recipe) and not chosen:
            yield f"{where} is {name}, but it is neither trained nor scored; name it in data.train or eval.tasks"
        yield from _own_entries(where, section)


def _own_entries(where: str, section: TaskSection) -> Iterator[str]:
    """Settings of a task of one's own that nothing reads."""
    known = {setting.name: setting.default for setting in section_settings(TaskSection, "")}
    idle = {
        "held_out": section.eval is not None and "eval names the rows that are held out; leave one of the two out",
        "metric": section.like is not None and f"it is like {section.like}, which has its own; leave it out",
        "format": section.like is not None and f"it is like {section.like}, which has its own; leave it out",
    }
    for name, why in idle.items():
        value: Any = getattr(section, name)
        if why and value != known[name]:
            yield f"{where}.{name} is {value}, but {why}"


def _with(resolved: Resolved, values: Mapping[str, Any]) -> Resolved:
    """The recipe with other values, for which nobody in particular is named."""
    recipe = resolved.recipe
    for key, value in values.items():
        head, _, name = key.rpartition(".")
        new = getattr(recipe, head).model_copy(update={name: value}) if head else value
        recipe = recipe.model_copy(update={head or name: new})
    origins = {key: origin for key, origin in resolved.origins.items() if key not in values}
    return replace(resolved, recipe=recipe, origins=origins)
