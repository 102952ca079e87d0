"""The boundary certificate of a run: each border is tried with the very functions that training and scoring use."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from graft.data.borders import Borders, borders_of
from graft.data.chat import PROBE, REPLY, whole_chat
from graft.data.controls import control_tokens
from graft.data.survey import Survey
from graft.data.tokens import example_turns, prompt_ids, text_ids, token_ids
from graft.errors import DataError, ModelError
from graft.models.boundary import UNPROVEN, Certificate
from graft.pipeline.branches import branches
from graft.pipeline.prepare.lab import Lab, knows_tokens
from graft.pipeline.prepare.thinking import used_sampling, ways
from graft.runs.directory import RunDirectory
from graft.runs.files import read_json, write_json
from graft.tasks.field import FieldTask
from graft.types import Example, Message

if TYPE_CHECKING:
    from transformers import PreTrainedModel

TOKENS = 8
"""Tokens written to compare decoding with and without a cache."""

TRIAL = Example("boundary/trial", "boundary", PROBE, REPLY)


def certify(lab: Lab) -> Certificate | None:
    """Try the borders of a run's model, without its weights; ``None`` behind a server whose tokenizer is unknown.

    Raises:
        DataError: the tokens of a prompt change when the answer follows.
    """
    if not knows_tokens(lab.recipe):
        return None
    tokenizer, borders = lab.tokenizer, borders_of(lab.tokenizer, lab.policy)
    ((_, ids, cut),) = token_ids(tokenizer, [TRIAL], policy=lab.policy)
    literal, stuck = _tried(lab, borders)
    names = tokenizer.convert_ids_to_tokens
    return Certificate(
        start=tuple(names(list(borders.start))),
        opening=tuple(names(list(ids[: max(1, len(borders.start))]))),
        template=tokenizer.chat_template is not None,
        before=borders.before,
        after=borders.after,
        end=tuple(names(list(borders.end))),
        end_ids=borders.end,
        text_end=None if borders.text_end is None else str(names(borders.text_end)),
        stop_ids=borders.stops,
        stops=tuple(names(list(borders.stops))),
        named=lab.limits.stops,
        row=(cut, len(ids) - cut),
        same=_as_template(lab, ids),
        literal=literal,
        stuck=stuck,
        date=lab.policy.date,
        positions=lab.limits.positions,
    )


def _as_template(lab: Lab, ids: Sequence[int]) -> bool:
    """Whether a row is the conversation as the template writes it, but for white space at its end."""
    if lab.tokenizer.chat_template is None:
        return False
    turns = (*example_turns(TRIAL), Message("assistant", REPLY))
    text = whole_chat(lab.tokenizer, turns, lab.policy)
    whole = lab.tokenizer(text, add_special_tokens=False)["input_ids"]
    rest = str(lab.tokenizer.decode(whole[len(ids) :]))
    return list(ids) == whole[: len(ids)] and not rest.strip()


def _tried(lab: Lab, borders: Borders) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The control tokens that begin or end a turn or a text, by whether content that spells one stays text."""
    tokenizer, template = lab.tokenizer, str(lab.tokenizer.chat_template)
    plain = prompt_ids(tokenizer, [Message("user", PROBE)], lab.policy)
    literal: list[str] = []
    stuck: list[str] = []
    for token in sorted(control_tokens(tokenizer)):
        index = int(tokenizer.convert_tokens_to_ids(token))
        if token not in template and index not in (*borders.stops, *borders.start):
            continue
        try:
            ids = prompt_ids(tokenizer, [Message("user", f"{PROBE} a{token}b")], lab.policy)
            stays = ids.count(index) == plain.count(index)
        except DataError:
            stays = False
        (literal if stays else stuck).append(token)
    return tuple(literal), tuple(stuck)


