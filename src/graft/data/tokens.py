"""Examples as token ids: what is prompt, what is trained, and how each word was cut inside its prompt."""

from __future__ import annotations

import json
import re
import sys
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from tokenizers import Tokenizer

from graft.data.chat import NO_THINKING, ChatPolicy, PromptRenderer, end_of_turn, render_chat, with_reasoning
from graft.errors import DataError, ThinkingPolicyError
from graft.types import Example, Message, TokenRow

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


CHUNK = 1024
"""Texts tokenised at once."""

CHARACTERS = 1 << 20
"""Characters tokenised at once, save for a longer text: what the library keeps of a token while it works is large."""

WORKERS = 2
"""Chunks tokenised side by side; the interpreter renders the next ones meanwhile."""


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
    rows, kept, dropped, shortest = [], [], [], sys.maxsize
    for index, (_, ids, cut) in enumerate(token_ids(tokenizer, examples, policy=policy, think=think)):
        shortest = min(shortest, len(ids))
        if len(ids) > max_length:
            dropped.append(index)
        else:
            rows.append(TokenRow(ids[:cut], ids[cut:]))
            kept.append(index)
    if not rows:
        raise DataError(
            f"data.max_length is {max_length}, but the shortest of {len(examples)} rows has {shortest} tokens; raise it"
        )
    return Encoded(tuple(rows), tuple(kept), tuple(dropped))


def token_ids(
    tokenizer: PreTrainedTokenizerBase,
    examples: Iterable[Example],
    *,
    policy: ChatPolicy = NO_THINKING,
    think: bool | None = None,
) -> Iterator[tuple[Example, tuple[int, ...], int]]:
    """Tokenise examples chunk by chunk, however many there are; the next ones are rendered meanwhile.

    Args:
        tokenizer: the model's tokenizer.
        examples: what to encode.
        policy: how prompts are rendered.
        think: as in `encode`.

    Yields:
        An example, the ids of its prompt and its ended completion, and the number of them that are prompt.

    Raises:
        DataError: an example has nothing to train, or its prompt's tokens change when the answer follows.
        ThinkingPolicyError: an example carries reasoning, but the policy is ``off``.
    """
    end = end_of_turn(tokenizer)
    renderer = PromptRenderer(tokenizer, policy)
    joint = _joint(tokenizer, len(tokenizer))
    with ThreadPoolExecutor(WORKERS) as pool:  # the tokenizer works outside the interpreter's lock
        ahead: deque[tuple[list[Example], list[tuple[str, str]], Future[tuple[Any, Any]]]] = deque()
        for chunk in _chunks(examples):
            texts = [_texts(renderer, example, think) for example in chunk]
            ahead.append((chunk, texts, pool.submit(_both, tokenizer, texts, joint)))
            if len(ahead) > WORKERS:
                yield from _ended(tokenizer, *ahead.popleft(), end)
        while ahead:
            yield from _ended(tokenizer, *ahead.popleft(), end)


def _chunks(examples: Iterable[Example]) -> Iterator[list[Example]]:
    chunk: list[Example] = []
    size = 0
    for example in examples:
        chunk.append(example)
        size += len(example.gold) + len(example.prompt or "")
        if len(chunk) == CHUNK or size >= CHARACTERS:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


def _both(
    tokenizer: PreTrainedTokenizerBase, texts: Sequence[tuple[str, str]], joint: re.Pattern[str] | None
) -> tuple[list[list[int]], list[list[int]]]:
    """The ids of each prompt alone, as generation will see it, and together with its completion.

    A token that stands by itself, such as the start of a turn, cuts a text in two that are tokenised apart. So a prompt
    is cut there, what many prompts share is tokenised once, and only the last part a second time with its completion.
    """
    if joint is None:
        prompts = _ids(tokenizer, [prompt for prompt, _ in texts])
        return prompts, _ids(tokenizer, [prompt + answer for prompt, answer in texts])
    cut = [joint.split(prompt) for prompt, _ in texts]
    parts = list({part for pieces in cut for part in pieces})
    lasts = [pieces[-1] + answer for pieces, (_, answer) in zip(cut, texts, strict=True)]
    ids = _ids(tokenizer, parts + lasts)
    known = dict(zip(parts, ids, strict=False))
    heads = [[token for part in pieces[:-1] for token in known[part]] for pieces in cut]
    prompts = [head + known[pieces[-1]] for head, pieces in zip(heads, cut, strict=True)]
    return prompts, [head + end for head, end in zip(heads, ids[len(parts) :], strict=True)]


