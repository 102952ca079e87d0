"""The held-out texts of a corpus among the scored tasks."""

from __future__ import annotations

from dataclasses import dataclass

from graft.config.schema import Recipe
from graft.errors import ConfigError
from graft.pipeline.prepare.served import is_remote
from graft.tasks.base import Task


@dataclass(frozen=True, slots=True)
class Corpus:
    """The held-out texts of one task.

    Attributes:
        task: its name.
        names: an id for each text.
        texts: the texts.
    """

    task: str
    names: tuple[str, ...]
    texts: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.texts)


def prepare_corpus(recipe: Recipe, task: Task) -> Corpus:
    """The texts of a corpus that are scored: at most `eval.items` of its held-out ones.

    Raises:
        ConfigError: the model is behind a server.
        DataError: there are no held-out texts.
    """
    name = task.card.name
    if is_remote(recipe):
        raise ConfigError(
            f"eval.tasks holds {name}, whose score is a perplexity, but model.backend is {recipe.model.backend}, which "
            "tells no likelihoods; leave that task out or set model.backend: transformers"
        )
    examples = list(task.examples("eval", limit=recipe.eval.items, seed=recipe.words.seed))
    return Corpus(name, tuple(example.id for example in examples), tuple(example.gold for example in examples))
