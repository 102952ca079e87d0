"""The packaged list, word files, pseudo-words, splits and the leak audit."""

from __future__ import annotations

import hashlib
import itertools
import random
from collections import Counter
from collections.abc import Sequence
from importlib import resources
from pathlib import Path

import pytest
import snowballstemmer

from graft.errors import ConfigError, DataError
from graft.tasks.words.audit import audit_words
from graft.tasks.words.decency import is_decent
from graft.tasks.words.pool import Word, package_words, pseudo_words, read_word_file
from graft.tasks.words.relations import Relatives, stems
from graft.tasks.words.split import package_sets, sample_words, split_words


def _texts(pool: str) -> list[str]:
    return [word.text for word in package_words(pool)]


def _plainly_related(held_out: list[str], train: list[str]) -> list[tuple[str, str]]:
    """Recomputed without the package's own index: suffixes both ways, and containment of four letters by search."""
    suffixes = ("s", "es", "d", "ed", "r", "er", "ing", "st", "est", "ly", "ness", "ment")
    trained = set(train)
    blob = "\n".join(train)
    pairs = [(word, word + suffix) for word in held_out for suffix in ("", *suffixes) if word + suffix in trained]
    pairs += [
        (word, word[: -len(s)])
        for word in held_out
        for s in suffixes
        if word.endswith(s) and word[: -len(s)] in trained
    ]
    pairs += [(word, "inside a training word") for word in held_out if len(word) >= 4 and word in blob]
    for word in held_out:
        cuts = itertools.combinations(range(len(word) + 1), 2)
        pairs += [(word, word[a:b]) for a, b in cuts if b - a >= 4 and word[a:b] in trained]
    return pairs


def test_the_packaged_pools_are_large_enough_and_plain() -> None:
    base, train, held_out = _texts("base"), _texts("train"), _texts("eval")
    assert len(base) >= 8000
    assert len(train) >= 9000
    assert len(held_out) >= 2500
    for word in (*base, *train, *held_out):
        assert word.isascii() and word.isalpha() and word.islower() and 4 <= len(word) <= 12
    assert set(map(len, held_out)) == set(range(4, 13))
    assert sum(max(Counter(word).values()) >= 3 for word in held_out) >= 700


def test_the_base_pool_is_the_one_the_embedded_model_was_trained_on() -> None:
    digest = hashlib.sha256("".join(f"{word}\n" for word in _texts("base")).encode()).hexdigest()
    assert digest == "5ba21645f754728c3570a09cb5e26773fce2a63dc2aa6fcc92dfabc135823415"


def test_packaged_words_of_experiments_are_decent() -> None:
    assert [word for pool in ("train", "eval") for word in _texts(pool) if not is_decent(word)] == []
    made_up = [word.text for word in pseudo_words(2000, seed=0)]
    assert [word for word in made_up if not is_decent(word)] == []


@pytest.mark.parametrize("word", ["assassin", "cocktail", "therapist", "scrapyard", "wristwatch", "congenial", "rapid"])
def test_a_harmless_word_is_decent(word: str) -> None:
    assert is_decent(word)


@pytest.mark.parametrize("word", ["sluts", "masturbates", "dickhead", "faggots", "pimped", "rapists"])
def test_a_slur_or_an_obscenity_is_not_decent_in_any_form(word: str) -> None:
    assert not is_decent(word)


def _shares(words: Sequence[Word]) -> dict[int, float]:
    counts = Counter(word.frequency for word in words)
    return {frequency: counts[frequency] / len(words) for frequency in range(8)}


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_training_and_held_out_words_are_equally_frequent_and_not_mostly_obscure(seed: int) -> None:
    sets = package_sets(9000, 2000, seed=seed)
    train, held_out = _shares(sets.train), _shares(sets.eval)
    assert sum(abs(train[key] - held_out[key]) for key in train) / 2 < 0.03
    assert train[0] == held_out[0] == 0
    assert sum(held_out[frequency] for frequency in (3, 4, 5, 6, 7)) > 0.6


def test_packaged_evaluation_words_are_related_to_no_other_word() -> None:
    others = [*_texts("base"), *_texts("train")]
    assert _plainly_related(_texts("eval"), others) == []
    relatives = Relatives(others)
    assert [(word, relatives.first(word)) for word in _texts("eval") if relatives.any(word)] == []


