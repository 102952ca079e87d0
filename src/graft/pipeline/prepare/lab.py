"""Everything that all branches of a run share: tokenizer, words, scored items, leak audit and forecast."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from graft import tasks
from graft.config.schema import Recipe
from graft.data.borders import borders_of
from graft.data.chat import ChatPolicy, check_policy, with_date, writes_calls
from graft.data.sources import word_sets
from graft.evals.baselines import baseline_records
from graft.evals.items import Items, prepare_items
from graft.models.adapted import ready
from graft.models.boundary import Limits, read_limits
from graft.models.loading import load_tokenizer
from graft.models.style import add_style_tokens
from graft.pipeline.branches import branches, trained_tasks
from graft.pipeline.places import CALIBRATION
from graft.pipeline.prepare.corpora import Corpus, prepare_corpus
from graft.pipeline.prepare.modes import MODES
from graft.pipeline.prepare.outcomes import Measure, outcome_of
from graft.pipeline.prepare.rewards import check_reward
from graft.pipeline.prepare.served import is_remote
from graft.pipeline.prepare.taskbook import LABELLED, TaskBook, uses_words
from graft.tasks.base import Split, Task
from graft.tasks.field import FieldTask
from graft.tasks.words.audit import LeakAudit, audit_words
from graft.tasks.words.pool import WordSets, package_words
from graft.tasks.words.task import WordTask
from graft.types import Example

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


ANY_LENGTH = sys.maxsize
"""Longest row of a benchmark in the field's style: what the model can read is its only limit."""


@dataclass(frozen=True, slots=True)
class Lab:
    """The shared parts of a run.

    Attributes:
        recipe: the settings.
        tokenizer: the model's tokenizer; a stand-in where the model is behind a server and its own is unknown.
        book: the tasks.
        items: scored items: per task those on held-out rows, then those on training rows.
        calibration: held-out items that only the temperature of label probabilities is fitted on.
        corpora: held-out texts, per task that is scored by its perplexity.
        audit: what the audit of the words found; ``None`` without word tasks.
        policy: how every prompt of the run is rendered.
        limits: what the model's files say of its borders.
    """

    recipe: Recipe
    tokenizer: PreTrainedTokenizerBase
    book: TaskBook
    items: tuple[Items, ...]
    calibration: tuple[Items, ...]
    corpora: tuple[Corpus, ...]
    audit: LeakAudit | None
    policy: ChatPolicy
    limits: Limits

    @property
    def words(self) -> WordSets | None:
        """Training and held-out words; ``None`` without word tasks."""
        return self.book.words

    @property
    def per_step(self) -> int:
        """Examples of one optimizer step."""
        return self.recipe.train.batch_size * self.recipe.train.gradient_accumulation

    @property
    def examples(self) -> int:
        """Training examples that every branch draws; one epoch is one pass over the training words or rows."""
        train = self.recipe.train
        if train.max_steps is not None:
            return train.max_steps * self.per_step
        return max(1, round(train.epochs * self.book.epoch_rows()))

    @property
    def steps(self) -> int:
        """Optimizer steps of every trained branch if all its examples fit; the last may be smaller than the others."""
        return self.steps_of(self.examples)

    def steps_of(self, rows: int) -> int:
        """Optimizer steps in which so many rows are read."""
        return math.ceil(rows / self.per_step)

    def of_task(self, task: str, split: str = "eval") -> Items:
        """The items of one task and split."""
        return next(items for items in self.items if items.task.card.name == task and items.split == split)

    def outcome(self, task: str, *, thinks: bool = False) -> Measure:
        """The score of a task that the verdict is about; see `graft.pipeline.prepare.outcomes`."""
        scored = [items for items in self.items if items.task.card.name == task]
        return outcome_of(self.recipe, self.tokenizer, scored, thinks=thinks)


def chat_policy(
    recipe: Recipe, tokenizer: PreTrainedTokenizerBase, limits: Limits, *, date: str | None = None
) -> ChatPolicy:
    """How a recipe's prompts are rendered for its model.

    Args:
        recipe: thinking, system turn and plain template.
        tokenizer: the model's tokenizer.
        limits: what the model's files say.
        date: the day of the run that is continued; today for ``None``.

    Raises:
        ModelError: the chat template fails, or writes something else each time.
        ThinkingPolicyError: the model cannot think as the recipe says, or cannot but think.
    """
    section = recipe.model
    policy = ChatPolicy(
        recipe.thinking, section.system, section.template, date, limits.stops, apart=limits.kind == "seq2seq"
    )
    check_policy(tokenizer, policy)
    return with_date(tokenizer, policy)


def recipe_limits(recipe: Recipe) -> Limits:
    """What the model's files say of its borders; of a model behind a server nothing is known."""
    return Limits() if is_remote(recipe) else read_limits(recipe.model.id, recipe.model.revision)


def stop_ids(recipe: Recipe) -> tuple[int, ...]:
    """Every id that ends an answer of the recipe's model."""
    tokenizer, limits = recipe_tokenizer(recipe), recipe_limits(recipe)
    return borders_of(tokenizer, chat_policy(recipe, tokenizer, limits)).stops


