"""Controls are trained on as much as the trained arm, and where they are not, it is said."""

from __future__ import annotations

from pathlib import Path

from graft.config.schema import Recipe
from graft.pipeline.judge.tokens import tokens_sentence, trained_tokens_a_row
from graft.runs.directory import RunDirectory


def test_every_control_is_told_with_its_difference_from_the_trained_arm() -> None:
    told = tokens_sentence({"trained": 18.4, "format": 18.4, "self": 9.3})
    assert told == "trained tokens a row: trained 18.4, format 18.4 (+0.0), self 9.3 (-9.1)"
    assert tokens_sentence({"trained": 18.4}) == tokens_sentence({}) == ""


def test_a_smaller_last_step_counts_with_the_rows_that_it_had(tmp_path: Path) -> None:
    recipe = Recipe.model_validate({"train": {"batch_size": 8}, "study": {"arms": ["base", "trained"], "seeds": [0]}})
    run = RunDirectory.create(tmp_path, "a")
    with run.stage("train-trained-seed0") as outputs:
        outputs.update({"steps": 2, "rows": 10, "trained_tokens": 100})
    assert trained_tokens_a_row(run, recipe) == {"trained": 10.0}
