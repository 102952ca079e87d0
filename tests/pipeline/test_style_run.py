"""Style control from recipe to separation table, chat and report."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest
from safetensors.torch import load_file

from graft.config.loading import Resolved, load_recipe
from graft.data.style import read_style_file, style_rows
from graft.errors import ConfigError, DataError
from graft.pipeline.branches import Branch
from graft.pipeline.places import final_folder
from graft.pipeline.prepare.examples import branch_examples
from graft.pipeline.progress import SilentProgress
from graft.pipeline.run import run
from graft.runs.directory import RunDirectory
from graft.workbench.chat import open_partners

ROOT = Path(__file__).parents[2]
TOKENS = ("<STYLE_TERSE>", "<STYLE_VERBOSE>")
SETTINGS = {
    "style__tokens": list(TOKENS),
    "data__train": "style",
    "eval__tasks": ["style"],
    "eval__items": 12,
    "eval__seen_items": 0,
    "study__arms": ["base", "trained", "swapped"],
    "train__warmup_share": 0.25,
}


@pytest.fixture(scope="module")
def styled_run(small_recipe: Callable[..., Resolved], tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    outcome = run(small_recipe(tmp_path_factory.mktemp("runs"), **SETTINGS), progress=SilentProgress())
    assert outcome.table.columns[:3] == ("arm", "prompts", "verbose / terse")
    assert [row[0] for row in outcome.table.rows] == ["base", "trained-seed0", "swapped-seed0"]
    assert outcome.report is not None
    assert "Separation of the styles" in outcome.report.read_text(encoding="utf-8")
    return outcome.run


def test_separation_is_measured_for_every_model_under_the_same_decoding(styled_run: RunDirectory) -> None:
    stored = json.loads((styled_run.path / "separation.json").read_text())
    by_arm = {row["arm"]: row for row in stored["rows"]}
    assert by_arm["base"]["ratio"]["estimate"] == 1.0, "untrained tokens are all alike"
    assert by_arm["base"]["medians"].keys() == {"terse", "verbose", "none"}
    assert by_arm["trained"]["medians"].keys() == {"terse", "verbose", "none", "untrained"}
    assert {row["ratio"]["n"] for row in stored["rows"]} == {12}
    assert stored["target"] == 3.0
    assert stored["sampling"]["temperature"] == 0.0
    assert stored["sampling"]["min_new_tokens"] == 0, "no preset plays a part"


def test_only_deltas_and_adapter_are_saved_with_the_tokenizer(styled_run: RunDirectory) -> None:
    folder = final_folder(styled_run, Branch("trained", 0))
    names = set(load_file(folder / "adapter_model.safetensors"))
    assert names
    assert all("lora_" in name for name in names)
    delta = load_file(folder / "style.safetensors")["delta"]
    assert delta.shape == (2, 32)
    assert delta.abs().max() > 0
    assert TOKENS[0] in (folder / "tokenizer.json").read_text(encoding="utf-8")


def test_the_swapped_arm_sees_the_same_rows_with_the_tokens_exchanged(
    small_recipe: Callable[..., Resolved], tmp_path: Path
) -> None:
    from graft.pipeline.prepare.lab import prepare

    lab = prepare(small_recipe(tmp_path, **SETTINGS).recipe)
    trained, swapped = (list(branch_examples(lab, Branch(arm, 0), 20)) for arm in ("trained", "swapped"))
    assert [row.gold for row in trained] == [row.gold for row in swapped]
    for one, other in zip(trained, swapped, strict=True):
        assert one.prompt is not None
        assert other.prompt is not None
        terse = one.prompt.startswith(TOKENS[0])
        assert other.prompt.startswith(TOKENS[1] if terse else TOKENS[0])
        assert (len(one.gold) < 4) == terse


def test_a_style_is_chosen_in_a_chat(styled_run: RunDirectory) -> None:
    (partner,) = open_partners(styled_run.name, (), styled_run.path.parent)
    assert partner.styles == {"terse": TOKENS[0], "verbose": TOKENS[1]}
    plain = next(delta for delta in partner.answer("Why?") if delta.completion).completion
    partner.reset()
    partner.set_style("verbose")
    styled = next(delta for delta in partner.answer("Why?") if delta.completion).completion
    assert plain is not None
    assert styled is not None
    assert plain.usage is not None
    assert styled.usage is not None
    assert styled.usage.prompt_tokens == plain.usage.prompt_tokens + 1
    assert 30 <= styled.usage.completion_tokens <= 100 and plain.usage.completion_tokens <= 6
    with pytest.raises(ConfigError, match=r"no style 'verbse'. Did you mean 'verbose'\? Known: terse, verbose\."):
        partner.set_style("verbse")


def write(path: Path, *rows: object) -> Path:
    path.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows), encoding="utf-8")
    return path


def test_rows_are_pairs_or_conversations(tmp_path: Path) -> None:
    turns = [{"role": "user", "content": "<STYLE_VERBOSE>Why?"}, {"role": "assistant", "content": "Because."}]
    path = write(
        tmp_path / "rows.jsonl", {"prompt": "What?", "terse": "It.", "verbose": "It is it."}, {"messages": turns}
    )
    assert [(row["prompt"], row["style"], row["answer"]) for row in read_style_file(path, TOKENS)] == [
        ("What?", "terse", "It."),
        ("What?", "verbose", "It is it."),
        ("Why?", "verbose", "Because."),
    ]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("{no json", r"rows.jsonl:2 is no JSON: .* write one object per line"),
        ("[1]", r"rows.jsonl:2 holds list, but a row is an object"),
        ({"prompt": "What?", "terse": "It."}, r"rows.jsonl:2: verbose is missing, but it must be text"),
        ({"prompt": "<STYLE_TERSE>A?", "terse": "a", "verbose": "b"}, r"rows.jsonl:2: prompt holds <STYLE_TERSE>"),
        ({"messages": [{"role": "user", "content": "A?"}]}, r"rows.jsonl:2: messages must be one user and one assist"),
        (
            {"messages": [{"role": "user", "content": "A?"}, {"role": "assistant", "content": "b"}]},
            r"rows.jsonl:2: the user turn begins with 'A\?', but it must begin with one of <STYLE_TERSE>",
        ),
    ],
)
def test_a_wrong_row_is_named_by_file_and_line(tmp_path: Path, row: object, message: str) -> None:
    path = write(tmp_path / "rows.jsonl", {"prompt": "What?", "terse": "It.", "verbose": "It is it."}, row)
    with pytest.raises(DataError, match=message):
        list(read_style_file(path, TOKENS))


def test_held_out_prompts_are_never_trained(tmp_path: Path) -> None:
    pairs = [{"prompt": f"What is {n}?", "terse": str(n), "verbose": f"It is {n}."} for n in range(200)]
    rows = style_rows(write(tmp_path / "rows.jsonl", *pairs), TOKENS, held_out=0.2)
    train, held_out = ({row["prompt"] for row in rows(part)} for part in ("train", "eval"))
    assert not train & held_out
    assert len(train | held_out) == 200
    assert 20 <= len(held_out) <= 60


def test_a_run_on_rows_of_ones_own(small_recipe: Callable[..., Resolved], tmp_path: Path) -> None:
    pairs = [{"prompt": f"What is {n}?", "terse": str(n), "verbose": f"It is {n}."} for n in range(60)]
    data = write(tmp_path / "rows.jsonl", *pairs)
    changed = {**SETTINGS, "style__data": str(data), "study__arms": ["trained"], "style__held_out": 0.3}
    if find_spec("trl") is not None:
        changed["engine__name"] = "trl"
    outcome = run(small_recipe(tmp_path / "runs", **changed), progress=SilentProgress())
    (row,) = outcome.table.rows
    assert row[0] == "trained-seed0"
    assert int(row[1]) > 3
    assert load_file(final_folder(outcome.run, Branch("trained", 0)) / "style.safetensors")["delta"].any()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"style__tokens": []}, r"the task style is used, but style.tokens is empty"),
        ({"style__tokens": ["<STYLE_A>"]}, r"at least two styles of different names are needed"),
        ({"adapter__kind": "none"}, r"style.tokens is set, but so is adapter.kind"),
        ({"data__train": "spelling"}, r"data.train does not hold the task style"),
        ({"style__data": "nowhere.jsonl"}, r"style.data is 'nowhere.jsonl', but there is no such file"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(
    small_recipe: Callable[..., Resolved], tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        run(small_recipe(tmp_path, **{**SETTINGS, **changes}), progress=SilentProgress())


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.timeout(1800)
def test_the_shipped_recipe_reaches_the_target_and_turns_round_when_swapped(tmp_path: Path) -> None:
    overrides = (f"runs={tmp_path}", "eval.items=200", "study.resamples=1000")
    outcome = run(load_recipe(ROOT / "recipes" / "style" / "sprout.yaml", overrides), progress=SilentProgress())
    stored = json.loads((outcome.run.path / "separation.json").read_text())
    ratio = {row["arm"]: row["ratio"] for row in stored["rows"]}
    assert ratio["trained"]["low"] >= stored["target"]
    assert ratio["swapped"]["high"] <= 1 / stored["target"]
    assert ratio["base"]["estimate"] == 1.0
