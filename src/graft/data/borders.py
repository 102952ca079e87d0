"""Where a text begins and where an answer ends, as tokens: what the tokenizer adds and what the template writes.

An answer ends with what the chat template writes after one (``<|end|>`` of Phi-3, ``<end_of_turn>`` of Gemma,
``<|im_end|>`` of ChatML), whatever the tokenizer's own end of text is. White space that a template writes after that
token is not part of it, because generation has stopped by then.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from graft.data.chat import NO_THINKING, REPLY, ChatPolicy, after_answer, before_answer
from graft.errors import DataError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True, slots=True)
class Borders:
    """The tokens around texts and answers.

    Attributes:
        start: what the tokenizer puts before every text that no chat template renders.
        finish: what it puts after every text; encoders read it.
        before: white space between a prompt and its answer, which a model writes: what the chat template has there, or
            a space where prompts are raw text.
        after: what the chat template writes after an answer; empty without a template.
        end: what is trained after an answer, the token that stops it last.
        text_end: what is trained after a plain text; ``None`` where the tokenizer has no end of text.
        stops: every token that is known to end an answer.
        marks: their texts.
    """

    start: tuple[int, ...]
    finish: tuple[int, ...]
    before: str
    after: str
    end: tuple[int, ...]
    text_end: int | None
    stops: tuple[int, ...]
    marks: tuple[str, ...]

    def without_end(self, answer: str) -> str:
        """An answer without the end of turn that it may bring along, so that it does not get a second one."""
        bare = answer.rstrip()
        if not bare.endswith(self.marks):
            return answer
        return next(bare.removesuffix(mark) for mark in self.marks if bare.endswith(mark))


def borders_of(tokenizer: PreTrainedTokenizerBase, policy: ChatPolicy = NO_THINKING) -> Borders:
    """Find out the borders of a tokenizer by using it and its template.

    Raises:
        DataError: no token could ever end an answer.
    """
    return _borders(tokenizer, str(tokenizer.chat_template), str(tokenizer.eos_token), policy)


@lru_cache(maxsize=16)
def _borders(tokenizer: PreTrainedTokenizerBase, template: str, eos: str, policy: ChatPolicy) -> Borders:
    start, finish = added_ids(tokenizer)
    text_end = None if tokenizer.eos_token_id is None else int(tokenizer.eos_token_id)
    known = tuple(dict.fromkeys((*(() if text_end is None else (text_end,)), *policy.stops)))
    templated = tokenizer.chat_template is not None and not policy.raw
    last, between = after_answer(tokenizer, policy) if templated else ("", "")
    end = _end(tokenizer, last, None) or _end(tokenizer, between, known) or known[:1]
    if not end:
        raise DataError(
            f"the tokenizer of {tokenizer.name_or_path} has no eos_token, and its chat template writes no token after "
            "an answer, so no answer could ever end; set eos_token in its tokenizer_config.json"
        )
    before = before_answer(tokenizer, policy) if templated else " " * policy.raw
    stops = tuple(dict.fromkeys((end[-1], *known)))
    marks = tuple(str(mark) for mark in tokenizer.convert_ids_to_tokens(list(stops)))
    return Borders(start, finish, before, last or between, end, text_end, stops, marks)


@lru_cache(maxsize=16)
def added_ids(tokenizer: PreTrainedTokenizerBase) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The ids that a tokenizer puts before and after every text."""
    bare = list(tokenizer("a", add_special_tokens=False)["input_ids"])
    full = list(tokenizer("a")["input_ids"])
    place = next((i for i in range(len(full)) if full[i : i + len(bare)] == bare), None)
    if place is None:
        return (), ()
    return tuple(full[:place]), tuple(full[place + len(bare) :])


def _end(tokenizer: PreTrainedTokenizerBase, after: str, known: tuple[int, ...] | None) -> tuple[int, ...]:
    """The ids after an answer up to the first token of the tokenizer's own making; `known` narrows what that may be."""
    alone = list(tokenizer(REPLY, add_special_tokens=False)["input_ids"])
    joined = list(tokenizer(REPLY + after, add_special_tokens=False)["input_ids"])
    if joined[: len(alone)] != alone:
        return ()
    own = {
        index
        for index, token in tokenizer.added_tokens_decoder.items()
        if not token.content.isspace() and (known is None or index in known)
    }
    written = joined[len(alone) :]
    place = next((place for place, index in enumerate(written) if index in own), None)
    return () if place is None else tuple(written[: place + 1])
