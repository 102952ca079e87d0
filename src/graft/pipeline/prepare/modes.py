"""What each mode of training is about, and what it refuses before anything is loaded.

The modes are named here and nowhere else in this stage.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec

from graft.config.schema import Recipe
from graft.errors import ConfigError, MissingExtra
from graft.pipeline.branches import trained_tasks
from graft.pipeline.prepare.streams import may_be_text, refuse_source

TEXT_ARMS = ("base", "trained")
"""The arms that pretraining has: the others answer prompts."""

SUPERVISED_ARMS = ("format", "self", "shuffled")
"""Arms that are defined by the answers they are trained on; a reward takes their place."""


def check_grpo(recipe: Recipe) -> None:
    """Refuse what cannot be trained by reward, before anything is loaded.

    Raises:
        ConfigError: a setting or an arm has no meaning here.
        MissingExtra: TRL is not installed.
    """
    if find_spec("trl") is None:
        raise MissingExtra("mode: grpo", "trl")
    if wrong := [arm for arm in recipe.study.arms if arm in SUPERVISED_ARMS]:
        raise ConfigError(
            f"study.arms holds {', '.join(wrong)}, but mode is grpo, which trains on rewards and not on answers; "
            "set study.arms: [base, trained]"
        )
    if "prose" in trained_tasks(recipe):
        raise ConfigError("data.train holds prose, but mode is grpo and plain text has no scorer; leave it out")
    if recipe.engine.name == "unsloth":
        raise ConfigError("engine.name is unsloth, but mode grpo trains through TRL; use engine.name: native")
    if recipe.train.restrict_to is not None:
        raise ConfigError(
            f"train.restrict_to is {recipe.train.restrict_to}, but mode is grpo, whose softmax is TRL's; leave it out"
        )


def check_pretrain(recipe: Recipe) -> None:
    """Refuse what is no plain text, as far as can be told without reading it.

    Raises:
        ConfigError: a source is no corpus, or an arm has no meaning here.
    """
    own = {section.name: section for section in recipe.data.tasks}
    for source in recipe.data.train:
        if not may_be_text(source.task, own.get(source.task)):
            refuse_source(source.task)
    if wrong := [arm for arm in recipe.study.arms if arm not in TEXT_ARMS]:
        raise ConfigError(
            f"study.arms holds {', '.join(wrong)}, but mode is pretrain, whose texts have no prompts; set "
            "study.arms: [base, trained]"
        )


@dataclass(frozen=True, slots=True)
class Mode:
    """What a mode of training means to the other parts of a run.

    Attributes:
        check: refuses what cannot be trained that way, before anything is loaded.
        answers: it trains on answers to prompts.
        texts_only: it trains on plain text alone, so there are no prompts, and no arms to compare answers with.
        many_processes: several processes can share a training.
        rewards: the scorers of the trained tasks are the reward, so nothing may forge what they say.
    """

    check: Callable[[Recipe], None]
    answers: bool = False
    texts_only: bool = False
    many_processes: bool = True
    rewards: bool = False


MODES: Mapping[str, Mode] = {
    "sft": Mode(lambda recipe: None, answers=True),
    "pretrain": Mode(check_pretrain, texts_only=True),
    "grpo": Mode(check_grpo, many_processes=False, rewards=True),
}
