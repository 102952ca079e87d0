"""The boundary certificate: what a model is given, what it must write and where it stops, proven before it is trained.

What its files say is read here without weights; what is proven of them by rendering and tokenising is filled in by
whoever does that, and the certificate says it in words.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from graft.errors import ModelError
from graft.models.fields import CONTEXTS, first_number
from graft.models.source import Kind, locate, model_kind, read_config, read_json_file, text_config, well_formed

if TYPE_CHECKING:
    from transformers import PreTrainedModel

UNPROVEN = "proven when the run loads the model"
"""What a certificate says of decoding before there are weights."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a model's files say of its borders.

    Attributes:
        kind: ``causal`` or ``seq2seq``.
        stops: ids at which its generation config stops, or else its config.
        positions: longest text in tokens that it can read; ``None`` without a limit.
    """

    kind: Kind = "causal"
    stops: tuple[int, ...] = ()
    positions: int | None = None


@dataclass(frozen=True, slots=True)
class Certificate:
    """The borders of one model under one way of rendering, each as it was found by trying.

    Attributes:
        start: tokens that the tokenizer puts before a text without a template.
        opening: tokens with which a rendered prompt begins.
        template: there is a chat template.
        before: white space that it writes between a prompt and its answer; trained with the answer.
        after: what it writes after an answer.
        end: tokens that are trained after an answer.
        end_ids: their ids.
        text_end: token that is trained after a plain text; ``None`` for none.
        stop_ids: ids at which replies stop, here and in what is exported.
        stops: their tokens.
        named: those that the model's own files name.
        row: tokens of a trial prompt and of its answer, which together are those of the joined text; for an encoder and
            a decoder those of two texts.
        same: the row is the conversation as the template itself writes it.
        literal: control tokens that were tried as content and stayed text.
        stuck: those that this tokenizer cannot write as text; content that spells one is refused.
        date: the day that the template is told in this run; ``None`` where it writes none.
        positions: longest text in tokens; ``None`` without a limit.
        decoding: whether decoding with a cache equals decoding without.
    """

    start: tuple[str, ...]
    opening: tuple[str, ...]
    template: bool
    before: str
    after: str
    end: tuple[str, ...]
    end_ids: tuple[int, ...]
    text_end: str | None
    stop_ids: tuple[int, ...]
    stops: tuple[str, ...]
    named: tuple[int, ...]
    row: tuple[int, int]
    same: bool
    literal: tuple[str, ...]
    stuck: tuple[str, ...]
    date: str | None
    positions: int | None
    decoding: str = UNPROVEN

    def lines(self) -> Iterator[str]:
        """The certificate in words."""
        yield (
            f"a text begins with {_tokens(self.start)}, which the tokenizer adds"
            if self.start
            else ("the tokenizer adds nothing before a text")
        )
        writer = "the chat template writes" if self.template else "there is no chat template: model.template writes"
        yield f"a prompt begins with {_tokens(self.opening)}; {writer} it"
        if self.before:
            yield f"before an answer the template writes {self.before!r}, which is trained with it"
        yield f"after an answer the template writes {self.after!r}" if self.after else "no template ends an answer"
        after_text = f"; after a plain text {self.text_end!r}" if self.text_end else ""
        yield f"trained as the end of an answer: {_tokens(self.end)} {list(self.end_ids)}{after_text}"
        shown = ", ".join(f"{token!r} {index}" for index, token in zip(self.stop_ids, self.stops, strict=True))
        added = [index for index in self.stop_ids if index not in self.named]
        yield f"replies stop at {shown}" + (f"; {added} added to what the model's files name" if added else "")
        whole = "the conversation as the template writes it" if self.same else "what generation continues"
        yield f"prompt and answer, {self.row[0]} + {self.row[1]} tokens, are {whole}"
        if self.literal:
            yield f"content that spells {_tokens(self.literal)} stays text"
        if self.stuck:
            yield f"content that spells {_tokens(self.stuck)} is refused: the tokenizer cannot write it as text"
        yield f"the template writes the date: {self.date} in all of this run" if self.date else "no date is written"
        yield f"at most {self.positions:,} positions" if self.positions else "no limit of positions"
        yield f"decoding with and without a cache: {self.decoding}"


def read_limits(model_id: str, revision: str | None = None) -> Limits:
    """Read a model's limits from its JSON files.

    Raises:
        ModelError: there is no such model, or it cannot write.
    """
    source = locate(model_id)
    config = read_config(source, model_id, revision)
    generation = read_json_file(source, "generation_config.json", revision)
    with well_formed(model_id):
        ends = _ends(text_config(config), model_id)
        named = ends if generation is None else _ends(generation, model_id)
        return Limits(model_kind(config, model_id), named, positions_of(config))


def _ends(settings: Mapping[str, Any], model_id: str) -> tuple[int, ...]:
    """The ids that end a text by one of a model's files.

    Raises:
        ModelError: one is no id.
    """
    ends = settings.get("eos_token_id")
    for end in ends if isinstance(ends, list) else [ends]:
        if end is not None and (not isinstance(end, int) or isinstance(end, bool) or not 0 <= end < 2**31):
            raise ModelError(
                f"eos_token_id of {model_id} is {end!r:.60}, but must be the number of a token; mend its files"
            )
    return _listed(ends)


def positions_of(config: Mapping[str, Any]) -> int | None:
    """The longest text in tokens that a config allows; ``None`` where positions are relative or there are none."""
    text = text_config(config)
    if text.get("relative_attention_num_buckets") or text.get("alibi") or text.get("model_type") == "bloom":
        return None
    limit = first_number(text, CONTEXTS) or None
    rope = text.get("rope_parameters") or text.get("rope_scaling") or {}
    factor = rope.get("factor")
    if limit is None or not isinstance(factor, int | float):
        return limit
    return max(limit, int((rope.get("original_max_position_embeddings") or limit) * factor))


def stop_at(model: PreTrainedModel, ids: Sequence[int]) -> PreTrainedModel:
    """The model, whose replies stop at these ids too, in `generate` and wherever its generation config is saved."""
    config = model.generation_config
    if config is not None:
        named = _listed(config.eos_token_id)
        config.eos_token_id = list(dict.fromkeys((*named, *ids)))
    return model


def _listed(ends: Any) -> tuple[int, ...]:
    found = ends if isinstance(ends, list | tuple) else [ends]
    return tuple(int(end) for end in found if end is not None)


def _tokens(tokens: Sequence[str]) -> str:
    return " ".join(map(repr, tokens)) if tokens else "nothing"
