"""Perplexity and bits per byte of plain texts."""

from __future__ import annotations

import math
import os
from pathlib import Path

import pytest
import torch
from tests.conftest import toy_model
from transformers import PreTrainedTokenizerBase

from graft import tasks
from graft.errors import DataError, ModelError
from graft.evals import perplexity as module
from graft.evals.perplexity import TextFit, first_token, measure_texts, windows

TEXTS = ["The cat sat on the mat.", "", "Straße und Brücke: 你好!", "word " * 90, "x"]


def test_a_hand_computed_text_has_the_perplexity_and_bits_of_its_likelihood() -> None:
    fit = TextFit(nats=4 * math.log(8.0), tokens=4, bytes=6)
    assert fit.perplexity == pytest.approx(8.0)
    assert fit.bits_per_byte == pytest.approx(2.0)  # 4 tokens of 3 bits over 6 bytes


def test_sums_are_weighted_by_tokens_and_nothing_is_undefined_as_zero() -> None:
    both = TextFit(1.0, 1, 1) + TextFit(9.0, 3, 4)
    assert (both.nats, both.tokens, both.bytes) == (10.0, 4, 5)
    assert both.perplexity == pytest.approx(math.exp(2.5))
    assert math.isnan(TextFit().perplexity) and math.isnan(TextFit().bits_per_byte)
    assert TextFit(1e6, 1, 1).perplexity == math.inf


def test_one_pass_equals_brute_force_token_by_token(tokenizer: PreTrainedTokenizerBase) -> None:
    model, length = toy_model(), 32
    found = measure_texts(model, tokenizer, TEXTS, max_length=length, batch_size=3)
    for text, fit in zip(TEXTS, found, strict=True):
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        nats = 0.0
        for begin in range(0, len(ids), length - 1):
            seen = [ids[begin - 1] if begin else first_token(tokenizer)]
            for token in ids[begin : begin + length - 1]:
                with torch.no_grad():
                    logits = model(torch.tensor([seen])).logits[0, -1]
                nats -= float(torch.log_softmax(logits.double(), -1)[token])
                seen.append(token)
        assert fit.nats == pytest.approx(nats, abs=1e-4)
        assert (fit.tokens, fit.bytes) == (len(ids), len(text.encode()))


def test_neither_batching_nor_cutting_the_head_changes_a_sum(
    tokenizer: PreTrainedTokenizerBase, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = measure_texts(toy_model(), tokenizer, TEXTS, max_length=64, batch_size=8)
    monkeypatch.setattr(module, "_LOGITS_AT_ONCE", 4096 * 5)  # five positions at a time
    parts = measure_texts(toy_model(), tokenizer, TEXTS, max_length=64, batch_size=1)
    assert [fit.nats for fit in whole] == pytest.approx([fit.nats for fit in parts], abs=1e-4)


def test_windows_predict_every_token_of_every_text_once(tokenizer: PreTrainedTokenizerBase) -> None:
    for length in (2, 5, 1000):
        rows = list(windows(tokenizer, TEXTS, max_length=length))
        assert all(len(piece.row) <= length for piece in rows)
        for index, text in enumerate(TEXTS):
            joined = [token for piece in rows if piece.text == index for token in piece.row.completion]
            assert joined == tokenizer(text, add_special_tokens=False)["input_ids"]


def test_a_model_that_knows_nothing_needs_log_v_nats_per_token(tokenizer: PreTrainedTokenizerBase) -> None:
    model = toy_model()
    with torch.no_grad():
        for weights in model.parameters():
            weights.zero_()
    fit = sum(measure_texts(model, tokenizer, TEXTS, max_length=64, batch_size=4), TextFit())
    assert fit.perplexity == pytest.approx(4096.0, rel=1e-5)


def test_rows_of_one_token_predict_nothing_and_are_refused(tokenizer: PreTrainedTokenizerBase) -> None:
    with pytest.raises(DataError, match=r"at least 2 .* but got 1"):
        list(windows(tokenizer, ["a"], max_length=1))


def test_a_tokenizer_that_begins_no_text_is_refused() -> None:
    class Bare:
        bos_token_id = eos_token_id = None

    with pytest.raises(ModelError, match="neither a beginning nor an end"):
        first_token(Bare())  # type: ignore[arg-type]


def test_a_trained_model_predicts_wikitext_better_than_a_random_one(tokenizer: PreTrainedTokenizerBase) -> None:
    if not (folder := os.environ.get("GRAFT_TEST_DATA")):
        pytest.skip("GRAFT_TEST_DATA is unset, and WikiText lies there")
    from transformers import AutoModelForCausalLM, AutoTokenizer

    lines = (Path(folder) / "wikitext2" / "test.txt").read_text(encoding="utf-8").split("\n")
    task = tasks.load("wikitext", rows=lambda part: [{"text": line} for line in lines])
    texts = [example.gold for example in task.examples("eval", limit=12, seed=0)]
    stories = Path(folder) / "stories260k"
    trained = AutoModelForCausalLM.from_pretrained(stories).eval()
    own = AutoTokenizer.from_pretrained(stories)
    known = sum(measure_texts(trained, own, texts, max_length=256, batch_size=8), TextFit())
    random = sum(measure_texts(toy_model(), tokenizer, texts, max_length=256, batch_size=8), TextFit())
    assert known.bytes == random.bytes == sum(len(text.encode()) for text in texts)
    assert 1.0 < known.bits_per_byte < random.bits_per_byte
