import json
import math
from pathlib import Path

import numpy as np
import pytest
from run_builder import RunBuilder

from graft.errors import ConfigError, RunError
from graft.report.compare import compare
from graft.runs.files import write_json
from graft.runs.samples import write_samples


def exact(folder: Path, task: str) -> float:
    files = sorted((folder / "samples").glob(f"trained-seed*.{task}.jsonl"))
    lines = [json.loads(line) for path in files for line in path.read_text().splitlines()]
    return float(np.mean([line["exact"] for line in lines if line["split"] == "eval"]))


def test_runs_on_the_same_items_are_compared_in_pairs(build: RunBuilder) -> None:
    first = build("first", study=False, words=80)
    second = build("second", study=False, words=80, learning_rate=0.001, rng_seed=5)
    found = compare([first, second])
    assert found.columns == ("", "first", "second")
    assert found.settings == {"train.learning_rate": ("0.003", "0.001")}
    assert found.rows[0] == ("train.learning_rate", "0.003", "0.001")
    assert [row[0] for row in found.rows[1:]] == ["count", "position", "spelling"]
    accuracy = next(a for a in found.accuracies if (a.run, a.task) == ("second", "spelling"))
    assert accuracy.paired and accuracy.n == 80 and accuracy.seeds == (0, 1)
    assert accuracy.change.estimate == pytest.approx(exact(second, "spelling") - exact(first, "spelling"))
    assert accuracy.change.low < accuracy.change.estimate < accuracy.change.high
    assert len(found.notes) == 1


def test_a_run_compared_with_its_copy_changes_nothing(build: RunBuilder) -> None:
    found = compare([build("first", study=False, words=40), build("copy", study=False, words=40)])
    assert found.settings == {}
    copies = [a for a in found.accuracies if a.run == "copy"]
    assert all(a.change.estimate == 0.0 and a.p_adjusted == 1.0 for a in copies)
    assert all(a.change.low < 0 < a.change.high for a in copies)  # 40 words without a change still prove little


def test_other_items_are_compared_unpaired_and_the_notes_say_so(build: RunBuilder) -> None:
    first, second = build("first", study=False, words=80), build("second", study=False, words=80, word_offset=80)
    found = compare([first, second])
    pair = compare([first, build("third", study=False, words=80, rng_seed=3)])
    accuracy = next(a for a in found.accuracies if (a.run, a.task) == ("second", "count"))
    assert not accuracy.paired
    assert any("count, second: the items differ from those of first" in note for note in found.notes)
    paired = next(a for a in pair.accuracies if (a.run, a.task) == ("third", "count"))
    assert accuracy.change.high - accuracy.change.low > paired.change.high - paired.change.low


def test_runs_with_other_seeds_keep_the_spread_between_their_seeds(build: RunBuilder) -> None:
    """Two seeds that lie 30 points apart say little about either recipe, whatever their numbers are."""
    first = build("first", study=False, words=60)
    same, other = (build(name, study=False, words=60, seeds=seeds) for name, seeds in (("a", (0, 1)), ("b", (7, 8))))
    for folder, seeds in ((same, (0, 1)), (other, (7, 8))):
        _right_until(folder, "count", dict(zip(seeds, (15, 33), strict=True)))
    found = compare([first, same, other])
    wide = [a.change for a in found.accuracies if a.task == "count" and a.run in ("a", "b")]
    assert wide[0] == wide[1] and wide[0].high - wide[0].low > 1.0


def _right_until(folder: Path, task: str, until: dict[int, int]) -> None:
    for seed, count in until.items():
        path = folder / "samples" / f"trained-seed{seed}.{task}.jsonl"
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        changed = [line | {"right": index < count} for index, line in enumerate(lines)]
        path.write_text("".join(json.dumps(line) + "\n" for line in changed))


