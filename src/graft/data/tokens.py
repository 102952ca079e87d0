"""Examples as token ids: what is prompt, what is trained, and how each word was cut inside its prompt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from graft.data.chat import NO_THINKING, ChatPolicy, end_of_turn, render_prompt, with_reasoning
from graft.errors import DataError, ThinkingPolicyError
from graft.types import Example, TokenRow

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


CHUNK = 4096
"""Texts tokenised at once."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """Token rows with the examples that were too long to be among them.

    Attributes:
        rows: one row per kept example, in order.
        kept: index of each row's example.
        dropped: index of each example longer than the limit.
    """

    rows: tuple[TokenRow, ...]
    kept: tuple[int, ...]
    dropped: tuple[int, ...]


def encode(
    tokenizer: PreTrainedTokenizerBase,
    examples: Sequence[Example],
    *,
    max_length: int,
    policy: ChatPolicy = NO_THINKING,
    think: bool | None = None,
) -> Encoded:
    """Tokenise examples, each prompt rendered by the chat template and each completion ended.

    Generation continues from the prompt's own ids, so a completion is what follows them when both are tokenised
    together. An example longer than the limit is dropped whole: cutting it would cut the answer.

    Args:
        tokenizer: the model's tokenizer.
        examples: what to encode.
        max_length: longest row in tokens.
        policy: how prompts are rendered.
        think: ask for thinking or not and leave reasoning out, as scoring does; ``None`` to train every row with the
            reasoning that it carries, and rows without any as answers without thinking.

    Raises:
        DataError: nothing fits, an example has nothing to train, or its prompt's tokens change when the answer follows.
        ThinkingPolicyError: an example carries reasoning, but the policy is ``off``.
    """
    if not examples:
        raise DataError("there are no examples to encode; check the task and its word or file source")
    end = end_of_turn(tokenizer)
    texts = [_texts(tokenizer, example, policy, think) for example in examples]
    prompts = _ids(tokenizer, [prompt for prompt, _ in texts])
    wholes = _ids(tokenizer, [prompt + completion for prompt, completion in texts])
    rows, kept, dropped = [], [], []
    for index, (prompt, whole) in enumerate(zip(prompts, wholes, strict=True)):
        if whole[: len(prompt)] != prompt:
            raise DataError(_moved(tokenizer, examples[index], texts[index], prompt, whole))
        row = TokenRow(prompt, (*whole[len(prompt) :], end))
        if len(row) > max_length:
            dropped.append(index)
        else:
            rows.append(row)
            kept.append(index)
    if not rows:
        shortest = min(len(whole) + 1 for whole in wholes)
        raise DataError(
            f"data.max_length is {max_length}, but the shortest of {len(examples)} rows has {shortest} tokens; raise it"
        )
    return Encoded(tuple(rows), tuple(kept), tuple(dropped))


def _texts(
    tokenizer: PreTrainedTokenizerBase, example: Example, policy: ChatPolicy, think: bool | None
) -> tuple[str, str]:
    """Prompt and completion of an example as text; the end of the turn is not part of it."""
    if not example.gold:
        raise DataError(f"example {example.id} has an empty answer, so nothing of it would be trained")
    if example.prompt is None:
        return "", example.gold
    reasoning = example.reasoning if think is None else None
    if reasoning and policy.thinking == "off":
        raise ThinkingPolicyError(
            f"example {example.id} carries reasoning, but thinking is off; set thinking: on or drop its reasoning"
        )
    prompt = render_prompt(tokenizer, example.prompt, policy, think=bool(think or reasoning))
    return prompt, with_reasoning(prompt, reasoning, example.gold) if reasoning else example.gold


def _moved(
    tokenizer: PreTrainedTokenizerBase,
    example: Example,
    texts: tuple[str, str],
    prompt: Sequence[int],
    whole: Sequence[int],
) -> str:
    place = next((i for i, (a, b) in enumerate(zip(prompt, whole, strict=False)) if a != b), len(whole))
    alone, joined = (tokenizer.convert_ids_to_tokens(list(ids[place : place + 3])) for ids in (prompt, whole))
    return (
        f"example {example.id}: the end of its prompt {texts[0][-12:]!r} is cut into {alone}, but with its answer "
        f"{texts[1][:12]!r} into {joined}, so training would see other tokens than generation; let the answer begin "
        "with a letter or digit, or let model.template end with a line break"
    )


def word_pieces(
    tokenizer: PreTrainedTokenizerBase,
    examples: Sequence[Example],
    policy: ChatPolicy = NO_THINKING,
    *,
    think: bool = False,
) -> list[tuple[str, ...]]:
    """How each example's word is cut into tokens inside its rendered prompt.

    Quotes, spaces and neighbours change the cut, so the word alone says nothing about it.

    Returns:
        One tuple of surface pieces per example, for instance ``("straw", "berry")``; empty if the word is not there.
    """
    texts = [render_prompt(tokenizer, example.prompt or "", policy, think=think) for example in examples]
    offsets = tokenizer(texts, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
    pieces = []
    for example, text, spans in zip(examples, texts, offsets, strict=True):
        start = text.find(example.cluster) if example.cluster else -1
        stop = start + len(example.cluster)
        cut = [text[max(a, start) : min(b, stop)] for a, b in spans if a < stop and b > start] if start >= 0 else []
        pieces.append(tuple(piece for piece in cut if piece))
    return pieces


def _ids(tokenizer: PreTrainedTokenizerBase, texts: list[str]) -> list[tuple[int, ...]]:
    """Tokenise in chunks: a tokenizer's raw output takes kilobytes per text."""
    chunks = (texts[start : start + CHUNK] for start in range(0, len(texts), CHUNK))
    return [tuple(ids) for chunk in chunks for ids in tokenizer(chunk, add_special_tokens=False)["input_ids"]]
