"""The words of a run: made-up ones on request, and dropped ones said."""

from __future__ import annotations

from pathlib import Path

from graft.config.loading import load_recipe
from graft.pipeline.prepare.check import check
from graft.pipeline.prepare.lab import audit_record, prepare
from graft.pipeline.progress import SilentProgress
from graft.tasks.words.audit import audit_words
from graft.tasks.words.pool import package_words

SMALL = ["words.train=200", "words.eval=60", "eval.items=60", "eval.seen_items=0", "eval.tasks=[count]"]


def test_a_share_of_the_held_out_words_is_made_up_and_stands_in_the_strata() -> None:
    lab = prepare(load_recipe(None, [*SMALL, "words.pseudo=0.25", "data.train=spelling"]).recipe)
    assert sum(word.pseudo for word in lab.words.eval) == 15 and len(lab.words.eval) == 60
    assert audit_words([word.text for word in lab.words.train], [word.text for word in lab.words.eval]).ok
    strata = [example.strata for items in lab.items if items.split == "eval" for example in items.examples]
    assert sum(bool(facts["pseudo"]) for facts in strata) == 15
    assert all((facts["log_frequency"] == 0) == facts["pseudo"] for facts in strata)


def test_check_says_which_words_of_a_file_were_dropped_and_why(tmp_path: Path) -> None:
    file = tmp_path / "words.txt"
    pairs = "drive drove speak spoke write wrote teach taught think thought buy bought"
    file.write_text("\n".join([*pairs.split(), *(word.text for word in package_words("train")[::90])]))
    sizes = ["words.train=40", "words.eval=30", *SMALL[2:]]
    recipe = load_recipe(None, [*sizes, f"words.source={file}", f"runs={tmp_path}"])
    lab = prepare(recipe.recipe)
    dropped = audit_record(lab)["dropped_words"]
    assert dropped["irregular"] >= 1
    line = next(line for line in check(recipe, progress=SilentProgress()).lines if line.startswith("words"))
    assert f"{dropped['irregular']} by irregular" in line
