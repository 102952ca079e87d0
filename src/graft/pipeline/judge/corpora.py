"""Corpora among the scored tasks: how well every arm predicts held-out texts, instead of what it answers."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from graft.config.schema import Recipe
from graft.evals.perplexity import TextFit
from graft.pipeline.branches import Branch, branches
from graft.runs.directory import RunDirectory
from graft.runs.samples import read_samples, samples_name
from graft.stats.ratios import ratio_change


def is_corpus_file(run: RunDirectory, branch: Branch, task: str) -> bool:
    """Whether a branch's stored scores of a task are those of texts."""
    path = run.samples_file(samples_name(branch.label, task))
    if not path.is_file():
        return False
    with path.open(encoding="utf-8") as file:
        first = file.readline()
    return bool(first.strip()) and "nats" in json.loads(first)


def corpora_results(run: RunDirectory, recipe: Recipe) -> dict[str, Any]:
    """What ``results.json`` says of corpora: totals of every arm, and the changes from base to trained with intervals.

    Returns:
        ``rows`` and ``changes``; both empty without corpora.
    """
    rows: list[dict[str, Any]] = []
    changes: list[dict[str, Any]] = []
    done = [branch for branch in branches(recipe) if run.is_done(f"score-{branch.label}")]
    for task in recipe.eval.tasks:
        found = {
            branch: read_samples(run.samples_file(samples_name(branch.label, task)))
            for branch in done
            if branch.target in ("", task) and is_corpus_file(run, branch, task)
        }
        rows += [_row(branch, task, records) for branch, records in found.items()]
        changes += _changes(task, found, recipe.study.resamples)
    return {"rows": rows, "changes": changes}


def _row(branch: Branch, task: str, records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    fit = sum((_fit(record) for record in records), TextFit())
    return {
        "arm": branch.label,
        "seed": branch.seed,
        "task": task,
        "texts": len(records),
        "tokens": fit.tokens,
        "bytes": fit.bytes,
        "nats_per_token": fit.nats / fit.tokens if fit.tokens else math.nan,
        "perplexity": fit.perplexity,
        "bits_per_byte": fit.bits_per_byte,
    }


def _fit(record: Mapping[str, Any]) -> TextFit:
    nats = record["nats"]  # null where it was not finite
    return TextFit(math.nan if nats is None else nats, record["tokens"], record["bytes"])


def _changes(
    task: str, found: Mapping[Branch, Sequence[Mapping[str, Any]]], resamples: int
) -> Iterator[dict[str, Any]]:
    """Trained minus base in bits per byte, and the ratio of the perplexities, over all seeds."""
    by_arm: dict[str, list[dict[str, TextFit]]] = defaultdict(list)
    for branch, records in found.items():
        by_arm[branch.arm].append({record["id"]: _fit(record) for record in records})
    if not by_arm["base"] or not by_arm["trained"]:
        return
    base = by_arm["base"][0]
    before = np.array([fit.nats for fit in base.values()])
    after = np.array([[fits[name].nats for name in base] for fits in by_arm["trained"]])
    bytes_ = np.array([fit.bytes for fit in base.values()])
    tokens = np.array([fit.tokens for fit in base.values()])
    bits = ratio_change(
        before / math.log(2), after / math.log(2), bytes_, np.random.default_rng(0), resamples=resamples
    )
    nats = ratio_change(before, after, tokens, np.random.default_rng(0), resamples=resamples)
    ratio = {key: math.exp(getattr(nats, key)) for key in ("estimate", "low", "high")}
    yield {
        "task": task,
        "after": "trained",
        "before": "base",
        "seeds": len(after),
        "bits_per_byte": asdict(bits),
        "perplexity_ratio": {**asdict(nats), **ratio},
    }


def corpus_sentences(results: Mapping[str, Any]) -> tuple[str, ...]:
    """What corpora came to, a sentence each: the change with its interval, or the perplexity where nothing is
    compared.
    """
    corpora = results.get("corpora", {"rows": [], "changes": []})
    compared = {change["task"]: change["bits_per_byte"] for change in corpora["changes"]}
    found = []
    for task in dict.fromkeys(row["task"] for row in corpora["rows"]):
        rows = [row for row in corpora["rows"] if row["task"] == task]
        shown = ", ".join(f"{row['arm']} {row['perplexity']:.4g}" for row in rows)
        change = compared.get(task)
        told = f"; bits per byte {change['estimate']:+.3f} ({_between(change)})" if change else ""
        found.append(f"perplexity of {task} on {rows[0]['texts']:,} held-out texts: {shown}{told}")
    return tuple(found)


def _between(interval: Mapping[str, Any]) -> str:
    if math.isnan(interval["low"]):
        return f"no interval: {interval['reason']}"
    return f"95% interval {interval['low']:+.3f} to {interval['high']:+.3f}"
