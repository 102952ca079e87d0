"""Everything that all branches of a run share: tokenizer, words, scored items, leak audit and forecast."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from graft import tasks
from graft.config.schema import Recipe
from graft.data.chat import ChatPolicy, check_policy
from graft.data.sources import word_sets
from graft.data.tokens import encode
from graft.errors import DataError
from graft.evals.scoring import Items, prepare_items
from graft.models.loading import load_tokenizer
from graft.pipeline.backends import is_remote
from graft.pipeline.branches import Branch, branch_examples, branches, trained_tasks
from graft.stats.power import UNKNOWN_DISCORDANCE, minimum_detectable_effect
from graft.tasks.base import Split
from graft.tasks.words.audit import LeakAudit, audit_words
from graft.tasks.words.pool import WordSets, package_words
from graft.tasks.words.task import WordTask
from graft.types import TokenRow

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True, slots=True)
class Lab:
    """The shared parts of a run.

    Attributes:
        recipe: the settings.
        tokenizer: the model's tokenizer; a stand-in where the model is behind a server and its own is unknown.
        words: training and held-out words.
        items: scored items: per task those on held-out words, then those on training words.
        audit: what the leak audit found.
    """

    recipe: Recipe
    tokenizer: PreTrainedTokenizerBase
    words: WordSets
    items: tuple[Items, ...]
    audit: LeakAudit

    @property
    def policy(self) -> ChatPolicy:
        """How every prompt of the run is rendered."""
        return chat_policy(self.recipe)

    @property
    def steps(self) -> int:
        """Optimizer steps of every trained branch; one epoch is one pass over the training words."""
        train = self.recipe.train
        if train.max_steps is not None:
            return train.max_steps
        per_step = train.batch_size * train.gradient_accumulation
        return math.ceil(train.epochs * len(self.words.train) / per_step)

    def of_task(self, task: str, split: str = "eval") -> Items:
        """The items of one task and split."""
        return next(items for items in self.items if items.task.card.name == task and items.split == split)

    def rows(self, branch: Branch) -> tuple[TokenRow, ...]:
        """The training rows of a branch, in training order.

        Raises:
            DataError: a row is longer than ``data.max_length``, so that the step count would no longer hold.
        """
        train = self.recipe.train
        count = self.steps * train.batch_size * train.gradient_accumulation
        examples = branch_examples(self.recipe, branch, self.words, count)
        encoded = encode(self.tokenizer, examples, max_length=self.recipe.data.max_length, policy=self.policy)
        if encoded.dropped:
            first = examples[encoded.dropped[0]].id
            raise DataError(
                f"data.max_length is {self.recipe.data.max_length} tokens, but {len(encoded.dropped)} of "
                f"{count} training rows are longer (first: {first}); raise it"
            )
        return encoded.rows


def chat_policy(recipe: Recipe) -> ChatPolicy:
    """What a recipe says about prompts."""
    return ChatPolicy(recipe.thinking, recipe.model.system, recipe.model.template)


def prepare(recipe: Recipe, *, on_task: Callable[[str], None] = lambda name: None) -> Lab:
    """Build what all branches share. Loads the tokenizer, never the model.

    Args:
        recipe: a validated recipe.
        on_task: called with each task's name before its items are made.

    Raises:
        DataError: words or rows are missing.
        ModelError: the tokenizer cannot be loaded, or its chat template fails.
        ThinkingPolicyError: the model cannot think as the recipe says, or cannot but think.
    """
    tokenizer = recipe_tokenizer(recipe)
    itemised = tokenizer if knows_tokens(recipe) else None
    policy = chat_policy(recipe)
    check_policy(tokenizer, policy)
    section = recipe.words
    words = word_sets(
        section.source, tokenizer, pool=section.pool, train=section.train, eval=section.eval, seed=section.seed
    )
    items = []
    for name in recipe.eval.tasks:
        on_task(name)
        task = tasks.load(name, words, recipe.data.corpus)
        limits: dict[Split, int] = {"eval": recipe.eval.items, "seen": recipe.eval.seen_items}
        for split, limit in limits.items():
            if limit:
                examples = list(task.examples(split, limit=limit, seed=section.seed))
                length, think = recipe.data.max_length, policy.thinking == "on"
                items.append(
                    prepare_items(itemised, task, split, examples, max_length=length, policy=policy, think=think)
                )
    return Lab(recipe, tokenizer, words, tuple(items), _audit(recipe, tokenizer, words))


def knows_tokens(recipe: Recipe) -> bool:
    """False when the model is behind a server and the recipe does not say which tokenizer it has."""
    return not is_remote(recipe) or recipe.model.tokenizer is not None


def recipe_tokenizer(recipe: Recipe) -> PreTrainedTokenizerBase:
    """The model's tokenizer; where it is unknown the embedded model's, which then only draws words and audits them."""
    model = recipe.model
    if not is_remote(recipe):
        return load_tokenizer(model.id, revision=model.revision, trust_remote_code=model.trust_remote_code)
    return load_tokenizer(model.tokenizer or "sprout")


def _audit(recipe: Recipe, tokenizer: PreTrainedTokenizerBase, words: WordSets) -> LeakAudit:
    """Compare the words and phrasings that are trained with those that are scored."""
    trained = {*trained_tasks(recipe), *(branch.target for branch in branches(recipe) if branch.target)}

    def token_ids(word: str) -> tuple[int, ...]:
        ids = tokenizer.encode(f" {word}", add_special_tokens=False)
        return tuple(index for index in ids if len(str(tokenizer.decode([index])).strip()) > 1)

    return audit_words(
        [word.text for word in words.train],
        [word.text for word in words.eval],
        token_ids=token_ids,
        train_prompts=_phrasings(trained, words, "train"),
        eval_prompts=_phrasings(recipe.eval.tasks, words, "eval"),
    )


def _phrasings(names: Iterable[str], words: WordSets, split: Split) -> list[str]:
    found = [tasks.load(name, words) for name in names if name != "prose"]
    return [phrasing.text for task in found if isinstance(task, WordTask) for phrasing in task.phrasings(split)]


def forecast(lab: Lab) -> dict[str, Any]:
    """The smallest change each task's items can show, before anything is trained (McNemar, 80% power)."""
    study = lab.recipe.study
    scored = [items for items in lab.items if items.split == "eval"]
    return {
        "tasks": {
            items.task.card.name: {
                "items": len(items),
                "trained": items.task.card.name in trained_tasks(lab.recipe),
                "discordance_assumed": UNKNOWN_DISCORDANCE,
                "smallest_detectable": minimum_detectable_effect(len(items), alpha=study.alpha, seeds=len(study.seeds)),
            }
            for items in scored
        },
        "seeds": len(study.seeds),
        "steps": lab.steps,
        "note": f"two-sided alpha {study.alpha:g}, power 80%, {UNKNOWN_DISCORDANCE:.0%} of the items assumed to change",
    }