def test_gains_that_go_together_over_runs_are_told_with_their_number(build: RunBuilder) -> None:
    folders = [build(f"run{k}", study=False, words=60) for k in range(4)]
    for k, folder in enumerate(folders):
        _right_until(folder, "spelling", dict.fromkeys((0, 1), 20 + 5 * k))
        _right_until(folder, "count", dict.fromkeys((0, 1), 10 + 2 * k))  # exactly as spelling
        _right_until(folder, "position", dict.fromkeys((0, 1), (30, 10, 25, 15)[k]))
    found = compare(folders)
    links = {link.target: link.found for link in found.links}
    assert set(links) == {"position", "count"} and links["count"].linear.estimate == pytest.approx(1.0)
    expected = np.corrcoef([20, 25, 30, 35], [30, 10, 25, 15])[0, 1]
    assert links["position"].linear.estimate == pytest.approx(expected)
    assert links["count"].verdict.value == "no verdict"
    assert any("Over 4 runs the gain on spelling goes with that on count by r = +1.00" in note for note in found.notes)
    assert compare(folders[:2]).links == ()


def test_one_seed_in_each_run_is_said(build: RunBuilder) -> None:
    found = compare(
        [build(n, study=False, words=60, seeds=(0,), rng_seed=k) for k, n in enumerate(("first", "second"))]
    )
    assert any("second: one seed in each run" in note for note in found.notes)


def test_p_is_corrected_for_every_change_that_is_shown(build: RunBuilder) -> None:
    runs = [build(name, study=False, words=60, rng_seed=k) for k, name in enumerate(("first", "second", "third"))]
    alone, all_of_them = compare(runs[:2]), compare(runs)
    shown = [a for a in all_of_them.accuracies if not math.isnan(a.p_adjusted)]
    assert len(shown) == 6
    least = min(a.p_adjusted for a in alone.accuracies if not math.isnan(a.p_adjusted))
    assert least <= min(a.p_adjusted for a in shown if a.run == "second") + 1e-12


def test_a_task_that_one_run_lacks_is_a_dash_with_its_reason(build: RunBuilder) -> None:
    first, second = build("first", study=False, words=40), build("second", study=False, words=40)
    for path in (second / "samples").glob("trained-*.count.jsonl"):
        path.unlink()
    found = compare([first, second])
    assert next(row for row in found.rows if row[0] == "count")[2] == "–"
    assert "count, second: the trained arm was not scored on this task." in found.notes


def test_a_comparison_is_plain_json(build: RunBuilder) -> None:
    found = compare([build("first", study=False, words=40), build("second", study=False, words=40)])
    value = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert value["accuracies"][0]["change"]["estimate"] is None
    assert value["accuracies"][0]["change"]["reason"] == "this is the first run"


def test_fewer_than_two_runs_or_one_run_twice_is_refused(build: RunBuilder) -> None:
    run = build("only", study=False, words=20)
    with pytest.raises(ConfigError, match="at least 2 runs, but got 1"):
        compare([run])
    with pytest.raises(ConfigError, match="only more than once"):
        compare([run, run])
    with pytest.raises(RunError, match="nowhere"):
        compare([run, run.parent / "nowhere"])


def test_runs_are_compared_by_the_metric_of_the_task(tmp_path: Path) -> None:
    golds = ["neutral"] * 60 + ["good"] * 30 + ["bad"] * 10
    for name, said in (("lazy", ["neutral"] * 100), ("able", golds)):
        rows = [
            {"id": f"t{n}", "split": "eval", "word": f"t{n}", "gold": gold, "answer": call, "right": gold == call,
             "options": ["bad", "good", "neutral"], "details": {}}
            for n, (gold, call) in enumerate(zip(golds, said, strict=True))
        ]  # fmt: skip
        for seed in (0, 1):
            write_samples(tmp_path / name / "samples" / f"trained-seed{seed}.tweets.jsonl", rows)
        write_json(tmp_path / name / "forecast.json", {"tasks": {"tweets": {"metric": "macro_f1"}}})
    found = compare([tmp_path / "lazy", tmp_path / "able"])
    lazy, able = found.accuracies
    assert lazy.accuracy == pytest.approx(120 / 160 / 3)  # neutral 2·60/(60 + 100), the others 0
    assert able.change.estimate == pytest.approx(1 - 120 / 160 / 3)
    assert found.rows[-1][0] == "tweets (macro-F1)"
