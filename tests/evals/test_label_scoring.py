from __future__ import annotations

import random
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests.conftest import toy_model
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    BartConfig,
    BloomConfig,
    MistralConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    T5Config,
)

from graft.data.chat import NO_THINKING
from graft.data.tokens import encode
from graft.errors import DataError
from graft.evals import label_passes
from graft.evals import labels as scoring
from graft.evals.items import Items
from graft.evals.label_passes import batches, build_tree, common_start, takes_trees
from graft.evals.labels import CONTENT_FREE, CPU_TOKENS, encode_options, label_fields, score_labels
from graft.evals.scoring import score_items
from graft.models.adapters import add_lora
from graft.models.backends.transformers import TransformersBackend
from graft.models.loading import load_model
from graft.pipeline.branches import Branch
from graft.pipeline.judge.labels import write_labels
from graft.pipeline.score.labels import calibration_records, label_records, with_labels
from graft.runs.directory import RunDirectory
from graft.runs.files import read_json
from graft.tasks.echo import EchoTask
from graft.tasks.words.pool import WordSets
from graft.types import Example, Prompt, Sampling

PAD, END = 4090, 4093
CAUSAL = ("qwen3", "llama", "gpt2", "qwen3-moe")
SIZES = {
    "vocab_size": 4096, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 512,
}  # fmt: skip


def loud(model: PreTrainedModel) -> PreTrainedModel:
    """With larger weights, so that a token that should not be seen, or at another position, shows."""
    with torch.no_grad():
        for weight in model.parameters():
            if weight.dim() > 1:
                weight.mul_(6.0)
    return model.eval()


def t5() -> PreTrainedModel:
    torch.manual_seed(0)
    config = T5Config(vocab_size=4096, d_model=32, d_ff=64, d_kv=8, num_layers=2, num_heads=4, decoder_start_token_id=0)
    return loud(AutoModelForSeq2SeqLM.from_config(config))


def bart() -> PreTrainedModel:
    torch.manual_seed(0)
    heads = {"encoder_attention_heads": 4, "decoder_attention_heads": 4}
    sizes = {"encoder_layers": 2, "decoder_layers": 2, "encoder_ffn_dim": 64, "decoder_ffn_dim": 64}
    return loud(AutoModelForSeq2SeqLM.from_config(BartConfig(vocab_size=4096, d_model=32, **heads, **sizes)))


def bloom() -> PreTrainedModel:
    torch.manual_seed(0)
    return loud(AutoModelForCausalLM.from_config(BloomConfig(vocab_size=4096, hidden_size=32, n_layer=2, n_head=4)))


def windowed() -> PreTrainedModel:
    torch.manual_seed(0)
    config = MistralConfig(**SIZES, sliding_window=8)
    return loud(AutoModelForCausalLM.from_config(config, attn_implementation="eager"))


def sdpa() -> PreTrainedModel:
    model = loud(toy_model("qwen3"))
    model.set_attn_implementation("sdpa")
    return model


def asked(start: int = 7) -> tuple[list[tuple[int, ...]], list[list[tuple[int, ...]]]]:
    """Thirteen prompts that begin alike; labels of one to five tokens, shared by all or of each row's own."""
    rng = random.Random(0)

    def ids(low: int, high: int) -> tuple[int, ...]:
        return tuple(rng.randrange(4000) for _ in range(rng.randint(low, high)))

    same = ids(start, start)
    prompts = [same + ids(1, 30) for _ in range(13)]
    shared = [(*ids(1, 3), END) for _ in range(4)]
    shared.append((*shared[0][:-1], 7, 8, END))
    own = [[(*ids(1, 5), END) for _ in range(rng.randint(2, 10))] for _ in range(13)]
    return prompts, [shared if index % 2 else own[index] for index in range(13)]


@torch.inference_mode()
def alone(model: PreTrainedModel, prompt: tuple[int, ...], label: tuple[int, ...]) -> float:
    """Brute force: one forward pass over one prompt with one label."""
    if model.config.is_encoder_decoder:
        read = torch.tensor([[model.config.decoder_start_token_id, *label[:-1]]])
        logits = model(input_ids=torch.tensor([prompt]), decoder_input_ids=read).logits[0]
        first = 0
    else:
        logits = model(torch.tensor([prompt + label])).logits[0]
        first = len(prompt) - 1
    found = logits.double().log_softmax(-1)
    return sum(found[first + place, token].item() for place, token in enumerate(label))


