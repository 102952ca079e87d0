"""The items of a task, rendered and tokenised once for all arms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from graft.data.borders import borders_of
from graft.data.chat import NO_THINKING, ChatPolicy, render_chat, with_system
from graft.data.tokens import encode, ended_once, example_turns, spelled_out, word_pieces
from graft.errors import DataError
from graft.tasks.base import Task
from graft.types import Example, Prompt, TokenRow

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True, slots=True)
class Items:
    """The items of one task and split, rendered and tokenised once for all arms.

    Attributes:
        task: the task, which scores the replies.
        split: ``eval`` or ``seen``.
        examples: the items.
        rows: their token rows, in the same order; empty when the model's tokenizer is unknown, behind a server.
        pieces: how each item's word is cut into tokens inside its prompt; empty likewise.
        too_long: the examples that are no items because they do not fit ``data.max_length``.
        policy: how the prompts were rendered.
        think: the prompts ask for a reply that thinks first.
    """

    task: Task
    split: str
    examples: tuple[Example, ...]
    rows: tuple[TokenRow, ...]
    pieces: tuple[tuple[str, ...], ...]
    policy: ChatPolicy = NO_THINKING
    think: bool = False
    too_long: tuple[Example, ...] = ()

    def __len__(self) -> int:
        return len(self.examples)


def prepare_items(
    tokenizer: PreTrainedTokenizerBase | None,
    task: Task,
    split: str,
    examples: Sequence[Example],
    *,
    max_length: int,
    policy: ChatPolicy = NO_THINKING,
    think: bool = False,
) -> Items:
    """Render and tokenise the items of a task; items that do not fit ``max_length`` are set apart.

    Without a tokenizer, behind a server, the items stay text.

    Raises:
        DataError: an answer calls tools, and the tokenizer is unknown.
        ThinkingPolicyError: `think` is against the policy, or the template cannot do what is asked.
    """
    if tokenizer is None:
        if called := next((example.id for example in examples if example.calls), None):
            raise DataError(
                f"example {called} calls a tool, and how is the affair of the model's chat template; name the model's "
                "tokenizer in model.tokenizer, or leave such rows out"
            )
        return Items(task, split, tuple(examples), (), (), policy, think)
    borders = borders_of(tokenizer, policy)
    examples = [ended_once(borders, example) for example in examples]
    encoded = encode(tokenizer, examples, max_length=max_length, policy=policy, think=think)
    kept = tuple(spelled_out(tokenizer, examples[index], policy) for index in encoded.kept)
    pieces = tuple(word_pieces(tokenizer, kept, policy, think=think))
    too_long = tuple(examples[index] for index in encoded.dropped)
    return Items(task, split, kept, encoded.rows, pieces, policy, think, too_long)


def item_prompt(items: Items, index: int) -> Prompt:
    """What a backend is asked for one item."""
    turns = with_system(example_turns(items.examples[index]), items.policy)
    return Prompt(turns, items.rows[index].prompt if items.rows else ())


def item_fields(tokenizer: PreTrainedTokenizerBase | None, items: Items, index: int) -> dict[str, Any]:
    """The part of a record that does not depend on the reply: all that a scorer reads, and which scorer it was.

    Without a tokenizer, behind a server, nobody knows which tokens the model reads, so they are ``None``.
    """
    example = items.examples[index]
    rendered, prompt_ids, gold_ids = None, None, None
    if tokenizer is not None:
        rendered = render_chat(tokenizer, example_turns(example), items.policy, think=items.think)
        prompt_ids, gold_ids = list(items.rows[index].prompt), list(items.rows[index].completion)
    pieces = items.pieces[index] if items.pieces else None
    cut = {} if pieces is None else {"word_tokens": len(pieces), "pieces": "|".join(pieces)}
    return {
        "id": example.id,
        "task": example.task,
        "split": items.split,
        "word": example.cluster,
        "phrasing": example.phrasing,
        "prompt": example.prompt,
        "rendered": rendered,
        "gold": example.gold,
        **({"options": list(example.options)} if example.options else {}),
        "scorer": items.task.scorer,
        "prompt_ids": prompt_ids,
        "gold_ids": gold_ids,
        "strata": {**example.strata, **cut},
    }
