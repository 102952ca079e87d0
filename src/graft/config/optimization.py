"""The optimizers and schedules that a recipe can name, and the settings that each of them has.

Left out are those of transformers' names that need a package outside this project's extras (GaLore, LOMO, APOLLO,
schedule-free, torchao …) and the schedules that follow a metric of every step.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from graft.errors import choices

_ADAM: Final = {"beta1": float, "beta2": float, "epsilon": float}
_MIX: Final = {**dict.fromkeys(("beta1", "beta2", "beta3", "alpha", "eps"), float), "t_alpha": int, "t_beta3": int}
_LION: Final = {"beta1": float, "beta2": float}
_FLOOR: Final = {"min_lr": float, "min_lr_rate": float, "num_cycles": float}


def _each(settings: Mapping[str, type], *names: str) -> dict[str, Mapping[str, type]]:
    return {name: dict(settings) for name in names}


GRAFT_OPTIMIZERS: Final[Mapping[str, Mapping[str, type]]] = {
    "adamw": {"beta1": float, "beta2": float},
    "muon": {"beta1": float, "beta2": float, "momentum": float},
}
"""Graft's own optimizers with their settings."""

BITSANDBYTES: Final[Mapping[str, Mapping[str, type]]] = {
    **_each(_ADAM, "adamw_8bit", "adamw_bnb_8bit", "paged_adamw_32bit", "paged_adamw_8bit"),
    **_each(_MIX, "ademamix", "ademamix_8bit", "paged_ademamix_32bit", "paged_ademamix_8bit"),
    **_each(_LION, "lion_32bit", "lion_8bit", "paged_lion_32bit", "paged_lion_8bit"),
    **_each({}, "rmsprop_bnb", "rmsprop_bnb_32bit", "rmsprop_bnb_8bit"),
}
"""Optimizers of bitsandbytes, which the extra `quant` brings, with their settings."""

OPTIMIZERS: Final[Mapping[str, Mapping[str, type]]] = {
    **GRAFT_OPTIMIZERS,
    "adamw_torch": _ADAM,
    "adamw_torch_fused": _ADAM,
    "adafactor": {},
    "sgd": {"momentum": float, "dampening": float, "nesterov": bool},
    "adagrad": {"lr_decay": float, "eps": float},
    "rmsprop": {"momentum": float, "alpha": float, "eps": float, "centered": bool},
    **BITSANDBYTES,
}
"""All optimizers with their settings."""

SCHEDULES: Final[Mapping[str, Mapping[str, type]]] = {
    "linear": {},
    "cosine": {"num_cycles": float},
    "cosine_with_restarts": {"num_cycles": int},
    "cosine_with_min_lr": _FLOOR,
    "cosine_warmup_with_min_lr": {**_FLOOR, "warmup_lr_rate": float},
    "polynomial": {"lr_end": float, "power": float},
    "inverse_sqrt": {"timescale": int},
    "warmup_stable_decay": {
        "num_decay_steps": int, "num_stable_steps": int, "warmup_type": str, "decay_type": str, "min_lr_ratio": float,
        "num_cycles": float,
    },
    "constant": {},
    "constant_with_warmup": {},
}  # fmt: skip
"""All learning-rate schedules with their settings."""

NEEDED: Final[Mapping[str, tuple[str, ...]]] = {
    "cosine_with_min_lr": ("min_lr", "min_lr_rate"),
    "cosine_warmup_with_min_lr": ("min_lr", "min_lr_rate"),
    "warmup_stable_decay": ("num_decay_steps",),
}
"""Schedules that need exactly one of these settings."""

_NAMES: Final = {float: "a number", int: "a whole number", bool: "true or false", str: "a word"}


def check_name(what: str, name: str, known: Mapping[str, Any]) -> None:
    """Refuse a name that is not offered.

    Raises:
        ValueError: there is no such one; the message lists those there are.
    """
    if name not in known:
        raise ValueError(f"{what} is {name!r}. {choices(name, known)}")


def read_args(what: str, name: str, given: Mapping[str, Any], known: Mapping[str, type]) -> dict[str, Any]:
    """The settings of an optimizer or schedule, each in its type.

    Args:
        what: ``optimizer`` or ``schedule``.
        name: the one that is named.
        given: its settings as they stand in the recipe.
        known: the settings that it has.

    Raises:
        ValueError: it has no such setting, or the value is of another kind.
    """
    values = {}
    for key, value in given.items():
        if key not in known:
            offered = choices(key, known) if known else "It has none."
            raise ValueError(f"{what}_args holds {key!r}, which {name} does not have. {offered}")
        try:
            values[key] = _read(value, known[key])
        except ValueError as error:
            raise ValueError(f"{what}_args.{key} must be {_NAMES[known[key]]}, but got {value!r}") from error
    return values


def check_needed(name: str, given: Mapping[str, Any]) -> None:
    """Refuse a schedule without the setting that it cannot do without.

    Raises:
        ValueError: it is missing, or given twice.
    """
    needed = NEEDED.get(name, ())
    found = [key for key in needed if key in given]
    if needed and len(found) != 1:
        why = f"got both {' and '.join(found)}" if found else "got none"
        raise ValueError(
            f"schedule is {name}, which needs {' or '.join(needed)} in schedule_args, but {why}; set "
            f"train.schedule_args={{{needed[-1]}: {'0.1' if needed[-1] == 'min_lr_rate' else '100'}}}"
        )


def _read(value: Any, kind: type) -> Any:
    if kind is not bool:
        number = kind(value)
        if kind is int and number != float(value):
            raise ValueError(value)
        return number
    word = str(value).lower()
    if word not in ("true", "false"):
        raise ValueError(value)
    return word == "true"