def worst(model: PreTrainedModel, *, start: int = 7, token_budget: int = 150) -> float:
    """Largest difference from brute force, relative to values of a few hundred nats."""
    prompts, options = asked(start)
    found = score_labels(model, prompts, options, pad_id=PAD, token_budget=token_budget)
    expected = [[alone(model, p, label) for label in labels] for p, labels in zip(prompts, options, strict=True)]
    pairs = [pair for own, right in zip(found, expected, strict=True) for pair in zip(own, right, strict=True)]
    return max(abs(a - b) / max(1.0, abs(b)) for a, b in pairs)


@pytest.mark.parametrize("architecture", CAUSAL)
def test_scores_equal_each_prompt_and_label_alone(architecture: str) -> None:
    model = loud(toy_model(architecture))
    assert takes_trees(model, 40)
    assert worst(model) < 1e-5


@pytest.mark.parametrize("build", [t5, bart])
def test_an_encoder_decoder_gives_the_scores_of_each_label_alone(build: Callable[[], PreTrainedModel]) -> None:
    assert worst(build()) < 1e-5


def test_other_attention_kernels_give_the_same_scores() -> None:
    assert worst(sdpa()) < 1e-5


@pytest.mark.parametrize("build", [bloom, windowed])
def test_attention_that_takes_no_mask_of_ours_reads_each_label_in_a_row_of_its_own(
    build: Callable[[], PreTrainedModel],
) -> None:
    model = build()
    assert not takes_trees(model, 40)
    assert worst(model) < 1e-5


def test_a_row_within_a_sliding_window_is_a_tree() -> None:
    assert takes_trees(windowed(), 8) and not takes_trees(windowed(), 9)


def test_prompts_that_share_nothing_are_scored_alike() -> None:
    assert worst(loud(toy_model("qwen3")), start=0) < 1e-5


@pytest.mark.parametrize("architecture", CAUSAL)
def test_long_texts_are_read_in_pieces_with_the_same_scores(architecture: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(label_passes, "CPU_SCORES", 4 * 40 * 6)  # four heads, about six tokens at once
    model = loud(toy_model(architecture))
    widths: list[int] = []
    watched = model.register_forward_pre_hook(
        lambda _, args, given: widths.append(given["input_ids"].shape[1]), with_kwargs=True
    )
    prompts, options = asked(20)
    found = score_labels(model, prompts, options, pad_id=PAD, token_budget=150)
    watched.remove()
    alone_or_pieces = max(len(build_tree(tuple(labels)).tokens) for labels in options) + 6
    assert len(widths) > len(prompts) and max(widths) <= alone_or_pieces + 1
    for prompt, labels, values in zip(prompts, options, found, strict=True):
        assert values == pytest.approx([alone(model, prompt, label) for label in labels], rel=1e-5)


@pytest.mark.parametrize("build", [toy_model, windowed])
def test_no_logits_are_made_where_no_label_is_predicted(build: Callable[[], PreTrainedModel]) -> None:
    model, kept = build(), []
    model.register_forward_hook(lambda _, args, found: kept.append(found.logits.shape[1]))
    score_labels(model, [tuple(range(5, 60)), tuple(range(5, 70))], [((END,), (7,))] * 2, pad_id=PAD, token_budget=500)
    assert max(kept) <= 2


@pytest.mark.slow
def test_sixteen_thousand_tokens_take_less_than_a_gigabyte() -> None:
    script = Path(__file__).with_name("long_labels.py")
    found = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True)
    assert float(found.stdout) < 1000


def test_an_adapter_takes_part() -> None:
    model = add_lora(loud(toy_model("qwen3")), r=4, alpha=64, dropout=0.0, targets="all-linear", seed=0)
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.3)
    prompts, options = asked()
    with_adapter = score_labels(model.eval(), prompts, options, pad_id=PAD, token_budget=150)
    merged = model.merge_and_unload()
    assert with_adapter[1][0] == pytest.approx(alone(merged, prompts[1], options[1][0]), rel=1e-4)