def test_no_packaged_evaluation_word_shares_a_porter_stem_with_another_word() -> None:
    """Recomputed with the stemmer alone; before, 111 did."""
    stemmer = snowballstemmer.stemmer("porter")
    others = {stemmer.stemWord(word) for word in (*_texts("base"), *_texts("train"))}
    assert [word for word in _texts("eval") if stemmer.stemWord(word) in others] == []


def test_packaged_base_and_training_words_share_no_lemma() -> None:
    base = {stem for word in _texts("base") for stem in stems(word)}
    assert [word for word in _texts("train") if stems(word) & base] == []
    relatives = Relatives(_texts("base"))
    assert [word for word in _texts("train") if relatives.same_lemma(word)] == []


def test_the_list_and_its_notice_ship_together() -> None:
    size = len(resources.files("graft.tasks.words").joinpath("words.tsv").read_bytes())
    assert size < 1_500_000
    notice = (Path(__file__).parents[2] / "NOTICE").read_text(encoding="utf-8")
    assert "Kevin Atkinson" in notice and "words.tsv" in notice


def test_an_unknown_pool_names_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"Did you mean 'train'\?"):
        package_words("trian")


def test_a_word_file_forgives_byte_order_marks_windows_line_ends_comments_and_capitals(tmp_path: Path) -> None:
    file = tmp_path / "words.txt"
    file.write_bytes("\ufeff# fruit\r\nApple\r\n\r\npear  # sweet\r\napple\r\n".encode())
    assert [word.text for word in read_word_file(file)] == ["apple", "pear"]


def test_words_of_a_file_have_the_frequency_that_the_list_gives_them(tmp_path: Path) -> None:
    file = tmp_path / "words.txt"
    file.write_text("people\nflibbertigibbet\n", encoding="utf-8")
    assert [word.frequency for word in read_word_file(file)] == [6, 0]


@pytest.mark.parametrize("line", ["two words", "c4t", "naïve", "it's", "<b>"])
def test_a_line_that_is_not_one_word_is_named_by_its_number(tmp_path: Path, line: str) -> None:
    file = tmp_path / "words.txt"
    file.write_text(f"apple\n\n{line}\n", encoding="utf-8")
    with pytest.raises(DataError, match="line 3"):
        read_word_file(file)


def test_a_word_file_that_is_missing_empty_or_binary_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        read_word_file(tmp_path / "none.txt")
    with pytest.raises(DataError, match="cannot be read"):
        read_word_file(tmp_path)
    empty = tmp_path / "empty.txt"
    empty.write_text("# nothing\n", encoding="utf-8")
    with pytest.raises(DataError, match="has none"):
        read_word_file(empty)
    binary = tmp_path / "binary.txt"
    binary.write_bytes(b"apple\n\xff\xfe\x00")
    with pytest.raises(DataError, match="UTF-8"):
        read_word_file(binary)


def test_pseudo_words_are_new_distinct_and_unrelated_to_the_words_to_avoid() -> None:
    held_out = _texts("eval")
    made_up = pseudo_words(500, seed=3, avoid=held_out)
    texts = [word.text for word in made_up]
    assert len(set(texts)) == 500
    assert all(word.pseudo and 4 <= len(word.text) <= 12 for word in made_up)
    assert not set(texts) & {*_texts("base"), *_texts("train"), *held_out}
    assert _plainly_related(held_out, texts) == []
    assert made_up == pseudo_words(500, seed=3, avoid=held_out)
    assert made_up != pseudo_words(500, seed=4, avoid=held_out)


def test_package_sets_sample_inside_the_pools_and_grow_without_losing_words() -> None:
    small, large = package_sets(100, 50, seed=1), package_sets(200, 80, seed=1)
    assert set(small.train) < set(large.train) < set(package_words("train"))
    assert set(small.eval) < set(large.eval) < set(package_words("eval"))
    assert small != package_sets(100, 50, seed=2)
    with pytest.raises(DataError, match="9912 train words, but 99999"):
        sample_words("train", 99_999, seed=0)


def _candidates(n: int) -> list[Word]:
    words = [word for pool in ("base", "train", "eval") for word in package_words(pool)]
    return random.Random(0).sample(words, n)


@pytest.mark.parametrize("seed", [0, 1])
def test_split_words_are_unrelated_and_all_sizes_hold(seed: int) -> None:
    sets = split_words(_candidates(8000), train=4000, eval=800, seed=seed)
    assert (len(sets.train), len(sets.eval)) == (4000, 800)
    assert sum(sets.dropped.values()) > 0 and {"irregular", "porter"} <= set(sets.dropped)
    assert _plainly_related([word.text for word in sets.eval], [word.text for word in sets.train]) == []


