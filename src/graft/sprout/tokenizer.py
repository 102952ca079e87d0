"""Build Sprout's tokenizer: byte-level BPE with the split rules of the Qwen family and 4,096 entries in all.

Spelled answers such as ``s-t-r-a-w`` are one token a letter because ``-a`` … ``-z`` are entries; so are the letters
after a space, the ordinals and their suffixes. Everything else is learned from prose and from a word list.

The same inputs give the same files, byte for byte.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from itertools import chain, repeat
from pathlib import Path
from string import ascii_lowercase
from typing import Final

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from graft.errors import DataError

VOCABULARY_SIZE: Final = 4096
SPECIAL_TOKENS: Final = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
THINK_TOKENS: Final = ("<think>", "</think>")
"""Plain added tokens, not special ones: decoding with ``skip_special_tokens`` keeps what a model thought."""

SPLIT: Final = "|".join(
    (
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)",  # English contractions
        r"[^\r\n\p{L}\p{N}]?\p{L}+",  # letters with one leading space or mark: " word", "-a"
        r"\p{N}",  # one digit at a time
        r" ?[^\s\p{L}\p{N}]+[\r\n]*",  # marks
        r"\s*[\r\n]+",  # line ends
        r"\s+(?!\S)",  # trailing space
        r"\s+",
    )
)

ORDINALS: Final = "first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth"
PROMPT_WORDS: Final = (
    "a again all and answer any appear appears are as at back begin begins between break by can comes commas contain "
    "contains copy count counting do does down else end ends find first for from give has have how hyphens if in into "
    "is it its join last length letter letters list long look many me name no nothing number occur occurs of often "
    "once one only or order out place please position put read repeat say separated show some spaces spell spelled "
    "spelling start starts tell that the them there time times together turn used what which with word words write yes "
    "you"
)
"""Words of the instructions, so that prompts are short in tokens; also with a capital, at the start of a line."""

_FORCED_COUNT: Final = 1000
"""Far above the count of the rarest pair that still becomes an entry."""


def build_tokenizer(corpus: Iterable[str], words: Iterable[str], out: Path) -> Path:
    """Train the tokenizer and save it as a folder that `transformers` loads.

    The chat template is not written: it is source, kept beside this module.

    Args:
        corpus: prose, in pieces of any length.
        words: lower-case words, each counted once: they shift the entries from whole words of the prose to pieces
            of many words. Held-out words do not belong here.
        out: folder for ``tokenizer.json`` and ``tokenizer_config.json``; made when missing.

    Returns:
        ``out``.

    Raises:
        DataError: the text is too small for 4,096 entries.
    """
    tokenizer = _untrained()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY_SIZE - len(SPECIAL_TOKENS) - len(THINK_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    texts = chain(_forced(), corpus, (f" {word}" for word in sorted(set(words))))
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.add_special_tokens([AddedToken(text, special=True, normalized=False) for text in SPECIAL_TOKENS])
    tokenizer.add_tokens([AddedToken(text, special=False, normalized=False) for text in THINK_TOKENS])
    if (size := tokenizer.get_vocab_size()) != VOCABULARY_SIZE:
        raise DataError(
            f"sprout: the tokenizer must have {VOCABULARY_SIZE} entries, but the text yields {size}. Add text."
        )
    out.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(out / "tokenizer.json"))
    settings = {
        "tokenizer_class": "Qwen2Tokenizer",
        "backend": "tokenizers",
        "eos_token": "<|im_end|>",
        "pad_token": "<|endoftext|>",
        "model_max_length": 512,
        "clean_up_tokenization_spaces": False,
    }
    (out / "tokenizer_config.json").write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
    return out


def _untrained() -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(SPLIT), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def _forced() -> Iterator[str]:
    """Text whose pre-tokens each end as one entry."""
    letters = [mark + letter for letter in ascii_lowercase for mark in ("-", " ")]
    suffixes = ["1st", "2nd", "3rd", "4th"]
    instructions = [" " + word for word in (*ORDINALS.split(), *PROMPT_WORDS.split())]
    capitals = ["\n" + word.capitalize() for word in PROMPT_WORDS.split()]
    roles = ["\nuser\n", "assistant\n", "system\n\n"]
    quotes = ['x "x"? x". x": x", x"\nx?\n']
    line = "".join((*letters, *suffixes, *instructions, *capitals, *roles, *quotes))
    return repeat(line, _FORCED_COUNT)