@pytest.mark.parametrize("token_budget", [1, 60, 5000])
def test_the_batches_do_not_change_the_scores(token_budget: int) -> None:
    assert worst(loud(toy_model("qwen3")), token_budget=token_budget) < 1e-5


def test_only_allowed_tokens_share_the_probability() -> None:
    model = loud(toy_model("qwen3"))
    allowed = torch.zeros(4096, dtype=torch.bool)
    allowed[[5, 6, END]] = True
    scores = score_labels(model, [(1, 2)], [[(5, END), (6, END), (END,)]], pad_id=PAD, token_budget=99, allowed=allowed)
    first = torch.tensor(scores[0]).exp()
    assert first.sum() < 1.0 < first.sum() + 0.999  # what is missing are the longer replies
    free = score_labels(model, [(1, 2)], [[(5, END), (6, END), (END,)]], pad_id=PAD, token_budget=99)
    assert all(a > b for a, b in zip(scores[0], free[0], strict=True))


def test_labels_that_begin_alike_share_their_tokens() -> None:
    tree = build_tree(((1, 2, 9), (1, 3, 9), (4, 9)))
    assert tree.tokens == (1, 2, 3, 4)
    assert tree.depths == (1, 2, 2, 1)
    assert tree.seen[2] == (True, False, True, False)


def test_a_common_start_leaves_a_token_to_every_prompt() -> None:
    assert common_start([(1, 2, 3), (1, 2, 3)]) == (1, 2)
    assert common_start([(1, 2, 3), (1, 2), (1, 2, 4, 5)]) == (1,)
    assert common_start([(1,), (2, 3)]) == ()


def test_batches_keep_to_the_budget_and_hold_every_item_once() -> None:
    prompts = [tuple(range(length)) for length in (3, 30, 9, 12, 50, 1, 8)]
    found = list(batches(prompts, [5] * 7, 60, 4096))
    assert sorted(index for group in found for index in group) == list(range(7))
    for group in found:
        assert len(group) == 1 or len(group) * (max(len(prompts[index]) for index in group) + 5) <= 60


def test_logits_are_bounded_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("graft.evals.label_passes.LOGIT_CELLS", 3 * 6 * 4096)
    assert [len(group) for group in batches([(1, 2)] * 7, [5] * 7, 10_000, 4096)] == [3, 3, 1]


def test_every_item_is_counted_once_in_the_progress_of_labels() -> None:
    prompts, options = asked()
    for model in (toy_model("qwen3"), t5(), bloom()):
        counted: list[int] = []
        score_labels(model, prompts, options, pad_id=PAD, token_budget=100, on_done=counted.append)
        assert sum(counted) == 13


def test_what_the_model_cannot_read_is_refused() -> None:
    model = toy_model("gpt2")
    with pytest.raises(DataError, match="has 513 tokens with its longest label, but the model reads at most 512"):
        score_labels(model, [(1,) * 512], [[(1, END), (2, END)]], pad_id=PAD, token_budget=99)
    with pytest.raises(DataError, match="item 0 has an empty prompt"):
        score_labels(model, [()], [[(1, END)]], pad_id=PAD, token_budget=99)


# ---- labels as texts


def items_of(
    tokenizer: PreTrainedTokenizerBase, rows: Sequence[tuple[str, str]], options: tuple[str, ...], history: bool = False
) -> Items:
    examples = tuple(
        Example(f"toy/{index}", "toy", text, gold, options=options) for index, (text, gold) in enumerate(rows)
    )
    encoded = encode(tokenizer, examples, max_length=500)
    return Items(EchoTask(WordSets((), ())), "eval", examples, encoded.rows, ())


SENTIMENT = ("negative", "neutral", "positive")
ROWS = (("How is it? It is fine.", "positive"), ("How is it? Bad, really.", "negative"), ("How is it?", "neutral"))


@pytest.fixture(scope="module")
def items(tokenizer: PreTrainedTokenizerBase) -> Items:
    return items_of(tokenizer, ROWS, SENTIMENT)


