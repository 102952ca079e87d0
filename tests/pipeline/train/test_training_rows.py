from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from graft.config.loading import Resolved
from graft.errors import DataError
from graft.pipeline.branches import Branch
from graft.pipeline.prepare.estimate import estimate
from graft.pipeline.prepare.examples import branch_examples
from graft.pipeline.prepare.lab import Lab, prepare
from graft.pipeline.prepare.preflight import preflight
from graft.pipeline.progress import SilentProgress
from graft.pipeline.run import train
from graft.pipeline.train.rows import training_rows
from graft.runs.cache import list_cache

Build = Callable[..., Resolved]
TRAINED = Branch("trained", 0)

SHORT = "text,label\n" + "".join(f"film number {n} is {'fine' if n % 2 else 'dull'},{n % 2}\n" for n in range(40))
LONG = "one film " * 200


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAFT_CACHE", str(tmp_path / "cache"))


def lab_of(build: Build, folder: Path, text: str = SHORT, **changes: object) -> Lab:
    path = folder / "films.csv"
    path.write_text(text, encoding="utf-8")
    task = {
        "name": "films", "train": str(path), "prompt": "Good or bad?\n\n{text}\nAnswer:", "label": "label",
        "labels": {"0": "bad", "1": "good"},
    }  # fmt: skip
    settings = {"data__train": "films", "data__tasks": [task], "study__arms": ["base", "trained"]}
    return prepare(build(folder / "runs", **settings | changes).recipe)


def test_rows_are_found_again_until_something_they_depend_on_changes(tmp_path: Path, small_recipe: Build) -> None:
    first = list(training_rows(lab_of(small_recipe, tmp_path), TRAINED).table)
    made: list[int] = []
    again = training_rows(lab_of(small_recipe, tmp_path), TRAINED, on_rows=made.append)
    assert list(again.table) == first and made == []
    assert len(list_cache()) == 1
    for change in ({"data__max_length": 300}, {"model__template": "{prompt}\n"}, {"train__batch_size": 4}):
        training_rows(lab_of(small_recipe, tmp_path, **change), TRAINED, on_rows=made.append)
    training_rows(lab_of(small_recipe, tmp_path, SHORT.replace("fine", "good")), TRAINED, on_rows=made.append)
    training_rows(lab_of(small_recipe, tmp_path), Branch("trained", 1), on_rows=made.append)
    assert len(list_cache()) == 6


def test_rows_that_are_too_long_make_room_for_others_and_are_counted(tmp_path: Path, small_recipe: Build) -> None:
    lab = lab_of(small_recipe, tmp_path, SHORT + f"{LONG},1\n" * 20, data__max_length=100)
    found = training_rows(lab, TRAINED)
    assert len(found.table) == lab.steps * lab.per_step == 32
    assert found.dropped > 3
    assert max(map(len, found.table)) <= 100
    (drawn,) = found.drawn
    assert drawn.rows == 32 + found.dropped


def test_rows_that_are_all_too_long_are_refused_with_the_limit(tmp_path: Path, small_recipe: Build) -> None:
    (tmp_path / "eval.csv").write_text(SHORT)
    lab = lab_of(small_recipe, tmp_path)
    task = {**lab.recipe.data.tasks[0].model_dump(), "eval": tmp_path / "eval.csv"}
    (tmp_path / "films.csv").write_text("text,label\n" + f"{LONG},1\n{LONG},0\n" * 30)
    changed = small_recipe(tmp_path, data__tasks=[task], data__train="films", data__max_length=100, eval__seen_items=0)
    with pytest.raises(DataError, match=r"data\.max_length is 100, but all of the first 32 rows are longer; raise it"):
        training_rows(prepare(changed.recipe), TRAINED)


def test_plain_text_is_cut_into_pieces_instead_of_being_dropped(tmp_path: Path, small_recipe: Build) -> None:
    book = tmp_path / "book.txt"
    book.write_text(f"{LONG}.\n\n" * 30, encoding="utf-8")
    lab = prepare(
        small_recipe(
            tmp_path / "runs", data__train="prose", data__corpus=[str(book)], data__max_length=32, eval__tasks=["echo"]
        ).recipe
    )
    found = training_rows(lab, TRAINED)
    assert found.dropped == 0 and len(found.table) == 32
    assert all(len(row) <= 32 and len(row.prompt) <= 1 for row in found.table)


def test_the_arms_of_one_seed_see_the_same_prompts(tmp_path: Path, small_recipe: Build) -> None:
    lab = prepare(small_recipe(tmp_path, study__arms=["base", "trained", "shuffled"]).recipe)
    trained, shuffled = (list(branch_examples(lab, Branch(arm, 0), 40)) for arm in ("trained", "shuffled"))
    assert [one.prompt for one in trained] == [one.prompt for one in shuffled]
    assert sum(one.gold != other.gold for one, other in zip(trained, shuffled, strict=True)) > 30


def test_the_forecast_of_time_rests_on_an_earlier_run_of_the_same_kind(tmp_path: Path, small_recipe: Build) -> None:
    resolved = small_recipe(tmp_path, study__arms=["trained"], eval__tasks=["spelling"])
    lab = prepare(resolved.recipe)
    before = preflight(lab, SilentProgress())
    assert before.estimate is not None and "rough guess" in before.estimate.basis
    ran = train(resolved, progress=SilentProgress()).run
    after = estimate(lab, before.surveys)
    assert after is not None and f"measured in {ran.name}" in after.basis
    speed = ran.outputs("train-trained-seed0")["tokens_per_second"]
    assert after.seconds == pytest.approx(after.tokens / speed)
    paid = small_recipe(tmp_path, study__arms=["trained"], check__price_per_hour=36.0)
    priced = estimate(prepare(paid.recipe), before.surveys)
    assert priced is not None and priced.cost == pytest.approx(priced.seconds / 100)


def test_leaked_items_stop_the_run_unless_they_are_allowed(tmp_path: Path, small_recipe: Build) -> None:
    rows = SHORT.splitlines()
    held_out = tmp_path / "held_out.csv"
    held_out.write_text("\n".join([rows[0], *rows[1:13], *(f"a quite other film {n},0" for n in range(30))]) + "\n")
    task = {
        "name": "films", "train": str(tmp_path / "films.csv"), "eval": str(held_out), "label": "label",
        "prompt": "Good or bad?\n\n{text}\nAnswer:", "labels": {"0": "bad", "1": "good"},
    }  # fmt: skip
    found = preflight(lab_of(small_recipe, tmp_path, data__tasks=[task]), SilentProgress())
    told = r"\d+ of 34 held-out items of films \(\d\d\.\d%\).*check\.max_leaked is 1\.0%.*exact"
    with pytest.raises(DataError, match=told):
        found.require()
    preflight(lab_of(small_recipe, tmp_path, data__tasks=[task], check__max_leaked=0.5), SilentProgress()).require()
    assert any("held-out items stand among the training rows" in warning for warning in found.warnings)
