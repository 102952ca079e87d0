"""The guarantees of trimming, on the real tokenizers and on toy weights of three architectures."""

from __future__ import annotations

import random
import unicodedata
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from vocab_parts import Parts

from graft.errors import ConfigError, DataError, ModelError
from graft.vocab.entries import byte_alphabet, token_text
from graft.vocab.keep import ROW_BLOCK, Keep, choose
from graft.vocab.restrict import allowed_ids, restrict_logits
from graft.vocab.tokenizer import save_trimmed, trimmed_spec
from graft.vocab.validation import unequal_ids
from graft.vocab.weights import measure, named_ids, rows, trim_model

FOREIGN = ("Здравствуй 你好 🙂 नमस्ते", "e\u0301tude naïve “x”", "\x00\x07\r\n\t ", "한국어 العربية\u200d")


@pytest.fixture(scope="module")
def kept(qwen: Parts) -> Keep:
    return choose(qwen.vocabulary, qwen.entries, subset="english", rows=151_936)


@pytest.fixture(scope="module")
def trimmed(qwen: Parts, kept: Keep, tmp_path_factory: pytest.TempPathFactory) -> object:
    """The trimmed Qwen3 tokenizer, written and loaded again."""
    from transformers import AutoTokenizer

    folder = tmp_path_factory.mktemp("qwen-english")
    save_trimmed(qwen.tokenizer, qwen.vocabulary, kept, folder)
    return AutoTokenizer.from_pretrained(folder)


def english_texts(test_data: Path, count: int, seed: int) -> Iterator[str]:
    """Random passages of real text, cut anywhere."""
    chance = random.Random(seed)
    text = (test_data / "wikitext2" / "test.txt").read_text(encoding="utf-8")
    text += (test_data / "gutenberg" / "alice_11-0.txt").read_bytes().decode("utf-8")
    for _ in range(count):
        start = chance.randrange(len(text))
        yield text[start : start + chance.randint(1, 300)]


def strings_of_kept_tokens(parts: Parts, keep: Keep, count: int, seed: int) -> Iterator[str]:
    chance = random.Random(seed)
    plain = parts.vocabulary.plain
    surfaces = [text for id in keep.ids if id in plain and (text := token_text(plain[id])) is not None]
    surfaces += list(parts.vocabulary.added.values())
    for _ in range(count):
        yield "".join(chance.choices(surfaces, k=chance.randint(1, 8)))


def test_text_inside_the_subset_gets_exactly_the_mapped_ids(
    qwen: Parts, kept: Keep, trimmed: object, test_data: Path
) -> None:
    new = kept.new_ids()
    compared, unequal = unequal_ids(qwen.tokenizer, trimmed, new, english_texts(test_data, 1500, seed=1))
    assert unequal == 0
    assert compared > 1200
    compared, unequal = unequal_ids(qwen.tokenizer, trimmed, new, strings_of_kept_tokens(qwen, kept, 4000, seed=2))
    assert unequal == 0
    assert compared > 1500


def test_gpt2_and_the_embedded_tokenizer_keep_their_ids_too(gpt2: Parts, sprout_parts: Parts, test_data: Path) -> None:
    from tokenizers import Tokenizer

    class Backend:
        def __init__(self, spec: str) -> None:
            self.backend_tokenizer = Tokenizer.from_str(spec)

    import json

    for parts in (gpt2, sprout_parts):
        keep = choose(parts.vocabulary, parts.entries, subset="english")
        small = Backend(json.dumps(trimmed_spec(parts.vocabulary, keep)))
        assert small.backend_tokenizer.get_vocab_size() == len(keep) <= len(parts.entries)
        for texts in (english_texts(test_data, 400, seed=3), strings_of_kept_tokens(parts, keep, 800, seed=4)):
            compared, unequal = unequal_ids(parts.tokenizer, small, keep.new_ids(), texts)
            assert unequal == 0
            assert compared > 200


def test_without_the_closure_the_ids_would_differ(qwen: Parts, kept: Keep) -> None:
    from tokenizers import Tokenizer

    plain = qwen.vocabulary.plain
    asked = {e.id for e in qwen.entries if e.kind.value in ("english_word", "special")}
    letters = {qwen.vocabulary.tokens[letter] for letter in byte_alphabet()}
    ids = (*sorted((asked | letters) & plain.keys()), *sorted(qwen.vocabulary.added))
    unclosed = Keep(ids, 0, 0, 0, 0, 0)
    import json

    class Small:
        backend_tokenizer = Tokenizer.from_str(json.dumps(trimmed_spec(qwen.vocabulary, unclosed)))

    compared, unequal = unequal_ids(qwen.tokenizer, Small(), unclosed.new_ids(), [" strawberry", " wonderful"])
    assert compared == 2
    assert unequal == 2
    assert kept.closure > 0


