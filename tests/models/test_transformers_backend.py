from __future__ import annotations

from copy import deepcopy
from dataclasses import replace

import pytest
from tests.conftest import toy_model
from transformers import PreTrainedTokenizerBase

from graft.errors import ModelError
from graft.models.backends.base import Backend
from graft.models.backends.transformers import TransformersBackend
from graft.models.boundary import stop_at
from graft.models.loading import load_tokenizer
from graft.models.until import Until
from graft.types import Prompt, Sampling, Usage

SAMPLING = Sampling(temperature=1.0, max_new_tokens=30, seed=4)


@pytest.fixture(scope="module")
def backend(tokenizer: PreTrainedTokenizerBase) -> TransformersBackend:
    return TransformersBackend(toy_model(), tokenizer, batch_size=2)


def prompts(tokenizer: PreTrainedTokenizerBase) -> list[Prompt]:
    return [Prompt((), tuple(tokenizer.encode(text))) for text in ("Spell cat.", "How many letters?", "naïve 猫", "a")]


def test_a_loaded_model_is_a_backend(backend: TransformersBackend) -> None:
    assert isinstance(backend, Backend)


def test_the_pieces_of_a_stream_join_to_the_generated_reply(
    backend: TransformersBackend, tokenizer: PreTrainedTokenizerBase
) -> None:
    for prompt in prompts(tokenizer):
        pieces = list(backend.stream(prompt, SAMPLING))
        (whole,) = backend.generate([prompt], SAMPLING)
        assert "".join(piece.text for piece in pieces) == whole.text
        assert [piece.completion for piece in pieces] == [None] * (len(pieces) - 1) + [whole]
        assert len(pieces) > 2


def test_a_character_of_several_tokens_is_streamed_whole(tokenizer: PreTrainedTokenizerBase) -> None:
    written = tokenizer.encode("é猫🙂 ok")
    assert len(written) > 7  # the embedded tokenizer writes these characters byte by byte
    backend = TransformersBackend(toy_model(), tokenizer)
    backend._steps = lambda *_: ([(0, token)] for token in written)  # type: ignore[method-assign,assignment]
    pieces = [piece.text for piece in backend.stream(Prompt((), (1,)), SAMPLING)]
    assert "".join(pieces) == "é猫🙂 ok"
    assert not any("�" in piece for piece in pieces)


def test_usage_counts_what_was_read_and_written(tokenizer: PreTrainedTokenizerBase) -> None:
    backend = TransformersBackend(toy_model(), tokenizer, batch_size=2)
    asked = prompts(tokenizer)
    replies = backend.generate(asked, SAMPLING)
    assert [reply.usage for reply in replies] == [
        Usage(len(prompt.ids), len(reply.token_ids)) for prompt, reply in zip(asked, replies, strict=True)
    ]
    assert backend.usage == sum((reply.usage for reply in replies if reply.usage), Usage())


def test_the_progress_reaches_every_prompt_once(
    backend: TransformersBackend, tokenizer: PreTrainedTokenizerBase
) -> None:
    counted: list[int] = []
    backend.generate(prompts(tokenizer), SAMPLING, on_done=counted.append)
    assert counted == [2, 2]


def test_a_prompt_that_was_not_rendered_is_an_error(backend: TransformersBackend) -> None:
    with pytest.raises(ModelError, match="token ids"):
        backend.generate([Prompt(())], SAMPLING)


def test_the_end_of_a_reply_is_no_part_of_its_text_even_where_it_is_no_special_token() -> None:
    tokenizer = deepcopy(load_tokenizer("sprout"))
    tokenizer.add_tokens(["<over>"])
    end = tokenizer.convert_tokens_to_ids("<over>")
    model = toy_model()
    model.resize_token_embeddings(len(tokenizer))
    stop_at(model, (end,))
    backend = TransformersBackend(model, tokenizer, allowed_ids=[end])
    backend.allowed[list(backend.end_ids - {end})] = False
    prompt = Prompt((), tuple(tokenizer.encode("Spell cat.")))
    [reply] = backend.generate([prompt], Sampling(max_new_tokens=3))
    assert (reply.text, reply.finished, reply.token_ids) == ("", True, (end,))
    assert "".join(delta.text for delta in backend.stream(prompt, Sampling(max_new_tokens=3))) == ""


def test_a_reply_ends_before_the_first_text_that_ends_it(
    backend: TransformersBackend, tokenizer: PreTrainedTokenizerBase
) -> None:
    asked = prompts(tokenizer)
    whole = backend.generate(asked, SAMPLING)
    stop = whole[1].text[7:9]
    cut = backend.generate(asked, replace(SAMPLING, until=("never written", stop)))
    assert [reply.text for reply in cut] == [reply.text.partition(stop)[0] for reply in whole]
    assert cut[1].finished and len(cut[1].token_ids) < len(whole[1].token_ids)


def test_a_control_token_may_be_the_text_that_ends_a_reply(
    backend: TransformersBackend, tokenizer: PreTrainedTokenizerBase
) -> None:
    (control,) = tokenizer.convert_tokens_to_ids(["<|im_start|>"])
    watch = Until(tokenizer, ("<|im_start|>",))
    assert [watch(0, token) for token in (*tokenizer.encode("some words"), control)][-2:] == [False, True]
    assert not watch(1, int(tokenizer.encode("other")[0]))
