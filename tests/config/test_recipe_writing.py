"""The resolved recipe and the commented one: both load again to what was written."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from graft.config.keys import settings, value_at
from graft.config.loading import Resolved, load_recipe
from graft.config.optimization import OPTIMIZERS
from graft.config.scalars import parse, to_text
from graft.config.schema import Recipe
from graft.config.section import Section
from graft.config.writing import template, to_yaml

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=20)
PATHS = TEXT.map(lambda text: str(Path(text.replace("\0", ""))))
SCALARS = st.none() | TEXT | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False)
FRACTIONS = st.floats(min_value=1e-12, max_value=1e6)
COUNTS = st.integers(min_value=1, max_value=10**9)

RECIPES = st.fixed_dictionaries(
    {},
    optional={
        "name": st.none() | TEXT,
        "runs": PATHS,
        "model": st.fixed_dictionaries(
            {"id": TEXT, "revision": st.none() | TEXT, "dtype": st.sampled_from(["auto", "float32"])}
        ),
        "data": st.fixed_dictionaries({"train": TEXT, "corpus": st.lists(PATHS)}),
        "adapter": st.fixed_dictionaries(
            {"r": COUNTS, "alpha": FRACTIONS, "targets": st.lists(TEXT) | st.just("all-linear")}
        ),
        "train": st.fixed_dictionaries(
            {"max_steps": st.none() | COUNTS, "learning_rate": FRACTIONS, "optimizer": st.sampled_from([*OPTIMIZERS])}
        ),
        "eval": st.fixed_dictionaries({"tasks": st.lists(TEXT, min_size=1)}),
        "study": st.fixed_dictionaries({"seeds": st.lists(st.integers(0, 2**40), min_size=1, unique=True)}),
    },
)


@hypothesis_settings(max_examples=150, deadline=None)
@given(values=RECIPES, origin=TEXT)
def test_a_resolved_recipe_loads_again_to_the_same(tmp_path_factory: Any, values: dict[str, Any], origin: str) -> None:
    recipe = Recipe.model_validate(values)
    path = tmp_path_factory.mktemp("recipe") / "recipe.yaml"
    path.write_text(to_yaml(Resolved(recipe, dict.fromkeys(settings(), origin))), encoding="utf-8")
    assert load_recipe(path).recipe == recipe


@hypothesis_settings(max_examples=300, deadline=None)
@given(st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner), max_leaves=6))
def test_a_value_on_one_line_parses_to_the_same_value(value: Any) -> None:
    text = to_text(value)
    assert "\n" not in text
    assert parse(f"key: {text}  # a comment")["key"] == value


def test_a_number_that_is_not_finite_keeps_its_meaning() -> None:
    assert parse(to_text(math.inf)) == math.inf
    assert math.isnan(parse(to_text(math.nan)))


def test_only_what_differs_from_the_default_names_its_origin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("x.yaml").write_text("train:\n  batch_size: 16\n  epochs: 2\ndata:\n  train: count\n", encoding="utf-8")
    lines = to_yaml(load_recipe(Path("x.yaml"), ["study.seeds=[0,1]"])).splitlines()
    assert [line.strip() for line in lines if "# from" in line] == [
        "train:  # from x.yaml:5",
        "epochs: 2.0  # from x.yaml:3",
        "seeds: [0, 1]  # from the command line",
    ]


def test_every_setting_stands_in_the_resolved_recipe() -> None:
    stored = parse(to_yaml(Resolved(Recipe(), {})))
    for key in settings():
        head, _, tail = key.rpartition(".")
        assert tail in (stored[head] if head else stored), key


def test_the_template_keeps_the_documentation_of_every_setting(tmp_path: Path) -> None:
    path = tmp_path / "my.yaml"
    text = template({"train.max_steps": 20, "study.seeds": (0, 1)}, "my.yaml")
    path.write_text(text, encoding="utf-8")
    loaded = load_recipe(path)
    assert set(loaded.origins) == {"train.max_steps", "study.seeds"}
    assert (loaded.recipe.train.max_steps, loaded.recipe.study.seeds) == (20, (0, 1))
    told = " ".join(line.strip().removeprefix("#").strip() for line in text.splitlines())
    for key, setting in settings().items():
        assert setting.doc in told, key


def test_a_template_with_every_comment_taken_away_is_still_a_recipe(tmp_path: Path) -> None:
    """What is commented out must be right too: it is what people uncomment."""
    path = tmp_path / "my.yaml"
    names = {setting.name for setting in settings().values()}
    lines = []
    for line in template({}, "my.yaml").splitlines():
        bare = line.replace("# ", "", 1)
        is_setting = bare.strip().partition(":")[0] in names and line.lstrip().startswith("# ")
        lines.append(bare if is_setting else line)
    path.write_text("\n".join(lines), encoding="utf-8")
    loaded = load_recipe(path)
    assert loaded.recipe == Recipe()
    assert set(loaded.origins) == set(settings())


def test_value_at_reads_nested_settings() -> None:
    assert value_at(Recipe(), "train.batch_size") == Recipe().train.batch_size
    assert issubclass(type(Recipe().train), Section)