def test_no_text_becomes_unencodable(trimmed: object, kept: Keep, qwen: Parts) -> None:
    assert {qwen.vocabulary.tokens[letter] for letter in byte_alphabet()} <= set(kept.ids)
    for text in FOREIGN:
        ids = trimmed.encode(text, add_special_tokens=False)
        assert trimmed.decode(ids) == unicodedata.normalize("NFC", text)


def test_special_tokens_and_chat_template_survive(qwen: Parts, trimmed: object, kept: Keep) -> None:
    assert len(trimmed) == len(kept)
    assert len(kept) % ROW_BLOCK == 0
    assert trimmed.chat_template == qwen.tokenizer.chat_template
    new = kept.new_ids()
    for name in ("eos_token_id", "pad_token_id"):
        assert getattr(trimmed, name) == new[getattr(qwen.tokenizer, name)]
    for id, text in qwen.vocabulary.added.items():
        assert trimmed.encode(text, add_special_tokens=False) == [new[id]]
        assert trimmed.decode([new[id]], skip_special_tokens=True) == qwen.tokenizer.decode(
            [id], skip_special_tokens=True
        )


def test_a_corpus_keeps_its_own_tokens(qwen: Parts) -> None:
    ids = qwen.tokenizer.encode("Привет, мир", add_special_tokens=False)
    keep = choose(qwen.vocabulary, qwen.entries, subset="english", corpus=ids)
    assert set(ids) <= set(keep.ids)
    assert keep.corpus >= 2


def test_an_unknown_subset_names_the_known_one(sprout_parts: Parts) -> None:
    with pytest.raises(ConfigError, match=r"'englsh'.*Did you mean 'english'"):
        choose(sprout_parts.vocabulary, sprout_parts.entries, subset="englsh")


def toy(architecture: str, vocabulary: int, end: int, dtype: torch.dtype = torch.float32) -> torch.nn.Module:
    """Random weights in a real architecture with a real vocabulary's size; two layers, 32 wide."""
    from transformers import AutoModelForCausalLM, GPT2Config, LlamaConfig, Qwen3Config

    sizes = {
        "vocab_size": vocabulary, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "bos_token_id": end,
        "eos_token_id": [end], "pad_token_id": end,
    }  # fmt: skip
    config = {
        "qwen3": lambda: Qwen3Config(**sizes, head_dim=8, tie_word_embeddings=True),
        "llama": lambda: LlamaConfig(**sizes, tie_word_embeddings=False),
        "gpt2": lambda: GPT2Config(vocab_size=vocabulary, n_embd=32, n_layer=2, n_head=4, bos_token_id=end,
                                   eos_token_id=end),
    }[architecture]()  # fmt: skip
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(config, attn_implementation="eager").to(dtype).eval()


def case(architecture: str, qwen: Parts, gpt2: Parts) -> tuple[Parts, int, int]:
    """Tokenizer, rows of embeddings and end-of-text id."""
    return (gpt2, 50_257, 50_256) if architecture == "gpt2" else (qwen, 151_936, 151_645)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("architecture", ["qwen3", "llama", "gpt2"])
def test_logits_over_kept_tokens_are_bit_identical(
    architecture: str, dtype: torch.dtype, qwen: Parts, gpt2: Parts
) -> None:
    parts, size, end = case(architecture, qwen, gpt2)
    keep = choose(parts.vocabulary, parts.entries, subset="english", rows=size)
    assert len(keep) % ROW_BLOCK == size % ROW_BLOCK
    old, new = toy(architecture, size, end, dtype), toy(architecture, size, end, dtype)
    trim_model(new, keep.ids)
    chance = torch.Generator().manual_seed(5)
    index = torch.tensor(keep.ids)
    with torch.inference_mode():
        for length in (1, 2, 3, 5, 16, 40):
            ids = torch.randint(len(keep), (1, length), generator=chance)
            assert torch.equal(old(input_ids=index[ids]).logits[..., index], new(input_ids=ids).logits)


