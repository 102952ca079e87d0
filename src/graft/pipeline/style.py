"""Style control in a run: its tokens, its rows, and the separation that is measured beside the scores."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from contextlib import closing, nullcontext
from dataclasses import asdict
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

import numpy as np

from graft.config.schema import Recipe
from graft.data.style import check_tokens, style_rows
from graft.errors import ConfigError
from graft.models.sampling import from_section
from graft.pipeline.backends import is_remote, open_backend
from graft.pipeline.branches import Branch, branches
from graft.pipeline.outcome import Table
from graft.pipeline.progress import Progress
from graft.runs.directory import RunDirectory
from graft.runs.files import write_json
from graft.runs.samples import read_samples, write_samples
from graft.tasks.style import GENERATED_WORDS, StyleTask, generated_rows, style_name
from graft.tasks.words.split import package_sets
from graft.types import Completion

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from graft.pipeline.lab import Lab

LOG = logging.getLogger(__name__)

NONE, UNTRAINED = "none", "untrained"
"""Conditions beside the styles: no token, and a token as it was before training."""


def check_style(recipe: Recipe) -> None:
    """Refuse style settings that contradict each other, before anything is loaded.

    Raises:
        ConfigError: the message says which.
    """
    tokens, used = recipe.style.tokens, _uses_style(recipe)
    if not tokens:
        if used or "swapped" in recipe.study.arms:
            what = "the task style is used" if used else "study.arms holds swapped"
            raise ConfigError(f"{what}, but style.tokens is empty; set style.tokens: [<STYLE_TERSE>, <STYLE_VERBOSE>]")
        return
    names = [style_name(token) for token in tokens]
    if len(tokens) < 2 or len(set(names)) != len(names):
        raise ConfigError(f"style.tokens is {list(tokens)}, but at least two styles of different names are needed")
    if not any(source.task == StyleTask.card.name for source in recipe.data.train):
        raise ConfigError("style.tokens is set, but data.train does not hold the task style; set data.train: style")
    wrong = {
        "adapter.kind": recipe.adapter.kind != "lora",
        "mode": recipe.mode != "sft",
        "engine.name": recipe.engine.name == "unsloth",
        "model.backend": is_remote(recipe),
        "train.restrict_to": recipe.train.restrict_to is not None,
    }
    if bad := [key for key, is_wrong in wrong.items() if is_wrong]:
        raise ConfigError(
            f"style.tokens is set, but so is {', '.join(bad)}; style tokens are trained beside adapters of a model in "
            "this process, by the engine native or trl in mode sft, over the whole vocabulary"
        )
    path = recipe.style.data
    if path is not None and not path.expanduser().is_file():
        raise ConfigError(f"style.data is {str(path)!r}, but there is no such file; give a JSONL file")


def _uses_style(recipe: Recipe) -> bool:
    return StyleTask.card.name in (*(source.task for source in recipe.data.train), *recipe.eval.tasks)


def build_style_task(recipe: Recipe) -> StyleTask:
    """The task of the recipe's tokens, over its own rows or generated ones.

    Raises:
        ConfigError: there are no tokens.
    """
    section = recipe.style
    if section.data is not None:
        return StyleTask(style_rows(section.data, section.tokens, held_out=section.held_out), section.tokens)
    words = package_sets(**GENERATED_WORDS, seed=recipe.words.seed)
    return StyleTask(generated_rows(words, [style_name(token) for token in section.tokens]), section.tokens)


def with_style_rows(recipe: Recipe, model: PreTrainedModel) -> PreTrainedModel:
    """The model with rows for the recipe's control tokens, if it has any."""
    tokens = recipe.style.tokens
    if not tokens:
        return model
    from graft.models.style import add_style_rows
    from graft.pipeline.lab import recipe_tokenizer

    tokenizer = recipe_tokenizer(recipe)
    return add_style_rows(model, tokenizer, [int(tokenizer.convert_tokens_to_ids(token)) for token in tokens])


def save_trained_model(
    recipe: Recipe, tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel, folder: Path
) -> None:
    """Save what was trained: weights, an adapter, or an adapter with the rows of the control tokens."""
    if not recipe.style.tokens:
        model.save_pretrained(folder)
        return
    from graft.models.style import save_styled

    save_styled(model, tokenizer, recipe.style.tokens, folder)


def lengths_path(run: RunDirectory, branch: Branch) -> Path:
    """Where a branch's replies to the neutral prompts are."""
    return run.path / "separation" / f"{branch.label}.jsonl"


