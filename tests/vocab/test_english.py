from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from vocab_parts import Parts

from graft.data.sources import tokenizer_words
from graft.errors import ModelError
from graft.tasks.words.english import is_english_spelling, is_english_word
from graft.tasks.words.pool import Word, listed_words
from graft.vocab.english import EntryClass, classify_text, counts
from graft.vocab.entries import byte_alphabet, read_vocabulary, token_bytes
from graft.vocab.keep import choose, count_classes
from graft.vocab.validation import COVERAGE_GOAL, measure_coverage, pieces, read_text, round_trips, token_ids

TEXTS = ("gutenberg/alice_11-0.txt", "gutenberg/pride_1342-0.txt", "wikitext2/valid.txt", "wikitext2/test.txt")


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        (" strawberry", "english_word"),
        ("Strawberry", "english_word"),
        (" THE", "english_word"),
        ("’ll", "english_word"),
        ("'S", "english_word"),
        ("“They", "english_word"),
        ("-box", "english_word"),
        (" circumstances", "english_word"),
        ("rawb", "english_subword"),
        (" honour", "english_subword"),
        (" Beijing", "english_subword"),
        (" FBI", "english_subword"),
        (" McCarthy", "english_subword"),
        (" eBook", "english_subword"),
        (".S", "english_subword"),
        ("://", "english_subword"),
        (" 7", "digits"),
        ("42", "digits"),
        ("é", "accented_letter"),
        (" Ž", "accented_letter"),
        (".”\n\n", "punctuation"),
        (" —", "punctuation"),
        ("...", "punctuation"),
        ("{", "punctuation"),
        ("½", "punctuation"),
        (" \n\t", "whitespace"),
        ("\u3000", "whitespace"),
        ("getElementById", "code_like"),
        (" aCount", "code_like"),
        ("();\n", "code_like"),
        ("_name", "code_like"),
        (" npm", "code_like"),
        ('"config', "code_like"),
        (" für", "other_latin"),
        ("ées", "other_latin"),
        ("你好", "other_script"),
        (" мир", "other_script"),
        ("β", "other_script"),
        ("，", "other_script"),
        ("٣", "other_script"),
        ("Ａ", "other_script"),
        ("🙂", "symbol"),
        ("→", "symbol"),
        ("\x07", "symbol"),
        ("\ufeff", "symbol"),
    ],
)
def test_each_rule_decides_its_example(text: str, kind: str) -> None:
    assert classify_text(text) == kind


def test_the_byte_alphabet_covers_every_byte_once() -> None:
    assert sorted(byte_alphabet().values()) == list(range(256))
    assert token_bytes("Ġthe") == b" the"
    assert token_bytes("âĢĻ") == "’".encode()


def test_short_words_and_words_with_affixes_are_english() -> None:
    for word in ("a", "the", "mrs", "circumstances", "unhelpful", "walking"):
        assert is_english_word(word), word
    for word in ("zxq", "ungen", "b", "kod"):
        assert not is_english_word(word), word
    assert is_english_spelling("tion") and is_english_spelling("qx")
    assert not is_english_spelling("szcz")


def test_every_entry_gets_one_class_and_its_own_id(sprout_parts: Parts) -> None:
    entries = sprout_parts.entries
    assert len(entries) == len(sprout_parts.vocabulary) == len(sprout_parts.tokenizer)
    assert [entry.id for entry in entries] == sorted({entry.id for entry in entries})
    assert sum(counts(entries).values()) == len(entries)
    specials = {entry.surface for entry in entries if entry.kind is EntryClass.SPECIAL}
    assert {"<|im_end|>", "<think>", "</think>"} <= specials
    surfaces = {entry.id: entry.surface for entry in entries}
    by_transformers = sprout_parts.tokenizer.batch_decode([[entry.id] for entry in entries])
    for entry, text in zip(entries, by_transformers, strict=True):
        if entry.kind is EntryClass.PARTIAL_UTF8:
            assert surfaces[entry.id].startswith("<") and "�" in text
        else:
            assert surfaces[entry.id] == text


def test_the_words_of_a_tokenizer_are_one_token_after_a_space(sprout_parts: Parts) -> None:
    words = tokenizer_words(sprout_parts.tokenizer)
    assert len(words) > 100
    assert all(isinstance(word, Word) and word.text in listed_words() for word in words)
    for word in words[:50]:
        assert len(sprout_parts.tokenizer.encode(f" {word.text}", add_special_tokens=False)) == 1
    kinds = {entry.surface: entry.kind for entry in sprout_parts.entries}
    assert {kinds[f" {word.text}"] for word in words} == {EntryClass.ENGLISH_WORD}


def test_a_sentencepiece_vocabulary_is_refused_with_the_reason(test_data: Path) -> None:
    from transformers import AutoTokenizer

    with pytest.raises(ModelError, match=r"not byte-level BPE: .*SentencePiece|not byte-level BPE: its model is"):
        read_vocabulary(AutoTokenizer.from_pretrained(test_data / "stories260k"))


def test_a_wordpiece_vocabulary_is_refused_with_the_reason() -> None:
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer(models.WordPiece(vocab={"[UNK]": 0, "a": 1}, unk_token="[UNK]"))
    with pytest.raises(ModelError, match="its model is WordPiece"):
        read_vocabulary(PreTrainedTokenizerFast(tokenizer_object=backend))


def test_the_qwen3_vocabulary_is_classified_whole(qwen: Parts) -> None:
    found = counts(qwen.entries)
    assert sum(found.values()) == len(qwen.entries) == 151_669
    assert found[EntryClass.SPECIAL] == 26
    assert found[EntryClass.DIGITS] == 10
    assert found[EntryClass.ENGLISH_WORD] > 30_000
    assert found[EntryClass.OTHER_SCRIPT] > 45_000


def test_the_english_subset_of_qwen3_covers_english_text_and_no_other_script(qwen: Parts, test_data: Path) -> None:
    keep = choose(qwen.vocabulary, qwen.entries, subset="english")
    kept = set(keep.ids)
    assert count_classes(keep.ids, qwen.entries)[EntryClass.OTHER_SCRIPT] == 0
    texts = {name: read_text(test_data / name) for name in TEXTS}
    for name, text in texts.items():
        used = Counter(id for ids in token_ids(qwen.tokenizer, text) for id in ids)
        coverage = measure_coverage(used, kept, qwen.entries)
        assert coverage.share >= COVERAGE_GOAL, (name, coverage.missed[:5])
        assert coverage.tokens > 40_000
    assert round_trips(qwen.tokenizer, texts.values()) == (len(texts), 0)


def test_coverage_falls_when_the_text_is_not_english(qwen: Parts) -> None:
    kept = set(choose(qwen.vocabulary, qwen.entries, subset="english").ids)
    used = Counter(id for ids in token_ids(qwen.tokenizer, "Это не английский текст. 这不是英语。") for id in ids)
    coverage = measure_coverage(used, kept, qwen.entries)
    assert coverage.share < 0.5
    assert coverage.missed


def test_long_texts_are_cut_behind_line_ends_without_loss() -> None:
    text = "First line.\n\nSecond paragraph, a little longer.\n" * 12_000
    cut = list(pieces(text))
    assert len(cut) > 2
    assert "".join(cut) == text
    assert all(piece.endswith("\n") for piece in cut[:-1])