_LOCAL = ("ByteLevel", "Split", "Digits", "Punctuation")
"""Kinds of pre-tokenizers that cut a text alike wherever it stands."""


@lru_cache(maxsize=4)  # reading a large vocabulary takes half a second
def _joint(tokenizer: PreTrainedTokenizerBase, size: int) -> re.Pattern[str] | None:
    """Matches the tokens that stand by themselves, as a group; ``None`` where pieces of a text are not tokenised alike
    in every place, as with tokenizers that mark the first word of a text.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if not isinstance(backend, Tokenizer):
        return None
    made = json.loads(backend.to_str())
    cutters = made["pre_tokenizer"] or {"type": ""}
    parts = cutters.get("pretokenizers", [cutters])
    plain = all(part["type"] in _LOCAL and not part.get("add_prefix_space") for part in parts)
    alone = [
        token["content"]
        for token in made["added_tokens"]
        if not (token["lstrip"] or token["rstrip"] or token["single_word"] or token["normalized"])
    ]
    normal = (made["normalizer"] or {"type": "NFC"})["type"] in ("NFC", "NFD", "NFKC", "NFKD")
    longest_first = "|".join(map(re.escape, sorted(alone, key=len, reverse=True)))
    return re.compile(f"({longest_first})") if plain and normal and alone else None


def _ended(
    tokenizer: PreTrainedTokenizerBase,
    examples: Sequence[Example],
    texts: Sequence[tuple[str, str]],
    encoded: Future[tuple[list[list[int]], list[list[int]]]],
    end: int,
) -> Iterator[tuple[Example, tuple[int, ...], int]]:
    for example, pair, prompt, whole in zip(examples, texts, *encoded.result(), strict=True):
        if whole[: len(prompt)] != prompt:
            raise DataError(_moved(tokenizer, example, pair, prompt, whole))
        yield example, (*whole, end), len(prompt)


def example_turns(example: Example) -> tuple[Message, ...]:
    """The turns before an example's answer: its history, then its prompt as the user's turn."""
    return (*example.history, Message("user", example.prompt or ""))


def example_texts(
    tokenizer: PreTrainedTokenizerBase, example: Example, policy: ChatPolicy = NO_THINKING
) -> tuple[str, str]:
    """The prompt and the completion of an example as text, as they are trained; the end of the turn is not part of it.

    Raises:
        DataError: the example has an empty answer.
        ThinkingPolicyError: it carries reasoning, but the policy is ``off``.
    """
    return _texts(PromptRenderer(tokenizer, policy), example, None)


def _texts(renderer: PromptRenderer, example: Example, think: bool | None) -> tuple[str, str]:
    """Prompt and completion of an example as text; the end of the turn is not part of it."""
    if not example.gold:
        raise DataError(f"example {example.id} has an empty answer, so nothing of it would be trained")
    if example.prompt is None:
        return "", example.gold
    reasoning = example.reasoning if think is None else None
    if reasoning and renderer.policy.thinking == "off":
        raise ThinkingPolicyError(
            f"example {example.id} carries reasoning, but thinking is off; set thinking: on or drop its reasoning"
        )
    prompt = _rendered(renderer, example, think=bool(think or reasoning))
    return prompt, with_reasoning(prompt, reasoning, example.gold) if reasoning else example.gold


def _rendered(renderer: PromptRenderer, example: Example, *, think: bool) -> str:
    if example.history:
        return render_chat(renderer.tokenizer, example_turns(example), renderer.policy, think=think)
    return renderer.render(example.prompt or "", think=think)


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
    renderer = PromptRenderer(tokenizer, policy)
    texts = [_rendered(renderer, example, think=think) for example in examples]
    offsets = tokenizer(texts, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
    pieces = []
    for example, text, spans in zip(examples, texts, offsets, strict=True):
        start = text.find(example.cluster) if example.cluster else -1
        stop = start + len(example.cluster)
        cut = [text[max(a, start) : min(b, stop)] for a, b in spans if a < stop and b > start] if start >= 0 else []
        pieces.append(tuple(piece for piece in cut if piece))
    return pieces


def _ids(tokenizer: PreTrainedTokenizerBase, texts: list[str]) -> list[list[int]]:
    """The ids of each text; straight from the library where the tokenizer is one of its own."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if isinstance(backend, Tokenizer) and backend.truncation is None and backend.padding is None:
        return [found.ids for found in backend.encode_batch_fast(texts, add_special_tokens=False)]
    return list(tokenizer(texts, add_special_tokens=False)["input_ids"])