def test_labels_are_the_tokens_that_follow_the_prompt(items: Items, tokenizer: PreTrainedTokenizerBase) -> None:
    found = encode_options(tokenizer, items)
    for example, row, labels in zip(items.examples, items.rows, found, strict=True):
        assert labels[SENTIMENT.index(example.gold)] == row.completion
        for option, ids in zip(SENTIMENT, labels, strict=True):
            assert ids == encode(tokenizer, [replace(example, gold=option)], max_length=500).rows[0].completion
            assert ids[-1] == tokenizer.eos_token_id


def test_fields_hold_scores_probabilities_and_the_likeliest_label(
    items: Items, tokenizer: PreTrainedTokenizerBase
) -> None:
    model = loud(toy_model())
    found = label_fields(model, tokenizer, items, way="sum", token_budget=500)
    for fields, example, row, labels in zip(
        found, items.examples, items.rows, encode_options(tokenizer, items), strict=True
    ):
        expected = [alone(model, row.prompt, ids) for ids in labels]
        assert fields["option_scores"] == pytest.approx(expected, rel=1e-5)
        assert sum(fields["option_probabilities"]) == pytest.approx(1.0)
        assert fields["options"] == list(SENTIMENT)
        assert fields["label_choice"] == SENTIMENT[expected.index(max(expected))]
        assert fields["label_right"] == (fields["label_choice"] == example.gold)


def test_mean_divides_by_the_tokens_and_prior_takes_off_what_the_label_has_anyway(
    items: Items, tokenizer: PreTrainedTokenizerBase
) -> None:
    model = loud(toy_model())
    ways = {
        way: label_fields(model, tokenizer, items, way=way, token_budget=500)  # type: ignore[arg-type]
        for way in ("sum", "mean", "prior")
    }
    sums = ways["sum"][0]["option_scores"]
    lengths = [len(ids) for ids in encode_options(tokenizer, items)[0]]
    assert len(set(lengths)) > 1
    assert ways["mean"][0]["option_scores"] == pytest.approx([s / n for s, n in zip(sums, lengths, strict=True)])
    neutral = [Example("n", "toy", CONTENT_FREE, option) for option in SENTIMENT]
    rows = encode(tokenizer, neutral, max_length=500, policy=NO_THINKING).rows
    priors = [alone(model, row.prompt, row.completion) for row in rows]
    expected = [s - p for s, p in zip(sums, priors, strict=True)]
    assert ways["prior"][0]["option_scores"] == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(
    ("options", "gold", "message"),
    [
        (("good", "good"), "good", "toy/0 has an option twice: 'good', 'good'"),
        (("good", "bad"), "fine", "toy/0: its answer 'fine' is none of its options 'good', 'bad'"),
        (("good",), "good", "toy/0 has 1 options, but a label is chosen from at least two"),
    ],
)
def test_labels_that_cannot_be_told_apart_are_one_clear_error(
    options: tuple[str, ...], gold: str, message: str, tokenizer: PreTrainedTokenizerBase
) -> None:
    with pytest.raises(DataError, match=message):
        encode_options(tokenizer, items_of(tokenizer, [("Well?", gold)], options))


@pytest.mark.parametrize("options", [("good", "good enough", "bad"), tuple(map(str, range(1, 11))), (" yes", " no")])
def test_labels_that_begin_one_another_are_told_apart_by_their_end(
    options: tuple[str, ...], tokenizer: PreTrainedTokenizerBase
) -> None:
    model = loud(toy_model())
    items = items_of(tokenizer, [("Well?", options[0])], options)
    [found] = label_fields(model, tokenizer, items, way="sum", token_budget=1024)
    examples = [Example("n", "toy", "Well?", option) for option in options]
    rows = encode(tokenizer, examples, max_length=500, policy=NO_THINKING).rows
    expected = [alone(model, row.prompt, row.completion) for row in rows]
    assert found["option_scores"] == pytest.approx(expected, rel=1e-4)
    assert found["label_choice"] == options[expected.index(max(expected))]