def test_adding_words_never_moves_a_word_to_the_other_side() -> None:
    words = _candidates(6000)
    before = split_words(words[:3000], train=1000, eval=250, seed=5)
    after = split_words(words, train=1000, eval=250, seed=5)
    assert not set(before.train) & set(after.eval)
    assert not set(before.eval) & set(after.train)
    assert before == split_words(reversed(words[:3000]), train=1000, eval=250, seed=5)


def test_too_few_words_are_told_with_the_numbers() -> None:
    with pytest.raises(DataError, match="30 different words"):
        split_words(_candidates(30), train=100, eval=20, seed=0)
    with pytest.raises(DataError, match="at least 1"):
        split_words(_candidates(30), train=10, eval=0, seed=0)


def test_case_variants_count_once() -> None:
    words = [Word("Apple"), Word("apple"), *_candidates(40)]
    with pytest.raises(DataError, match="41 different words"):
        split_words(words, train=1000, eval=10, seed=0)


@pytest.mark.parametrize(
    ("train", "held_out", "kind"),
    [
        ("straw", "straw", "exact"),
        ("Straw", "straw", "casefold"),
        ("running", "run", "lemma"),
        ("runs", "running", "lemma"),
        ("happiest", "happy", "lemma"),
        ("carefully", "careful", "lemma"),
        ("makes", "making", "lemma"),
        ("strawberry", "berry", "containment"),
        ("berry", "strawberry", "containment"),
        ("drove", "driving", "irregular"),
        ("meaning", "meant", "irregular"),
        ("better", "best", "irregular"),
        ("women", "woman", "irregular"),
        ("knives", "knife", "irregular"),
        ("analyses", "analysis", "irregular"),
        ("misunderstand", "misunderstood", "irregular"),
        ("colouring", "colors", "spelling"),
        ("aluminum", "aluminium", "spelling"),
        ("grey", "gray", "spelling"),
        ("anaemia", "anemia", "spelling"),
        ("organise", "organizing", "spelling"),
        ("generalities", "generation", "porter"),
        ("Consistently", "consisting", "porter"),
    ],
)
def test_the_audit_fails_closed_on_every_kind_of_overlap(train: str, held_out: str, kind: str) -> None:
    audit = audit_words([train, "window"], [held_out, "lemon"])
    assert getattr(audit, kind).count == 1
    assert getattr(audit, kind).pairs == ((held_out, train),)
    assert not audit.ok
    assert any(kind in reason for reason in audit.reasons)
    with pytest.raises(DataError, match="leak audit failed"):
        audit.require()


def test_the_audit_passes_the_packaged_words() -> None:
    sets = package_sets(2000, 500, seed=0)
    audit = audit_words([word.text for word in sets.train], [word.text for word in sets.eval])
    assert audit.ok and audit.reasons == ()
    audit.require()


def test_three_shared_letters_are_no_containment() -> None:
    assert audit_words(["art"], ["party"]).containment.count == 0


def test_the_audit_finds_a_trained_phrasing_behind_case_and_punctuation() -> None:
    audit = audit_words(
        ["window"], ["lemon"], train_prompts=["Spell {word}."], eval_prompts=["spell  {w}", "Say {word}."]
    )
    assert audit.template.count == 1
    assert not audit.ok


def test_the_audit_does_not_pass_when_there_is_nothing_to_compare() -> None:
    assert not audit_words([], ["lemon"]).ok
    assert not audit_words(["window"], []).ok


def test_shared_tokens_inform_but_do_not_fail() -> None:
    pieces = {"window": (1, 2), "lemon": (2, 3), "fig": (4,)}
    audit = audit_words(["window"], ["lemon", "fig"], token_ids=lambda word: pieces[word])
    assert audit.shared_token_share == 0.5
    assert audit.ok
    assert audit_words(["window"], ["lemon"]).shared_token_share is None


def test_the_audit_keeps_at_most_twenty_pairs_but_counts_all() -> None:
    words = _texts("train")[:30]
    audit = audit_words(words, words)
    assert (audit.exact.count, len(audit.exact.pairs)) == (30, 20)


def test_a_held_out_word_is_counted_once_under_the_first_relation_that_holds() -> None:
    audit = audit_words(["running"], ["running", "runs", "window"])
    assert audit.reasons == ("1 exact overlaps ('running' with 'running')", "1 lemma overlaps ('runs' with 'running')")