def detectable(facts: Mapping[str, Any]) -> str:
    """A task's smallest detectable change in words, or why there is none."""
    share = facts["smallest_detectable"]
    return "undefined: too few items" if math.isnan(share) else f"{100 * share:.1f} points"


def warnings(lab: Lab) -> tuple[str, ...]:
    """What the leak audit cannot rule out: words that the embedded model was trained on before the run."""
    known = seen_by_sprout(lab)
    if not known:
        return ()
    return (
        f"words.source is {lab.recipe.words.source}, and {known:,} of {len(lab.words.eval):,} held-out words are in "
        "the packaged base pool, which sprout's own training saw; words.source=package keeps them apart",
    )


def seen_by_sprout(lab: Lab) -> int:
    """Held-out words among those that the embedded model itself was trained on; the packaged pools are apart."""
    if lab.recipe.model.id != "sprout" or lab.recipe.words.source == "package":
        return 0
    base = {word.text for word in package_words("base")}
    return sum(word.text in base for word in lab.words.eval)


def audit_record(lab: Lab) -> dict[str, Any]:
    """The leak audit as stored in ``audit.json``."""
    return {
        **asdict(lab.audit),
        "ok": lab.audit.ok,
        "train_words": len(lab.words.train),
        "eval_words": len(lab.words.eval),
        "dropped_words": lab.words.dropped,
        "source": lab.words.source,
        "seen_by_sprout": seen_by_sprout(lab),
    }