def prepare(recipe: Recipe, *, date: str | None = None, on_task: Callable[[str], None] = lambda name: None) -> Lab:
    """Build what all branches share. Loads the tokenizer, never the model.

    Args:
        recipe: a validated recipe.
        date: the day that the template of a run that is continued was told.
        on_task: called with each task's name before its items are made.

    Raises:
        DataError: words or rows are missing.
        ConfigError: a reward could be forged.
        ModelError: the tokenizer cannot be loaded, or its chat template fails.
        ThinkingPolicyError: the model cannot think as the recipe says, or cannot but think.
    """
    tokenizer = recipe_tokenizer(recipe)
    itemised = tokenizer if knows_tokens(recipe) else None
    limits = recipe_limits(recipe)
    policy = chat_policy(recipe, tokenizer, limits, date=date)
    section = recipe.words
    words = _words(recipe, tokenizer)
    calls = writes_calls(tokenizer) or not knows_tokens(recipe)
    book, think = TaskBook(recipe, words, writes_calls=calls), policy.thinking == "on"
    items, calibration, corpora = [], [], []
    for name in recipe.eval.tasks:
        on_task(name)
        task = book.load(name)
        if task.card.kind == "corpus":
            corpora.append(prepare_corpus(recipe, task))
            continue
        asked, length = policy, recipe.data.max_length
        if isinstance(task, FieldTask):
            asked, length = replace(policy, raw=True), ANY_LENGTH
        held_out, spare = _held_out(task, recipe)
        seen = recipe.eval.seen_items
        parts = {"eval": held_out, "seen": list(task.examples("seen", limit=seen, seed=section.seed)) if seen else []}
        for split, examples in parts.items():
            if examples:
                items.append(
                    prepare_items(itemised, task, split, examples, max_length=length, policy=asked, think=think)
                )
        if spare and itemised is not None:
            calibration.append(prepare_items(itemised, task, CALIBRATION, spare, max_length=length, policy=asked))
    audit = None if words is None else _audit(recipe, tokenizer, words)
    if MODES[recipe.mode].rewards:
        for name in trained_tasks(recipe):
            check_reward(book.load(name))
    return Lab(recipe, tokenizer, book, tuple(items), tuple(calibration), tuple(corpora), audit, policy, limits)


def _held_out(task: Task, recipe: Recipe) -> tuple[list[Example], list[Example]]:
    """The examples of a task that are scored, and further ones for calibration where it has labels.

    A task with too few for both gives a fifth of them to calibration.
    """
    spare = recipe.eval.calibration_items if task.card.kind in LABELLED else 0
    found = list(task.examples("eval", limit=recipe.eval.items + spare, seed=recipe.words.seed))
    if len(found) < recipe.eval.items + spare:
        spare = min(spare, len(found) // 5)
    return found[: len(found) - spare], found[len(found) - spare :]


def _words(recipe: Recipe, tokenizer: PreTrainedTokenizerBase) -> WordSets | None:
    section = recipe.words
    if not uses_words(recipe):
        return None
    return word_sets(
        section.source,
        tokenizer,
        pool=section.pool,
        train=section.train,
        eval=section.eval,
        pseudo=section.pseudo,
        seed=section.seed,
    )


def knows_tokens(recipe: Recipe) -> bool:
    """False when the model is behind a server and the recipe does not say which tokenizer it has."""
    return not is_remote(recipe) or recipe.model.tokenizer is not None


def recipe_tokenizer(recipe: Recipe) -> PreTrainedTokenizerBase:
    """The model's tokenizer; where it is unknown the embedded model's, which then only draws words and audits them."""
    model = recipe.model
    if is_remote(recipe):
        return load_tokenizer(model.tokenizer or "sprout")
    ready(model.id)
    tokenizer = load_tokenizer(model.id, revision=model.revision, trust_remote_code=model.trust_remote_code)
    if recipe.style.tokens:
        add_style_tokens(tokenizer, recipe.style.tokens)
    return tokenizer


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
    found = [tasks.load(name, words) for name in names if tasks.is_word_task(name)]
    return [phrasing.text for task in found if isinstance(task, WordTask) for phrasing in task.phrasings(split)]


Baselines = Mapping[str, Sequence[Mapping[str, Any]]]
"""Scored trivial answers to the held-out items, by task."""


def baselines(lab: Lab) -> Baselines:
    """What could be answered to the held-out items without the skill, known before anything is trained."""
    return {
        items.task.card.name: baseline_records(items.task, items.examples)
        for items in lab.items
        if items.split == "eval"
    }


def warnings(lab: Lab) -> tuple[str, ...]:
    """What the leak audit cannot rule out: words that the embedded model was trained on before the run."""
    known = seen_by_sprout(lab)
    if not known or lab.words is None:
        return ()
    return (
        f"words.source is {lab.recipe.words.source}, and {known:,} of {len(lab.words.eval):,} held-out words are in "
        "the packaged base pool, which sprout's own training saw; words.source=package keeps them apart",
    )


def seen_by_sprout(lab: Lab) -> int:
    """Held-out words among those that the embedded model itself was trained on; the packaged pools are apart."""
    if lab.recipe.model.id != "sprout" or lab.recipe.words.source == "package" or lab.words is None:
        return 0
    base = {word.text for word in package_words("base")}
    return sum(word.text in base for word in lab.words.eval)


def audit_record(lab: Lab) -> dict[str, Any]:
    """The leak audit as stored in ``audit.json``."""
    if lab.audit is None or lab.words is None:
        return {"ok": True, "reasons": []}
    return {
        **asdict(lab.audit),
        "ok": lab.audit.ok,
        "train_words": len(lab.words.train),
        "eval_words": len(lab.words.eval),
        "dropped_words": dict(lab.words.dropped),
        "source": lab.words.source,
        "seen_by_sprout": seen_by_sprout(lab),
    }
