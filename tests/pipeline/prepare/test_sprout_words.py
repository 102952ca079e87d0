"""Words of one's own may be words that the embedded model was trained on; the run says so."""

from __future__ import annotations

from pathlib import Path

from graft.config.loading import load_recipe
from graft.pipeline.prepare.lab import audit_record, prepare, warnings
from graft.tasks.words.pool import package_words

SMALL = ["words.train=60", "words.eval=30", "eval.items=20", "eval.seen_items=0", "eval.tasks=[count]"]


def test_held_out_words_from_sprouts_own_training_are_counted(tmp_path: Path) -> None:
    file = tmp_path / "words.txt"
    file.write_text("\n".join(word.text for word in package_words("base")[::40]))
    lab = prepare(load_recipe(None, [*SMALL, f"words.source={file}"]).recipe)
    assert audit_record(lab)["seen_by_sprout"] == len(lab.words.eval) == 30
    assert "30 of 30 held-out words" in warnings(lab)[0]


def test_the_packaged_list_keeps_them_apart() -> None:
    lab = prepare(load_recipe(None, SMALL).recipe)
    assert warnings(lab) == ()
    assert audit_record(lab)["seen_by_sprout"] == 0


def test_another_model_has_no_such_words(tmp_path: Path, toy_folder: Path) -> None:
    file = tmp_path / "words.txt"
    file.write_text("\n".join(word.text for word in package_words("base")[::40]))
    assert warnings(prepare(load_recipe(None, [*SMALL, f"words.source={file}", f"model.id={toy_folder}"]).recipe)) == ()
