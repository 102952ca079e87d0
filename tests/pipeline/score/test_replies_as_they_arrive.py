"""A failure late in scoring costs the replies under way: what had arrived is not asked for again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.conftest import toy_model
from tests.models.stand_in import Answer, Asked, serving
from transformers import PreTrainedTokenizerBase

from graft.config.loading import Resolved
from graft.errors import ModelError
from graft.models.backends.transformers import TransformersBackend
from graft.pipeline.progress import SilentProgress
from graft.pipeline.run import evaluate
from graft.runs.journal import Journal
from graft.runs.listing import list_runs
from graft.runs.samples import read_samples
from graft.types import Prompt, Sampling


@pytest.mark.slow
def test_a_server_that_fails_late_is_asked_for_the_rest_alone(
    small_recipe: Callable[..., Resolved], tmp_path: Path
) -> None:
    broken, answered = True, 0

    def answer(asked: Asked) -> Answer:
        nonlocal answered
        question = asked.body["messages"][-1]["content"]
        if broken and answered >= 9:
            return Answer({"error": {"message": "no such luck"}}, status=400)
        answered += 1
        reply = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": question[-4:]}}
        return Answer({"choices": [reply], "usage": {"prompt_tokens": 9, "completion_tokens": 2}})

    with serving(answer) as server:
        settings = {"model__backend": "openai", "model__url": server.url, "remote__retries": 0}
        small = {
            "eval__tasks": ["count"],
            "eval__items": 12,
            "eval__seen_items": 0,
            "words__eval": 20,
            "remote__concurrency": 2,
        }
        resolved = small_recipe(tmp_path, **settings, **small)
        with pytest.raises(ModelError, match="no such luck"):
            evaluate("served:1b", resolved, progress=SilentProgress())
        (stopped,) = list_runs(tmp_path)
        assert stopped.status == "failed"
        broken = False
        outcome = evaluate(stopped.name, resolved, progress=SilentProgress())
        assert answered == 12
    records = read_samples(outcome.run.samples_file("base.count"))
    assert [record["reply"] for record in records] == [record["prompt"][-4:] for record in records]
    assert not (outcome.run.path / "journal").exists()


@pytest.mark.parametrize("sampling", [Sampling(max_new_tokens=5), Sampling(temperature=1.0, seed=3, max_new_tokens=5)])
def test_a_model_that_fails_late_goes_on_with_its_last_batch_to_the_same_replies(
    tokenizer: PreTrainedTokenizerBase, tmp_path: Path, sampling: Sampling
) -> None:
    prompts = [Prompt((), tuple(tokenizer.encode("Spell " + "cat " * (1 + n % 3) + str(n)))) for n in range(7)]
    backend = TransformersBackend(toy_model(), tokenizer, batch_size=2)
    wanted = backend.generate(prompts, sampling)
    done: list[int] = []

    def count(finished: int) -> None:
        done.append(finished)
        if len(done) == 3:
            raise MemoryError

    backend.journal = Journal(tmp_path / "j.jsonl")
    with pytest.raises(MemoryError):
        backend.generate(prompts, sampling, on_done=count)
    again = TransformersBackend(backend.model, tokenizer, batch_size=2)
    again.journal = Journal(tmp_path / "j.jsonl")
    assert again.generate(prompts, sampling) == wanted
    assert again.usage.prompt_tokens == len(max(prompts, key=lambda prompt: len(prompt.ids)).ids)
