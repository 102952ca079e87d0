"""Combinations of sampling settings, as `graft eval --sampling-grid` takes them."""

from __future__ import annotations

from itertools import product

from graft.config.loading import load_recipe
from graft.config.schema import SamplingSection
from graft.errors import ConfigError

EXAMPLE = '"temperature=0,0.7 top_p=0.8,1"'


def sampling_grid(text: str, base: SamplingSection) -> tuple[SamplingSection, ...]:
    """Every combination of the values of a grid.

    Args:
        text: settings of the section `sampling` with their values, such as ``temperature=0,0.7 top_p=0.8,1``.
        base: the settings that the grid does not name.

    Raises:
        ConfigError: the text is no grid, or a setting is unknown, repeated or out of range.
    """
    axes: dict[str, list[str]] = {}
    for part in text.split():
        key, _, values = part.partition("=")
        listed = values.split(",")
        if not all(listed):
            raise ConfigError(f"--sampling-grid holds {part!r}, but each part is written key=value,value: {EXAMPLE}")
        if key in axes:
            raise ConfigError(f"--sampling-grid names {key} twice; give all its values at once: {key}=a,b")
        axes[key] = listed
    if not axes:
        raise ConfigError(f"--sampling-grid is empty; name settings and their values: {EXAMPLE}")
    given = {f"sampling.{key}": value for key, value in base.model_dump().items() if key not in axes}
    return tuple(
        load_recipe(
            None, [f"sampling.{key}={value}" for key, value in zip(axes, values, strict=True)], given
        ).recipe.sampling
        for values in product(*axes.values())
    )