def test_two_labels_with_the_same_tokens_are_one_clear_error(
    items: Items, tokenizer: PreTrainedTokenizerBase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The embedded tokenizer keeps every text apart; one that lower-cases does not."""

    def lower(tokenizer: PreTrainedTokenizerBase, examples: Sequence[Example], **options: object) -> object:
        return encode(tokenizer, [replace(e, gold=e.gold.lower()) for e in examples], **options)  # type: ignore[arg-type]

    monkeypatch.setattr(scoring, "encode", lower)
    with pytest.raises(DataError, match="the label 'Good' has the same tokens as 'good'"):
        encode_options(tokenizer, items_of(tokenizer, [("Well?", "good")], ("good", "Good")))


@pytest.mark.slow
def test_scoring_beats_a_pass_for_every_label_and_generation(tokenizer: PreTrainedTokenizerBase) -> None:
    """Processor time on the embedded model; the measured ratios are in docs/label-scoring.md, with margin here."""
    model = load_model("sprout", device="cpu", dtype="float32")
    rng = random.Random(0)
    text = [
        "the",
        "dog",
        "that",
        "we",
        "saw",
        "was",
        "not",
        "a",
        "cat",
        "but",
        "it",
        "ran",
        "and",
        "he",
        "did",
        "see",
        "me",
        "there",
        "so",
        "they",
        "all",
        "went",
        "home",
    ]
    question = "Classify the sentiment of this review as either 'negative', 'neutral' or 'positive'.\n\nReview: {}\n"
    rows = [(question.format(" ".join(rng.choices(text, k=rng.randint(6, 14)))), "neutral") for _ in range(192)]
    items = items_of(tokenizer, rows, SENTIMENT)
    prompts, options = [row.prompt for row in items.rows], encode_options(tokenizer, items)

    def seconds(work: Callable[[], object]) -> float:
        begin = time.process_time()
        work()
        return time.process_time() - begin

    backend = TransformersBackend(model, tokenizer, batch_size=256)
    ours = seconds(lambda: score_labels(model, prompts, options, pad_id=PAD, token_budget=CPU_TOKENS))
    rows_alone = [(prompt, label) for prompt, labels in zip(prompts, options, strict=True) for label in labels]
    every = seconds(lambda: [alone(model, *row) for row in rows_alone])
    written = seconds(lambda: backend.generate([Prompt((), ids) for ids in prompts], Sampling(max_new_tokens=48)))
    assert every > 3 * ours
    assert written > 2 * ours


def test_scored_items_become_records_and_the_study_of_a_run(
    items: Items, tokenizer: PreTrainedTokenizerBase, tmp_path: Path
) -> None:
    backend = TransformersBackend(loud(toy_model()), tokenizer, batch_size=8)
    replies = score_items(backend, items, Sampling(max_new_tokens=3))
    records = with_labels(replies, label_records(backend, items, way="sum"))
    assert [record["constrained"] for record in records] == [record["label_right"] for record in records]
    run = RunDirectory.create(tmp_path, "labels")
    others = replace(items, examples=tuple(replace(e, id=f"other/{e.id}") for e in items.examples))
    fitted = calibration_records(backend, others, way="sum")
    stored = {Branch("base"): {"toy": [{"arm": "base", **record} for record in records]}}
    study = write_labels(run, stored, {Branch("base"): {"toy": fitted}}, resamples=50)
    assert study is not None and read_json(run.path / "labels.json")["tasks"][0]["task"] == "toy"
    right = sum(record["label_right"] for record in records) / len(records)
    assert study.tasks[0].arms[0].scores.accuracy.estimate == pytest.approx(right)
    with pytest.raises(DataError, match="fitted on 3 items that it is judged on"):
        write_labels(run, stored, {Branch("base"): {"toy": records}}, resamples=50)


def test_items_without_labels_get_no_fields(items: Items, tokenizer: PreTrainedTokenizerBase) -> None:
    backend = TransformersBackend(toy_model(), tokenizer)
    free = replace(items, examples=tuple(replace(example, options=()) for example in items.examples))
    assert label_records(backend, free, way="sum") == [{}, {}, {}]
    assert label_records(backend, replace(items, think=True), way="sum") == [{}, {}, {}]
    assert calibration_records(backend, free, way="sum") == []
    assert with_labels([{"right": True}], [{}]) == [{"right": True}]
