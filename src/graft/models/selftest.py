"""What a model's decoding bears, found out by trying it on a few tokens.

Keys and values, states of recurrent layers and left padding go wrong in silence: the replies read well and are of
another model. So decoding is held against reading everything anew, one prompt at a time, which needs none of them.

B: rows of the batch. V: vocabulary.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal
from weakref import WeakKeyDictionary

import torch

from graft.models.batch import Batch
from graft.models.trial import FAILURES, LONG, SHORT, bare, difference, rounding

if TYPE_CHECKING:
    from transformers import PreTrainedModel

LOG = logging.getLogger(__name__)

WRITTEN = (2, 4, 3)
"""What is written after the prompts of a trial, whatever the model would choose."""


@dataclass(frozen=True, slots=True)
class Habits:
    """How a model can be decoded so that each reply is what it writes alone.

    Attributes:
        cached: what was read can be kept; else everything is read anew for each token.
        together: prompts that can share a batch: ``any``, with left padding; those of ``equal`` length; ``none``.
        leaves: finished rows can leave a batch.
    """

    cached: bool = True
    together: Literal["any", "equal", "none"] = "any"
    leaves: bool = True


_KNOWN: WeakKeyDictionary[Any, Habits] = WeakKeyDictionary()


def habits_of(model: PreTrainedModel) -> Habits:
    """How this model can be decoded: tried once, in a dozen passes over a few tokens."""
    inner = bare(model)
    if inner not in _KNOWN:
        _KNOWN[inner] = found = _try_out(inner)
        if not found.cached:
            LOG.warning("replies are written without a cache, which is slower: with it the model predicts differently")
        if found.together != "any":
            LOG.info("prompts of different length are not written together: padding would change the replies")
    return _KNOWN[inner]


def _try_out(model: Any) -> Habits:
    """The fastest way of decoding that passes a trial."""
    truth: dict[tuple[int, ...], list[torch.Tensor]] = {prompt: _read_anew(model, prompt) for prompt in (SHORT, LONG)}

    def right(*prompts: tuple[int, ...], cached: bool = True, leaves: bool = False) -> bool:
        try:
            return _deviation(model, prompts, truth, cached=cached, leaves=leaves) <= rounding(model)
        except FAILURES as error:
            LOG.debug("a trial of decoding failed: %s", error)
            return False

    if right(SHORT, LONG, SHORT, leaves=True):
        return Habits()
    cached = right(SHORT) and right(LONG)
    if right(SHORT, LONG, SHORT, cached=cached):
        return Habits(cached, "any", leaves=right(SHORT, LONG, SHORT, cached=cached, leaves=True))
    if right(LONG, LONG, LONG, cached=cached):
        return Habits(cached, "equal", leaves=right(LONG, LONG, LONG, cached=cached, leaves=True))
    return Habits(cached, "none", leaves=False)


def _read_anew(model: Any, prompt: tuple[int, ...]) -> list[torch.Tensor]:
    """The logits of each token after a prompt, of shape (V,), with nothing kept."""
    batch, found = Batch(model, [prompt], 0, cached=False), []
    for token in WRITTEN:
        found.append(batch.next_logits()[0])
        batch.append(torch.tensor([token], device=model.device))
    return found


def _deviation(
    model: Any,
    prompts: Sequence[tuple[int, ...]],
    truth: Mapping[tuple[int, ...], list[torch.Tensor]],
    *,
    cached: bool,
    leaves: bool,
) -> float:
    """Largest relative change of logits in a batch; with ``leaves`` its second row leaves after the first token."""
    batch, rows, worst = Batch(model, prompts, 0, cached=cached), list(range(len(prompts))), 0.0
    for step, token in enumerate(WRITTEN):
        expected_BV = torch.stack([truth[prompts[row]][step] for row in rows])
        worst = max(worst, difference(batch.next_logits(), expected_BV))
        batch.append(torch.full((len(rows),), token, device=model.device))
        if leaves and step == 0:
            rows = [row for row in rows if row != 1]
            batch.keep(torch.tensor(rows, device=model.device))
    return worst


def check_cached_decoding(model: PreTrainedModel, prompt_ids: Sequence[int], tokens: int = 8) -> str | None:
    """Whether a reply written with the cache is the reply that reading everything anew gives.

    Args:
        model: a causal or sequence-to-sequence language model in evaluation mode.
        prompt_ids: a prompt, not empty.
        tokens: how many tokens are written, greedily.

    Returns:
        ``None`` where it is; else one sentence that says what differs.
    """
    anew, right, written = Batch(model, [prompt_ids], 0, cached=False), [], []
    for _ in range(tokens):
        right.append(anew.next_logits())
        written.append(right[-1].argmax(-1))
        anew.append(written[-1])
    kept, first, worst = Batch(model, [prompt_ids], 0), None, 0.0  # after the other: some models hold one state only
    for step in range(tokens):
        try:
            found_1V = kept.next_logits()
        except FAILURES as error:
            return f"decoding with a cache fails at token {step + 1}: {error}"
        worst = max(worst, difference(found_1V, right[step]))
        if first is None and not torch.equal(found_1V.argmax(-1), written[step]):
            first = step + 1
        kept.append(written[step])
    if worst <= rounding(model):
        return None
    place = "no token differs" if first is None else f"token {first} differs first"
    return (
        f"decoding with a cache is not decoding without: of {tokens} tokens {place}, and logits differ by up to "
        f"{worst:.2g} of the largest"
    )
