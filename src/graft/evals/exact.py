"""What one teacher-forced pass over the right answers tells.

Greedy decoding writes the gold answer if and only if every gold token, the end of the turn included, is the arg-max
given the gold tokens before it. So one forward pass decides what generation would take as many passes as tokens for.
The same pass shows, at any place of the answer, how likely other tokens would have been there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from graft.models.forward import answer_hidden, head_of, rows_batch, trained_tokens
from graft.types import TokenRow

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass(frozen=True, slots=True)
class Probe:
    """Tokens that are compared with one another at one place of an answer.

    Attributes:
        place: tokens of the gold answer before it.
        tokens: their ids.
    """

    place: int
    tokens: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Reading:
    """What the pass told of one row.

    Attributes:
        exact: greedy decoding would write the completion, token for token, and then end the turn.
        logits: for each probe of the row the logits of its tokens; differences between them are differences in nats.
    """

    exact: bool
    logits: tuple[tuple[float, ...], ...]


def read_answers(
    model: PreTrainedModel,
    rows: Sequence[TokenRow],
    probes: Sequence[Sequence[Probe]] = (),
    *,
    pad_id: int,
    batch_size: int,
    allowed: torch.Tensor | None = None,
) -> list[Reading]:
    """Read each row's completion after its prompt, once.

    Args:
        model: a causal language model or an encoder-decoder, in evaluation mode.
        rows: prompts, none empty where there are probes, with their gold completions.
        probes: per row what else is looked at; nothing when empty.
        pad_id: token id to pad with.
        batch_size: rows per forward pass; passes take rows of similar length.
        allowed: bool of shape (V,), the tokens that may be written; all when ``None``.

    Returns:
        One reading per row, in the order of the rows.
    """
    found: dict[int, Reading] = {}
    head, seq2seq = head_of(model), bool(model.config.is_encoder_decoder)
    by_length = sorted(range(len(rows)), key=lambda index: len(rows[index]))
    for start in range(0, len(rows), batch_size):
        chosen = by_length[start : start + batch_size]
        group = [rows[index] for index in chosen]
        batch = rows_batch(model, group, pad_id)
        with torch.inference_mode():
            logits_NV = head(answer_hidden(model, batch))
            if allowed is not None:
                logits_NV = logits_NV.masked_fill(~allowed, -torch.inf)
            hits_N = logits_NV.argmax(-1) == batch.targets_N
        sizes = [trained_tokens(row, seq2seq=seq2seq) for row in group]
        looked = _look(logits_NV, sizes, [probes[index] for index in chosen] if probes else [()] * len(chosen))
        for index, hits, seen in zip(chosen, torch.split(hits_N.cpu(), sizes), looked, strict=True):
            found[index] = Reading(bool(hits.all()), seen)
    return [found[index] for index in range(len(rows))]


def _look(
    logits_NV: torch.Tensor, sizes: Sequence[int], probes: Sequence[Sequence[Probe]]
) -> list[tuple[tuple[float, ...], ...]]:
    """The logits that each row's probes ask for; `sizes` says how many of the N positions are each row's."""
    begins = [sum(sizes[:row]) for row in range(len(sizes))]
    asked = [(begins[row] + probe.place, probe.tokens) for row, of_row in enumerate(probes) for probe in of_row]
    if not asked:
        return [() for _ in probes]
    places_E = torch.tensor([place for place, tokens in asked for _ in tokens], device=logits_NV.device)
    tokens_E = torch.tensor([token for _, tokens in asked for token in tokens], device=logits_NV.device)
    flat = iter(logits_NV[places_E, tokens_E].float().tolist())
    return [tuple(tuple(next(flat) for _ in probe.tokens) for probe in of_row) for of_row in probes]
