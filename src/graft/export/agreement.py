"""How far an exported model is from the branch it was made of: the same prompts, the branch's own replies, one pass.

Axes: N reply tokens of one prompt, V vocabulary.

A greedy reply of the exported model is the branch's reply as long as its likeliest token is the branch's at every
place of that reply, so one pass over prompt and reply compares logits and replies alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from graft.errors import ModelError
from graft.models.backends.transformers import TransformersBackend
from graft.models.forward import answer_hidden, head_of, rows_batch
from graft.types import Prompt, Sampling, TokenRow

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

REPLY_TOKENS = 24
"""Longest reply that is compared, in tokens."""

BOUNDS = {torch.float32: 1e-5, torch.float16: 1e-3, torch.bfloat16: 2e-2}
"""Largest mean divergence in nats per token that rounding weights to a type may bring."""

LOST = 0.5
"""Largest share of the change by training that rounding may undo, where that change can be seen at all."""

SEEN = 1e-4
"""Nats per token from which on training is taken to have changed something."""


@dataclass(frozen=True, slots=True)
class Readings:
    """What one model says after each prompt.

    Attributes:
        rows: prompts with the branch's greedy replies.
        logits: of each row, shape (N, V), float32 in main memory.
    """

    rows: tuple[TokenRow, ...]
    logits: tuple[torch.Tensor, ...]


@dataclass(frozen=True, slots=True)
class Agreement:
    """How far two models are apart.

    Attributes:
        prompts: prompts compared.
        tokens: reply tokens compared.
        max_difference: largest difference of two logits.
        mean_difference: mean absolute difference of the logits.
        divergence: mean Kullback-Leibler divergence of the exported model's next token from the branch's, in nats.
        same_replies: prompts whose greedy reply is the same, token by token.
        margin: where a reply differs, the largest number of nats by which the branch preferred its own token.
    """

    prompts: int
    tokens: int
    max_difference: float
    mean_difference: float
    divergence: float
    same_replies: int
    margin: float

    def line(self) -> str:
        """The comparison in words."""
        return (
            f"{self.same_replies} of {self.prompts} greedy replies are the same; over {self.tokens} tokens the logits "
            f"differ by {self.mean_difference:.2g} (at most {self.max_difference:.2g}), the next token by "
            f"{self.divergence:.2g} nats"
        )


def greedy_rows(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, prompts: Sequence[Sequence[int]]
) -> tuple[TokenRow, ...]:
    """The prompts with the model's greedy replies."""
    backend = TransformersBackend(model, tokenizer, batch_size=8)
    asked = [Prompt((), tuple(ids)) for ids in prompts]
    replies = backend.generate(asked, Sampling(max_new_tokens=REPLY_TOKENS))
    return tuple(TokenRow(ask.ids, reply.token_ids) for ask, reply in zip(asked, replies, strict=True))


def read(model: PreTrainedModel, rows: Sequence[TokenRow]) -> Readings:
    """What a model says at every place of the replies."""
    found = []
    with torch.inference_mode():
        for row in rows:
            hidden_ND = answer_hidden(model, rows_batch(model, [row], 0))
            found.append(head_of(model)(hidden_ND).float().cpu())
    return Readings(tuple(rows), tuple(found))


def compare(branch: Readings, exported: Readings) -> Agreement:
    """Hold one model's readings against another's over the same rows."""
    worst = total = divergence = margin = 0.0
    same = tokens = entries = 0
    for row, right_NV, found_NV in zip(branch.rows, branch.logits, exported.logits, strict=True):
        apart_NV = (found_NV - right_NV).abs()
        worst, total, entries = (
            max(worst, float(apart_NV.max())),
            total + float(apart_NV.sum()),
            entries + apart_NV.numel(),
        )
        right_logs_NV, found_logs_NV = right_NV.log_softmax(-1), found_NV.log_softmax(-1)
        divergence += float((right_logs_NV.exp() * (right_logs_NV - found_logs_NV)).sum())
        tokens += len(row.completion)
        own_N, chosen_N = torch.tensor(row.completion), found_NV.argmax(-1)
        differs_N = (own_N != chosen_N).nonzero().flatten()
        if not len(differs_N):
            same += 1
            continue
        place = int(differs_N[0])
        margin = max(margin, float(right_logs_NV[place, own_N[place]] - right_logs_NV[place, chosen_N[place]]))
    return Agreement(len(branch.rows), tokens, worst, total / entries, max(divergence / tokens, 0.0), same, margin)


def require_agreement(found: Agreement, dtype: torch.dtype, changed: Agreement | None) -> None:
    """Refuse an export that is further from its branch than rounding explains.

    Args:
        found: the exported model against the branch.
        dtype: the coarser of the types in which both hold their weights.
        changed: the base against the branch, where that is known.

    Raises:
        ModelError: naming the bound and the value.
    """
    bound = BOUNDS[dtype]
    name = str(dtype).removeprefix("torch.")
    if not found.divergence <= bound:
        raise ModelError(
            f"the exported model is {found.divergence:.3g} nats per token from the branch, but rounding to {name} "
            f"explains at most {bound:g}: {found.line()}"
        )
    if changed is not None and changed.divergence > SEEN and found.divergence > LOST * changed.divergence:
        raise ModelError(
            f"rounding to {name} undoes what was trained: the exported model is {found.divergence:.3g} nats per token "
            f"from the branch, the untrained base {changed.divergence:.3g}; export it with --dtype float32"
        )
