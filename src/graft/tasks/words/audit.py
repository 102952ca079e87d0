"""Leak audit: is any held-out word, or any held-out phrasing, related to what is trained?"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass

from graft import errors
from graft.tasks.words.relations import RELATIONS, Relation, Relatives

EXAMPLE_PAIRS = 20

TokenIds = Callable[[str], tuple[int, ...]]
"""A word to the ids of its tokens of two letters or more, as it stands inside the rendered prompt."""


@dataclass(frozen=True, slots=True)
class Overlap:
    """How many held-out items collide with training in one way.

    Attributes:
        count: number of held-out words (or phrasings) concerned.
        pairs: up to 20 of them, each with the training word (or phrasing) it collides with.
    """

    count: int
    pairs: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class LeakAudit:
    """Overlaps between training and evaluation; a held-out word counts in the first of these relations that holds.

    Attributes:
        train_words: number of training words compared.
        eval_words: number of held-out words compared.
        exact: same form.
        casefold: same form but for case.
        lemma: a common stem by suffix rules.
        containment: one contains the other, four letters or more.
        irregular: one may be an irregular form of the other, or both of a third.
        spelling: two spellings of one word, such as British and American.
        porter: a common stem by Porter's algorithm.
        template: phrasings that are equal but for case, punctuation and placeholders.
        shared_token_share: share in [0, 1] of the held-out words with a token of two letters or more that some training
            word has too; informative only; None without tokens.
        ok: True when no overlap was found and there was something to compare.
        reasons: why not, one sentence each.
    """

    train_words: int
    eval_words: int
    exact: Overlap
    casefold: Overlap
    lemma: Overlap
    containment: Overlap
    irregular: Overlap
    spelling: Overlap
    porter: Overlap
    template: Overlap
    shared_token_share: float | None
    ok: bool
    reasons: tuple[str, ...]

    def require(self) -> None:
        """Fail closed.

        Raises:
            DataError: the audit found a leak or had nothing to compare.
        """
        if not self.ok:
            raise errors.DataError(f"leak audit failed: {'; '.join(self.reasons)}; choose other words or another seed")


def audit_words(
    train_words: Collection[str],
    eval_words: Collection[str],
    *,
    token_ids: TokenIds | None = None,
    train_prompts: Iterable[str] = (),
    eval_prompts: Iterable[str] = (),
) -> LeakAudit:
    """Compare training and held-out words and phrasings.

    Args:
        train_words: every word that is trained.
        eval_words: every held-out word.
        token_ids: gives the multi-letter tokens of a word; None to leave the token overlap out.
        train_prompts: format strings of the training phrasings.
        eval_prompts: format strings of the held-out phrasings.
    """
    relatives = Relatives(train_words)
    overlaps = _overlaps(relatives, eval_words)
    template = _template_overlap(train_prompts, eval_prompts)
    reasons = [f"{found.count} {name} overlaps{_first(found)}" for name, found in overlaps.items() if found.count]
    if template.count:
        reasons.append(f"{template.count} held-out phrasings are trained{_first(template)}")
    if not train_words or not eval_words:
        reasons.append(f"nothing to compare: {len(train_words)} training and {len(eval_words)} held-out words")
    return LeakAudit(
        train_words=len(train_words),
        eval_words=len(eval_words),
        **overlaps,
        template=template,
        shared_token_share=_shared_tokens(train_words, eval_words, token_ids),
        ok=not reasons,
        reasons=tuple(reasons),
    )


def _overlaps(relatives: Relatives, eval_words: Collection[str]) -> dict[Relation, Overlap]:
    pairs: dict[Relation, list[tuple[str, str]]] = {relation: [] for relation in RELATIONS}
    for word in eval_words:
        if (found := relatives.first(word)) is not None:
            relation, hit = found
            pairs[relation].append((word, hit))
    return {relation: Overlap(len(hits), tuple(hits[:EXAMPLE_PAIRS])) for relation, hits in pairs.items()}


def _template_overlap(train_prompts: Iterable[str], eval_prompts: Iterable[str]) -> Overlap:
    trained = {_plain(prompt): prompt for prompt in train_prompts}
    found = [(prompt, trained[_plain(prompt)]) for prompt in eval_prompts if _plain(prompt) in trained]
    return Overlap(len(found), tuple(found[:EXAMPLE_PAIRS]))


def _plain(prompt: str) -> str:
    """A phrasing without case, punctuation and the names of its placeholders."""
    return " ".join(re.findall(r"\w+|\{\}", re.sub(r"\{\w*\}", "{}", prompt.casefold())))


def _shared_tokens(
    train: Iterable[str], held_out: Sequence[str] | Collection[str], token_ids: TokenIds | None
) -> float | None:
    if token_ids is None or not held_out:
        return None
    trained = {token for word in train for token in token_ids(word)}
    return sum(not trained.isdisjoint(token_ids(word)) for word in held_out) / len(held_out)


def _first(overlap: Overlap) -> str:
    left, right = overlap.pairs[0]
    return f" ('{left}' with '{right}')"