def check_positions(lab: Lab, surveys: Sequence[Survey]) -> None:
    """Refuse rows, texts and replies that are longer than the model can read.

    An encoder and a decoder have the model's positions each.

    Raises:
        DataError: naming the length, the limit and the settings to change.
    """
    limit, length = lab.limits.positions, lab.recipe.data.max_length
    if limit is None or not knows_tokens(lab.recipe):
        return
    lengths = [
        (f"{'training' if one.part == 'train' else 'held-out'} row of {one.task}", min(one.longest, length))
        if not lab.policy.apart
        else (f"prompt or answer of {one.task}", max(one.longest_prompt, one.longest_answer))
        for one in surveys
    ]
    for corpus in lab.corpora:
        longest = max(map(len, text_ids(lab.tokenizer, corpus.texts)), default=0) + 1
        lengths.append((f"text of {corpus.task}, cut at data.max_length,", min(longest, length)))
    for what, longest in lengths:
        if longest > limit:
            raise DataError(
                f"the longest {what} has {longest:,} tokens, but the model has {limit:,} positions; set "
                f"data.max_length to {limit} at most, and longer rows are left out"
            )
    _check_field(lab, limit)
    for what, longest in _answered(lab, surveys):
        for setting, written in _reply_limits(lab):
            if written + (0 if lab.policy.apart else longest) > limit:
                raise DataError(
                    f"the longest prompt of {what} has {longest:,} tokens and {setting} is {written:,}, but the model "
                    f"has {limit:,} positions for both; lower {setting} or data.max_length"
                )


def _check_field(lab: Lab, limit: int) -> None:
    """Refuse benchmarks of which the model could read a part alone; lm-evaluation-harness cuts their beginning off."""
    for items in lab.items:
        if isinstance(items.task, FieldTask):
            longest = max(
                (len(row.prompt) + (items.task.written or len(row.completion)) for row in items.rows), default=0
            )
            if longest > limit:
                raise DataError(
                    f"{items.task.card.name} takes up to {longest:,} tokens as the field asks it, but the model has "
                    f"{limit:,} positions; set data.prompt_style: instruct, or take a model that reads more"
                )


def _answered(lab: Lab, surveys: Sequence[Survey]) -> Iterator[tuple[str, int]]:
    """The longest prompts that are answered, by where they come from; the base answers those of the arm ``self``."""
    for items in lab.items:
        if not items.policy.raw:
            yield items.task.card.name, max((len(row.prompt) for row in items.rows), default=0)
    if lab.recipe.mode == "grpo" or "self" in lab.recipe.study.arms:
        yield from ((f"{one.task} in training", one.longest_prompt) for one in surveys if one.part == "train")


def _reply_limits(lab: Lab) -> set[tuple[str, int]]:
    """The longest replies in tokens, by the setting that allows them."""
    thinks = {thinks for branch in branches(lab.recipe) for _, thinks in ways(lab.recipe, branch)}
    names = {True: "eval.thinking_max_new_tokens", False: "sampling.max_new_tokens"}
    return {(names[way], used_sampling(lab.recipe, thinks=way).max_new_tokens) for way in thinks}


def stored_certificate(run: RunDirectory) -> dict[str, Any]:
    """The certificate that a run keeps; empty where it has none."""
    if not run.provenance.is_file():
        return {}
    found: dict[str, Any] = read_json(run.provenance).get("extra", {}).get("boundary") or {}
    return found


def run_date(run: RunDirectory | None) -> str | None:
    """The day that the template of a run was told; ``None`` where it writes none, or before it is known."""
    return None if run is None else stored_certificate(run).get("date")


def prove_decoding(run: RunDirectory, lab: Lab, model: PreTrainedModel) -> None:
    """Hold decoding with a cache against decoding without, once in a run, and store the outcome in its certificate.

    Raises:
        ModelError: they differ.
    """
    if stored_certificate(run).get("decoding") != UNPROVEN:
        return
    from graft.models.selftest import check_cached_decoding, habits_of

    training = model.training
    model.eval()
    try:
        prompt = prompt_ids(lab.tokenizer, [Message("user", PROBE)], lab.policy)
        if habits_of(model).cached:
            differs = check_cached_decoding(model, prompt, tokens=TOKENS)
            if differs:
                raise ModelError(
                    f"{lab.recipe.model.id}: {differs}; use another transformers, or mend the model's code"
                )
            outcome = f"the same for {TOKENS} tokens"
        else:
            outcome = "not the same, so replies are written without one"
    finally:
        model.train(training)
    stored = read_json(run.provenance)
    stored["extra"]["boundary"]["decoding"] = outcome
    write_json(run.provenance, stored)
    if run.is_done("prepare"):
        run.amend("prepare", run.provenance)


def certificate_json(found: Certificate | None) -> dict[str, Any] | None:
    """A certificate as it is stored, with its own words."""
    return None if found is None else {**asdict(found), "lines": list(found.lines())}
