from __future__ import annotations

import re
from typing import Any

import pytest
from transformers.trainer_utils import SchedulerType
from transformers.training_args import OptimizerNames

from graft.config.loading import load_recipe
from graft.config.optimization import GRAFT_OPTIMIZERS, OPTIMIZERS, SCHEDULES
from graft.errors import ConfigError


def test_what_is_offered_is_known_to_transformers() -> None:
    assert {*OPTIMIZERS} - {*GRAFT_OPTIMIZERS} <= {name.value for name in OptimizerNames}
    assert {*SCHEDULES} <= {name.value for name in SchedulerType}


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        (["train.schedule=reduce_lr_on_plateau"], "train.schedule is 'reduce_lr_on_plateau'."),
        (["train.schedule=greedy"], "Known: constant, constant_with_warmup, cosine"),
        (["train.optimizer=stable_adamw"], "train.optimizer is 'stable_adamw'. Did you mean 'adamw"),
        (["train.optimizer=galore_adamw"], "Known: adafactor, adagrad, adamw"),
        (["train.schedule=warmup_stable_decay"],
         "train.schedule is warmup_stable_decay, which needs num_decay_steps in schedule_args, but got none; set "
         "train.schedule_args={num_decay_steps: 100}"),
        (["train.schedule=cosine_with_min_lr"], "needs min_lr or min_lr_rate in schedule_args, but got none; set"),
        (["train.schedule=cosine_with_min_lr", "train.schedule_args={min_lr: 0, min_lr_rate: 0}"], "got both min_lr"),
        (["train.schedule_args={num_cycles: 2}"], "schedule_args holds 'num_cycles', which linear does not have"),
        (["train.schedule=cosine", "train.schedule_args={num_cycle: 2}"], "Did you mean 'num_cycles'?"),
        (["train.schedule=inverse_sqrt", "train.schedule_args={timescale: 1.5}"], "must be a whole number, but got 1"),
        (["train.optimizer=sgd", "train.optimizer_args={momentum: much}"], "must be a number, but got 'much'"),
        (["train.schedule=constant", "train.warmup_steps=5"], "use constant_with_warmup"),
    ],
)  # fmt: skip
def test_a_wrong_optimizer_or_schedule_is_refused_with_what_there_is(settings: list[str], told: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(told)):
        load_recipe(None, settings)


def test_settings_are_read_from_the_command_line() -> None:
    def train(*settings: str) -> Any:
        return load_recipe(None, settings).recipe.train

    assert train("train.schedule=cosine_with_min_lr", "train.schedule_args={min_lr: 1e-5}").schedule_args
    assert train("train.optimizer=sgd", "train.optimizer_args={momentum: 0.9, nesterov: true}").optimizer_args
