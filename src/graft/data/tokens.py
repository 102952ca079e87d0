"""Examples as token ids: what is prompt, what is trained, and how each word was cut inside its prompt."""

from __future__ import annotations

import json
import re
import sys
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from tokenizers import Tokenizer

from graft.data.borders import Borders, borders_of
from graft.data.chat import NO_THINKING, ChatPolicy, PromptRenderer, marked_chat, with_reasoning, written_answer
from graft.data.controls import MARK, encode_marked, mark, unmarked
from graft.errors import DataError, ThinkingPolicyError
from graft.types import Example, Message, TokenRow

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


CHUNK = 1024
"""Texts tokenised at once."""

CHARACTERS = 1 << 20
"""Characters tokenised at once, save for a longer text: what the library keeps of a token while it works is large."""

INDENTS = (" ", "\t")
"""White space that an answer may begin with; a line break would go on with the prompt's own."""

WORKERS = 2
"""Chunks tokenised side by side; the interpreter renders the next ones meanwhile."""

Ids = tuple[int, ...]


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
    together; for an encoder and a decoder each is a text of its own. An example longer than the limit is dropped whole:
    cutting it would cut the answer.

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
    borders = borders_of(tokenizer, policy)
    renderer = PromptRenderer(tokenizer, policy)
    joint = None if policy.apart else _joint(tokenizer, len(tokenizer))
    both = _apart if policy.apart else _both
    with ThreadPoolExecutor(WORKERS) as pool:  # the tokenizer works outside the interpreter's lock
        ahead: deque[tuple[list[Example], list[tuple[str, str]], Future[tuple[Any, Any]]]] = deque()
        for chunk in _chunks(examples):
            texts = [marked_texts(renderer, borders, example, think) for example in chunk]
            ahead.append((chunk, texts, pool.submit(both, tokenizer, texts, joint)))
            if len(ahead) > WORKERS:
                yield from _ended(tokenizer, *ahead.popleft(), borders, policy)
        while ahead:
            yield from _ended(tokenizer, *ahead.popleft(), borders, policy)


def prompt_ids(
    tokenizer: PreTrainedTokenizerBase,
    messages: Sequence[Message],
    policy: ChatPolicy = NO_THINKING,
    *,
    think: bool = False,
) -> Ids:
    """The ids of a conversation up to the place where the answer begins, as training and scoring have them.

    Raises:
        ThinkingPolicyError: `think` is against the policy, or the template cannot do what is asked.
        ModelError: the template fails, or leaves out a turn.
    """
    (ids,) = _ids(tokenizer, [marked_chat(tokenizer, messages, policy, think=think)])
    return _framed(tokenizer, ids, borders_of(tokenizer, policy), policy)


def text_ids(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> list[list[int]]:
    """The ids of plain texts, without what the tokenizer adds; control tokens that they spell stay text."""
    return _ids(tokenizer, [mark(tokenizer, text, "text") for text in texts])


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
    if joint is None or any(MARK in prompt or MARK in answer for prompt, answer in texts):
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


def _apart(
    tokenizer: PreTrainedTokenizerBase, texts: Sequence[tuple[str, str]], joint: re.Pattern[str] | None
) -> tuple[list[list[int]], list[list[int]]]:
    """The ids of each prompt, and the same with those of its completion as a text of its own."""
    prompts = _ids(tokenizer, [prompt for prompt, _ in texts])
    answers = _ids(tokenizer, [answer for _, answer in texts])
    return prompts, [prompt + answer for prompt, answer in zip(prompts, answers, strict=True)]


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
    borders: Borders,
    policy: ChatPolicy,
) -> Iterator[tuple[Example, Ids, int]]:
    for example, pair, prompt, whole in zip(examples, texts, *encoded.result(), strict=True):
        if whole[: len(prompt)] != prompt and pair[1].startswith(INDENTS):
            whole = _continued(tokenizer, prompt, pair[1], whole)
        if whole[: len(prompt)] != prompt:
            raise DataError(_moved(tokenizer, example, pair, prompt, whole))
        answer = tuple(whole[len(prompt) :])
        if example.prompt is None:
            read = borders.start
            end = borders.end if borders.text_end is None else (borders.text_end,)
        else:
            read, end = _framed(tokenizer, prompt, borders, policy), borders.end
            answer = (borders.start if policy.apart else ()) + answer
        yield example, (*read, *answer, *end), len(read)


def _continued(tokenizer: PreTrainedTokenizerBase, prompt: list[int], answer: str, whole: list[int]) -> list[int]:
    """A prompt and an answer that begins with white space, which melts into the prompt's where both are read as one.

    Generation continues from the prompt's own tokens, so the answer is read by itself where that gives the same text.
    """
    apart = [*prompt, *_ids(tokenizer, [answer])[0]]
    return apart if tokenizer.decode(apart) == tokenizer.decode(whole) else whole


