"""What each mode of training refuses, before anything is loaded."""

from __future__ import annotations

from importlib.util import find_spec

from graft.config.schema import Recipe
from graft.errors import ConfigError, MissingExtra
from graft.pipeline.branches import trained_tasks

SUPERVISED_ARMS = ("format", "shuffled")
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