@pytest.mark.parametrize("architecture", ["qwen3", "llama", "gpt2"])
def test_greedy_continuations_are_the_same_inside_the_subset(architecture: str, qwen: Parts, gpt2: Parts) -> None:
    parts, size, end = case(architecture, qwen, gpt2)
    keep = choose(parts.vocabulary, parts.entries, subset="english", rows=size)
    old, small = toy(architecture, size, end), toy(architecture, size, end)
    outside = torch.ones(size, dtype=torch.bool)
    outside[list(keep.ids)] = False
    for model in (old, small):
        with torch.no_grad():
            model.get_output_embeddings().weight[outside] = (
                0  # what is left out never wins, so the original stays inside
            )
    trim_model(small, keep.ids)
    new = keep.new_ids()
    for prompt in ("Once upon a time", "The capital of France is", "Spell the word strawberry."):
        ids = parts.tokenizer.encode(prompt, add_special_tokens=False)
        options = {"max_new_tokens": 12, "do_sample": False}
        full = old.generate(torch.tensor([ids]), attention_mask=torch.ones(1, len(ids)), **options)
        trimmed = small.generate(
            torch.tensor([[new[i] for i in ids]]), attention_mask=torch.ones(1, len(ids)), **options
        )
        assert [new[i] for i in full[0].tolist()] == trimmed[0].tolist()
        assert trimmed.shape[1] > len(ids)


@pytest.mark.parametrize(("architecture", "tied"), [("qwen3", True), ("llama", False), ("gpt2", True)])
def test_the_configuration_is_mapped_and_tied_stays_tied(
    architecture: str, tied: bool, qwen: Parts, gpt2: Parts, tmp_path: Path
) -> None:
    from transformers import AutoModelForCausalLM

    parts, size, end = case(architecture, qwen, gpt2)
    keep = choose(parts.vocabulary, parts.entries, subset="english", rows=size)
    model = toy(architecture, size, end)
    before = measure(model)
    assert named_ids(model) == {end}
    trim_model(model, keep.ids)
    after = measure(model)
    shares = 32 * (1 if tied else 2)
    assert before.embedding_parameters - after.embedding_parameters == shares * (size - len(keep))
    assert before.parameters - after.parameters == shares * (size - len(keep))
    assert before.bytes == 4 * before.parameters
    model.save_pretrained(tmp_path)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path, attn_implementation="eager")
    assert (loaded.get_output_embeddings().weight is loaded.get_input_embeddings().weight) is tied
    assert rows(loaded) == loaded.config.vocab_size == len(keep)
    mapped = keep.new_ids()[end]
    assert loaded.config.eos_token_id in (mapped, [mapped])
    assert loaded.config.bos_token_id == loaded.generation_config.bos_token_id == mapped
    assert loaded.generation_config.eos_token_id in (mapped, [mapped])
    ids = torch.arange(20)[None]
    with torch.inference_mode():
        assert torch.equal(loaded(input_ids=ids).logits, model(input_ids=ids).logits)
        assert torch.isfinite(model(input_ids=ids, labels=ids).loss)


def test_a_model_with_too_few_rows_is_refused(qwen: Parts, kept: Keep) -> None:
    with pytest.raises(ModelError, match=r"embeddings for 1000 tokens.*do not belong together"):
        trim_model(toy("qwen3", 1000, 5), kept.ids)


def test_another_tensor_as_long_as_the_vocabulary_is_refused() -> None:
    model = toy("llama", 4096, 5)
    model.register_buffer("per_token_bias", torch.zeros(4096))
    with pytest.raises(ModelError, match=r"per_token_bias with 4096 rows"):
        trim_model(model, [0, 1, 5])


def test_a_restricted_softmax_has_the_loss_of_the_trimmed_model(qwen: Parts, kept: Keep) -> None:
    allowed = allowed_ids(qwen.tokenizer, "english")
    assert set(allowed) == set(kept.ids)
    full, small = toy("qwen3", 151_936, 151_645), toy("qwen3", 151_936, 151_645)
    trim_model(small, kept.ids)
    ids = qwen.tokenizer.encode("The quick brown fox jumps over the lazy dog.", add_special_tokens=False)
    mapped = torch.tensor([kept.new_ids()[id] for id in ids])
    with torch.inference_mode():
        logits, targets = restrict_logits(full(torch.tensor([ids])).logits[0, :-1], torch.tensor(ids[1:]), allowed)
        restricted = torch.nn.functional.cross_entropy(logits, targets)
        trimmed = torch.nn.functional.cross_entropy(small(mapped[None]).logits[0, :-1], mapped[1:])
        unrestricted = torch.nn.functional.cross_entropy(
            full(torch.tensor([ids])).logits[0, :-1], torch.tensor(ids[1:])
        )
    torch.testing.assert_close(restricted, trimmed, rtol=1e-6, atol=0)
    assert restricted < unrestricted


def test_a_target_outside_the_restriction_is_an_error() -> None:
    with pytest.raises(DataError, match=r"1 trained tokens lie outside.*id 7"):
        restrict_logits(torch.zeros(2, 10), torch.tensor([3, 7]), (1, 3, 5))