def _framed(tokenizer: PreTrainedTokenizerBase, prompt: Sequence[int], borders: Borders, policy: ChatPolicy) -> Ids:
    """A prompt with what the tokenizer adds, unless it is there already: an encoder reads all of it; before an answer
    that continues the prompt only its beginning stands, and none where a chat template writes the whole.
    """
    ids, start, finish = tuple(prompt), borders.start, borders.finish
    if not policy.apart and not policy.raw and tokenizer.chat_template is not None:
        return ids
    ids = ids if ids[: len(start)] == start else start + ids
    return ids + finish if policy.apart and ids[len(ids) - len(finish) :] != finish else ids


def ended_once(borders: Borders, example: Example) -> Example:
    """The example without the ends of turn that its answers may bring along: each is given one."""
    if example.prompt is None:
        return example
    gold, *options = (borders.without_end(answer) for answer in (example.gold, *example.options))
    history = tuple(
        replace(turn, content=borders.without_end(turn.content)) if turn.role == "assistant" else turn
        for turn in example.history
    )
    if (gold, tuple(options), history) == (example.gold, example.options, example.history):
        return example
    return replace(example, gold=gold, options=tuple(options), history=history)


def example_turns(example: Example) -> tuple[Message, ...]:
    """The turns before an example's answer: its history, then its prompt as the turn that is answered."""
    return (*example.history, Message(example.asker, example.prompt or "", example.asked))


def marked_texts(renderer: PromptRenderer, borders: Borders, example: Example, think: bool | None) -> tuple[str, str]:
    """Prompt and completion of an example as marked text; the end of the turn is not part of it."""
    tokenizer = renderer.tokenizer
    example = ended_once(borders, example)
    if not example.gold and not example.calls:
        raise DataError(f"example {example.id} has an empty answer, so nothing of it would be trained")
    gold = mark(tokenizer, example.gold, "text" if example.prompt is None else "assistant")
    if example.prompt is None:
        return "", gold
    reasoning = example.reasoning if think is None else None
    if reasoning and renderer.policy.thinking == "off":
        raise ThinkingPolicyError(
            f"example {example.id} carries reasoning, but thinking is off; set thinking: on or drop its reasoning"
        )
    prompt = _rendered(renderer, example, think=bool(think or reasoning))
    if example.calls:
        return prompt, _with_calls(renderer, borders, example, reasoning)
    if reasoning:
        return prompt, with_reasoning(prompt, mark(tokenizer, reasoning, "assistant"), gold)
    return prompt, gold if think else borders.before + gold


def _with_calls(renderer: PromptRenderer, borders: Borders, example: Example, reasoning: str | None) -> str:
    """An answer that calls tools as the chat template writes it, without its end, as marked text."""
    fields = {"tool_calls": json.loads(example.calls)} | ({"reasoning_content": reasoning} if reasoning else {})
    answer = Message("assistant", example.gold, json.dumps(fields, ensure_ascii=False))
    written = written_answer(renderer.tokenizer, example_turns(example), answer, renderer.policy, think=bool(reasoning))
    if not written.endswith(borders.after):
        raise DataError(
            f"example {example.id} calls a tool, after which the chat template of {renderer.tokenizer.name_or_path} "
            f"writes {written[-20:]!r}, but {borders.after!r} after other answers; leave such rows out"
        )
    return written.removesuffix(borders.after)


def spelled_out(tokenizer: PreTrainedTokenizerBase, example: Example, policy: ChatPolicy = NO_THINKING) -> Example:
    """The example with the tools that its answer calls as text, as the chat template spells them.

    Raises:
        DataError: the template ends such an answer otherwise.
        ModelError: it has no such spelling.
    """
    if not example.calls:
        return example
    renderer = PromptRenderer(tokenizer, policy)
    text = unmarked(_with_calls(renderer, borders_of(tokenizer, policy), example, None))
    return replace(example, gold=text, calls="")


def _rendered(renderer: PromptRenderer, example: Example, *, think: bool) -> str:
    if example.history or example.asker != "user":
        return marked_chat(renderer.tokenizer, example_turns(example), renderer.policy, think=think)
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
    texts = [unmarked(_rendered(renderer, example, think=think)) for example in examples]
    offsets = tokenizer(texts, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
    pieces = []
    for example, text, spans in zip(examples, texts, offsets, strict=True):
        start = text.find(example.cluster) if example.cluster else -1
        stop = start + len(example.cluster)
        cut = [text[max(a, start) : min(b, stop)] for a, b in spans if a < stop and b > start] if start >= 0 else []
        pieces.append(tuple(piece for piece in cut if piece))
    return pieces


def _ids(tokenizer: PreTrainedTokenizerBase, texts: list[str]) -> list[list[int]]:
    """The ids of each marked text; straight from the library where the tokenizer is one of its own."""
    if any(MARK in text for text in texts):
        plain = iter(_ids(tokenizer, [text for text in texts if MARK not in text]))
        return [encode_marked(tokenizer, text) if MARK in text else next(plain) for text in texts]
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if isinstance(backend, Tokenizer) and backend.truncation is None and backend.padding is None:
        return [found.ids for found in backend.encode_batch_fast(texts, add_special_tokens=False)]
    return list(tokenizer(texts, add_special_tokens=False)["input_ids"])
