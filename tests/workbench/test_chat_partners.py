"""Who answers in `graft chat`: a branch of a run, the untouched model beside it, and what they remember."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from transformers import PreTrainedTokenizerBase

from graft.config.loading import Resolved
from graft.data.chat import NO_THINKING, ChatPolicy
from graft.errors import ConfigError, ModelError, ThinkingPolicyError
from graft.pipeline.progress import SilentProgress
from graft.pipeline.run import train
from graft.types import Completion, Delta, Message, Prompt, Sampling, Usage
from graft.workbench.chat import Partner, open_partners


class Echo:
    """Streams one fixed reply in two pieces and keeps what it was asked."""

    local = True
    usage = Usage()

    def __init__(self, text: str) -> None:
        self.text = text
        self.asked: list[tuple[Prompt, Sampling]] = []

    def stream(self, prompt: Prompt, sampling: Sampling) -> Iterator[Delta]:
        self.asked.append((prompt, sampling))
        yield Delta(self.text[:5])
        yield Delta(self.text[5:], Completion(self.text, (1, 2), True))

    def generate(self, *args: object, **kwargs: object) -> list[Completion]:
        raise NotImplementedError

    def close(self) -> None: ...


def partner(tokenizer: PreTrainedTokenizerBase, text: str, *, think: bool = False, context: int = 512) -> Partner:
    policy = ChatPolicy("on") if think else NO_THINKING
    return Partner("toy", Echo(text), tokenizer, policy, think, Sampling(max_new_tokens=300), context)


def test_a_run_answers_by_its_trained_arm_and_the_base_beside_it(
    small_recipe: Callable[..., Resolved], tmp_path: Path
) -> None:
    resolved = small_recipe(tmp_path, study__arms=["trained"], study__seeds=[0, 1], train__learning_rate=0.5)
    run = train(resolved, progress=SilentProgress()).run
    first, base = open_partners(run.name, ["sampling.max_new_tokens=4"], tmp_path, against="base")
    assert (first.name, base.name) == (f"{run.name} trained-seed0", "base")
    assert first.sampling == base.sampling == Sampling(max_new_tokens=4)
    replies = [list(one.answer("Spell cat."))[-1].completion for one in (first, base)]
    assert replies[0] != replies[1]
    (second,) = open_partners(run.name, [], tmp_path, arm="trained-seed1")
    assert second.name.endswith("trained-seed1")
    with pytest.raises(ConfigError, match=r"the arm is 'trained-seed7'.*Did you mean 'trained-seed[01]'"):
        open_partners(run.name, [], tmp_path, arm="trained-seed7")


def test_the_conversation_keeps_answers_without_their_thinking(tokenizer: PreTrainedTokenizerBase) -> None:
    one = partner(tokenizer, "<think>\nhm\n</think>\n\nTwo.", think=True)
    pieces = list(one.answer("One?"))
    assert "".join(piece.text for piece in pieces) == "<think>\nhm\n</think>\n\nTwo."
    assert one.turns == [Message("user", "One?"), Message("assistant", "Two.")]


def test_a_reply_that_is_broken_off_leaves_no_trace(tokenizer: PreTrainedTokenizerBase) -> None:
    one = partner(tokenizer, "Two, three.")
    next(one.answer("One?"))
    assert one.turns == []


def test_a_new_system_turn_starts_a_new_conversation_and_reaches_the_model(tokenizer: PreTrainedTokenizerBase) -> None:
    one = partner(tokenizer, "Two.")
    list(one.answer("One?"))
    one.set_system("Be brief.")
    assert one.turns == []
    list(one.answer("One?"))
    backend = one.backend
    assert isinstance(backend, Echo)
    prompt, _ = backend.asked[-1]
    assert prompt.messages[0] == Message("system", "Be brief.")
    assert tokenizer.decode(list(prompt.ids)).startswith("<|im_start|>system\nBe brief.")


def test_a_reply_never_outgrows_the_context(tokenizer: PreTrainedTokenizerBase) -> None:
    one = partner(tokenizer, "Two.", context=40)
    list(one.answer("One?"))
    backend = one.backend
    assert isinstance(backend, Echo)
    prompt, sampling = backend.asked[-1]
    assert len(prompt.ids) + sampling.max_new_tokens == 40
    with pytest.raises(ModelError, match="toy reads at most 40; /reset"):
        list(one.answer("one " * 60))


def test_a_model_that_cannot_think_is_refused_when_asked_to(toy_folder: Path, tmp_path: Path) -> None:
    import shutil

    folder = tmp_path / "plain"
    shutil.copytree(toy_folder, folder)
    (folder / "chat_template.jinja").unlink()
    with pytest.raises(ThinkingPolicyError, match="it has no chat template"):
        open_partners(str(folder), ["thinking=on"], tmp_path)
