"""A model in this process as a backend: prompts of similar length together, finished rows leave the batch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import torch

from graft.errors import ModelError
from graft.models.backends.base import no_progress
from graft.models.decoding import decode
from graft.models.until import Until, cut
from graft.runs.journal import Journal
from graft.types import Completion, Delta, Prompt, Sampling, Usage

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

UNFINISHED_CHARACTER = "�"
"""What the bytes of a character decode to while some of them are missing."""


class TransformersBackend:
    """A loaded model that writes replies.

    Args:
        model: a causal or sequence-to-sequence language model in evaluation mode.
        tokenizer: its tokenizer; names the end-of-turn and padding tokens.
        batch_size: prompts per batch, at least 1.
        allowed_ids: the only tokens that may be written; the end-of-turn tokens are always allowed. All when ``None``.
    """

    local = True

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        *,
        batch_size: int = 32,
        allowed_ids: Iterable[int] | None = None,
    ) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.batch_size = batch_size
        self.end_ids = end_ids(model, tokenizer)
        self.allowed = None if allowed_ids is None else self._mask(allowed_ids)
        self.journal: Journal | None = None
        self._usage = Usage()

    @property
    def usage(self) -> Usage:
        """Tokens read and written so far."""
        return self._usage

    def generate(
        self, prompts: Sequence[Prompt], sampling: Sampling, *, on_done: Callable[[int], None] = no_progress
    ) -> list[Completion]:
        """Continue every prompt; a reply does not depend on what else is in its batch.

        A batch whose replies are all in the journal is not generated again. Batches are made alike with and without a
        journal, so that a reply has the same bits.

        Raises:
            ModelError: a prompt has no token ids.
        """
        replies: list[Completion | None] = [None] * len(prompts)
        by_length = sorted(range(len(prompts)), key=lambda index: len(prompts[index].ids))
        for start in range(0, len(by_length), self.batch_size):
            chosen = by_length[start : start + self.batch_size]
            known = self._known(prompts, sampling, chosen)
            if known is not None:
                for index, reply in known.items():
                    replies[index] = reply
                on_done(len(chosen))
                continue
            written: dict[int, list[int]] = {index: [] for index in chosen}
            for step in self._steps([prompts[index] for index in chosen], sampling, chosen):
                for row, token in step:
                    written[chosen[row]].append(token)
            for index, ids in written.items():
                replies[index] = completion = self._completion(prompts[index], ids, sampling)
                if self.journal is not None:
                    self.journal.keep(prompts[index], index, sampling, completion)
            on_done(len(chosen))
        return [reply for reply in replies if reply is not None]

    def _known(
        self, prompts: Sequence[Prompt], sampling: Sampling, chosen: Sequence[int]
    ) -> dict[int, Completion] | None:
        """The replies of a batch from the journal; ``None`` when one is not there."""
        if self.journal is None:
            return None
        found = {index: self.journal.find(prompts[index], index, sampling) for index in chosen}
        return {index: reply for index, reply in found.items() if reply is not None} if all(found.values()) else None

    def stream(self, prompt: Prompt, sampling: Sampling) -> Iterator[Delta]:
        """Continue one prompt piece by piece; a piece holds whole characters.

        Raises:
            ModelError: the prompt has no token ids.
        """
        ids: list[int] = []
        shown = ""
        context, told = 0, 0  # a token's text may depend on the one before it, so decoding starts a little earlier
        for step in self._steps([prompt], sampling, [0]):
            ids.append(step[0][1])
            if ids[-1] in self.end_ids:
                break
            before, now = self._text(ids[context:told]), self._text(ids[context:])
            if len(now) > len(before) and not now.endswith(UNFINISHED_CHARACTER):
                shown += now[len(before) :]
                context, told = told, len(ids)
                yield Delta(now[len(before) :])
        completion = self._completion(prompt, ids, sampling)
        yield Delta(completion.text[len(shown) :], completion)

    def close(self) -> None:
        """Nothing to give back: the model belongs to its caller."""

    def _steps(
        self, prompts: Sequence[Prompt], sampling: Sampling, streams: Sequence[int]
    ) -> Iterator[list[tuple[int, int]]]:
        if not all(prompt.ids for prompt in prompts):
            raise ModelError("a model in this process needs prompts as token ids, but one has none; render it first")
        return decode(
            self.model,
            [prompt.ids for prompt in prompts],
            sampling,
            pad_id=int(self.tokenizer.pad_token_id or 0),
            end_ids=self.end_ids,
            streams=streams,
            allowed=self.allowed,
            ends=Until(self.tokenizer, sampling.until) if sampling.until else None,
        )

    def _completion(self, prompt: Prompt, ids: list[int], sampling: Sampling) -> Completion:
        usage = Usage(len(prompt.ids), len(ids))
        self._usage += usage
        ended = ids[-1] in self.end_ids
        whole = self._text(ids[:-1] if ended else ids)
        text = cut(whole, sampling.until)
        return Completion(text, tuple(ids), ended or text != whole, usage)

    def _text(self, ids: Sequence[int]) -> str:
        return str(self.tokenizer.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False))

    def _mask(self, allowed_ids: Iterable[int]) -> torch.Tensor:
        size = int(self.model.config.get_text_config().vocab_size)
        mask = torch.zeros(size, dtype=torch.bool, device=self.model.device)
        mask[torch.tensor(sorted({*allowed_ids, *self.end_ids}), device=self.model.device)] = True
        return mask


def end_ids(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> frozenset[int]:
    """The tokens that end a reply: the tokenizer's own and those that the model's generation config names."""
    named = model.generation_config.eos_token_id if model.generation_config is not None else None
    listed = named if isinstance(named, list) else [named]
    return frozenset(int(token) for token in (tokenizer.eos_token_id, *listed) if token is not None)