def measure_branch(run: RunDirectory, lab: Lab, branch: Branch, model: PreTrainedModel, progress: Progress) -> None:
    """Let one model answer the neutral held-out prompts under every token, and store every reply.

    All conditions decode alike, by the recipe's `sampling`; the presets that serve a style play no part.
    """
    from graft.evals.separation import styled_replies
    from graft.models.style import untrained_tokens

    recipe, task = lab.recipe, lab.book.load(StyleTask.card.name)
    assert isinstance(task, StyleTask)
    asked = task.neutral_prompts(recipe.eval.items)
    prompts = [prompt for prompt, _ in asked]
    check_tokens(lab.tokenizer, recipe.style.tokens, prompts[0], lab.policy)
    conditions = [(name, token, False) for name, token in task.tokens.items()] + [(NONE, "", False)]
    if branch.seed is not None:
        conditions.append((UNTRAINED, recipe.style.tokens[0], True))
    bar = progress.task(f"separate {branch.label}", len(conditions) * len(prompts))
    replies: dict[str, list[Completion]] = {}
    with run.stage(f"style-{branch.label}") as outputs:
        with closing(open_backend(recipe, lab.tokenizer, model, thinking=False)) as backend:
            for name, token, untrained in conditions:
                with untrained_tokens(model) if untrained else nullcontext():
                    replies[name] = styled_replies(
                        backend, lab.tokenizer, prompts, token, from_section(recipe.sampling), lab.policy,
                        on_done=bar.advance,
                    )  # fmt: skip
        outputs["prompts"] = write_samples(lengths_path(run, branch), _records(asked, replies))
    bar.finish()


def _records(asked: Sequence[tuple[str, str]], replies: dict[str, list[Completion]]) -> list[dict[str, Any]]:
    return [
        {
            "prompt": prompt,
            "cluster": cluster,
            "replies": {name: _reply(found[index]) for name, found in replies.items()},
        }
        for index, (prompt, cluster) in enumerate(asked)
    ]


def _reply(reply: Completion) -> dict[str, Any]:
    return {"text": reply.text, "tokens": len(reply.token_ids), "finished": reply.finished}


def _stored_reply(reply: Mapping[str, Any]) -> Completion:
    """A stored reply, of which only text, length and end are known."""
    return Completion(reply["text"], (0,) * reply["tokens"], reply["finished"])


def write_separation(run: RunDirectory, recipe: Recipe) -> dict[str, Any]:
    """Write ``separation.json``: the ratio of every measured branch with its interval, from the stored replies.

    Returns:
        What was written.
    """
    from graft.evals.separation import TARGET, separate
    from graft.stats.plain import to_json

    names = [style_name(token) for token in recipe.style.tokens]
    rows = []
    for branch in branches(recipe):
        if not run.is_done(f"style-{branch.label}"):
            continue
        records = read_samples(lengths_path(run, branch))
        replies = {
            name: [_stored_reply(record["replies"][name]) for record in records] for name in records[0]["replies"]
        }
        clusters = np.array([record["cluster"] for record in records])
        found = separate(
            replies, names[0], names[-1], clusters, rng=np.random.default_rng(0), resamples=recipe.study.resamples
        )
        rows.append({"arm": branch.arm, "branch": branch.label, "seed": branch.seed, **to_json(found)})
    sampling = asdict(from_section(recipe.sampling))
    stored = {"target": TARGET, "short": names[0], "long": names[-1], "sampling": sampling, "rows": rows}
    stored["headline"] = headline_of(stored)
    write_json(run.path / "separation.json", stored)
    return stored


def separation_table(stored: Mapping[str, Any]) -> Table:
    """The separation in text cells, one row per branch."""
    short, long = stored["short"], stored["long"]
    columns = ("arm", "prompts", f"{long} / {short}", "95% interval", short, long, "no token", "untrained token", "cut")
    rows = [
        (
            row["branch"],
            f"{row['ratio']['n']:,}",
            f"{row['ratio']['estimate']:.2f}",
            f"{row['ratio']['low']:.2f} to {row['ratio']['high']:.2f}",
            *(_tokens(row["medians"].get(name)) for name in (short, long, NONE, UNTRAINED)),
            f"{100 * max(row['cut'][name] for name in (short, long)):.0f}%",
        )
        for row in stored["rows"]
    ]
    return Table(columns, tuple(rows))


def headline_of(stored: Mapping[str, Any]) -> str:
    """What the separation says, in one sentence; empty when no trained branch was measured."""
    ratios = {arm: [r["ratio"] for r in stored["rows"] if r["arm"] == arm] for arm in ("trained", "base", "swapped")}
    if not ratios["trained"]:
        return ""
    low, target = min(ratio["low"] for ratio in ratios["trained"]), stored["target"]
    verdict = "reached" if low >= target else "not shown"
    beside = [
        f"{fmean(ratio['estimate'] for ratio in ratios[arm]):.2f} {words}"
        for arm, words in (("base", "before training"), ("swapped", "trained with swapped tokens"))
        if ratios[arm]
    ]
    ratio, prompts = fmean(ratio["estimate"] for ratio in ratios["trained"]), ratios["trained"][0]["n"]
    return (
        f"{stored['long']} replies are {ratio:.1f} times as long as {stored['short']} ones (median over {prompts} "
        f"held-out prompts, same decoding; lower end of the 95% interval {low:.1f}): "
        f"the target of {target:g} is {verdict}" + (f"; {', '.join(beside)}" if beside else "")
    )


def _tokens(median: float | None) -> str:
    return "–" if median is None else f"{median:g} tokens"
