"""A model for Ollama: a GGUF file with a Modelfile whose template writes the prompt that was measured.

Ollama's templates are Go's. What a chat template writes around each turn is found by rendering, put together in Go, and
the same text must come out for every conversation that is tried; a template that decides by content is refused.

Source: Ollama, `docs/modelfile.md` and `docs/template.md`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from graft.errors import MissingExtra, ModelError
from graft.export.certificate import CONVERSATIONS
from graft.export.gguf.vocabulary import starts_with_token

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

FIRST, REPLY, NEXT, RULE = "Qfirstq", "Areplya", "Qnextq", "Srules"
"""Contents to render with; no template knows them."""

Turns = Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Frames:
    """What a chat template writes, each as text before and after a content.

    Attributes:
        head: at the very beginning where there is no system turn, without the start token, which Ollama adds.
        system: around a system turn, which comes first; ``None`` where the template takes none, or in another way.
        user: around a user turn.
        assistant: around an earlier reply.
        opening: at the end, where the reply begins.
    """

    head: str
    system: tuple[str, str] | None
    user: tuple[str, str]
    assistant: tuple[str, str]
    opening: str

    def render(self, turns: Turns) -> str:
        """A conversation up to its reply, as Ollama writes it by `go`."""
        frames = {"system": self.system or ("", ""), "user": self.user, "assistant": self.assistant}
        head = "" if any(role == "system" for role, _ in turns) else self.head
        return head + "".join(f"{frames[role][0]}{text}{frames[role][1]}" for role, text in turns) + self.opening

    def go(self) -> str:
        """The template in Go."""
        parts = {"user": self.user, "assistant": self.assistant}
        if self.system is not None:
            parts = {"system": self.system, **parts}
        head = f"{{{{ if not .System }}}}{_escaped(self.head)}{{{{ end }}}}" if self.head else ""
        cases = "{{ else if ".join(
            f'eq .Role "{role}" }}}}{_escaped(before)}{{{{ .Content }}}}{_escaped(after)}'
            for role, (before, after) in parts.items()
        )
        turns = f"{{{{ range .Messages }}}}{{{{ if {cases}{{{{ end }}}}{{{{ end }}}}"
        return f"{head}{turns}{_escaped(self.opening)}"


@dataclass(frozen=True, slots=True)
class Modelfile:
    """What Ollama is told of a model.

    Attributes:
        template: in Go.
        system: text of the system turn; ``None`` for none.
        parameters: sampling, context and the texts at which a reply stops.
        licence: of the model; empty where it is not known.
    """

    template: str
    system: str | None
    parameters: Mapping[str, Any]
    licence: str = ""

    def text(self, file: str) -> str:
        """The Modelfile of a GGUF file beside it."""
        lines = [f"FROM ./{file}", f"TEMPLATE {_quoted(self.template)}"]
        if self.system:
            lines.append(f"SYSTEM {_quoted(self.system)}")
        for name, value in self.parameters.items():
            for one in value if isinstance(value, list) else [value]:
                lines.append(f"PARAMETER {name} {_quoted(one) if isinstance(one, str) else f'{one:g}'}")
        if self.licence:
            lines.append(f"LICENSE {_quoted(self.licence)}")
        return "\n".join(lines) + "\n"


def find_frames(tokenizer: PreTrainedTokenizerBase) -> tuple[Frames, tuple[str, ...]]:
    """What the template of a tokenizer writes around turns.

    Returns:
        The frames, and what a person should know.

    Raises:
        ModelError: the template does more than put texts around turns.
    """
    chat = [("user", FIRST), ("assistant", REPLY), ("user", NEXT)]
    around, alone = _around(tokenizer, chat), _around(tokenizer, chat[:1], opening=False)
    if around is None:
        raise ModelError(_refusal(tokenizer))
    start, middle, between, end = around
    before = _common(start[::-1], between[::-1])[::-1]
    after = _common(middle, end)  # any cut that is the same at both places writes the same text
    if alone is not None and after.startswith(alone[1]):
        after = alone[1]
    frames = Frames(
        head=start.removesuffix(before),
        system=None,
        user=(before, after),
        assistant=(middle.removeprefix(after), between.removesuffix(before)),
        opening=end.removeprefix(after),
    )
    ruled = _around(tokenizer, [("system", RULE), ("user", FIRST)])
    if ruled is not None:
        frames = replace(frames, system=(ruled[0], ruled[1].removesuffix(before)))
    wrong = [turns for turns in CONVERSATIONS if _rendered(tokenizer, turns) != frames.render(turns)]
    if any(role == "system" for turns in wrong for role, _ in turns):
        frames = replace(frames, system=None)
    if any(all(role != "system" for role, _ in turns) for turns in wrong):
        raise ModelError(_refusal(tokenizer))
    return frames, () if frames.system else ("its template has no place for system turns in Ollama",)


def _common(one: str, other: str) -> str:
    """What two texts begin with."""
    return one[: next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), len(one))][: len(other)]


def _around(tokenizer: PreTrainedTokenizerBase, turns: Turns, *, opening: bool = True) -> list[str] | None:
    """The texts around the contents of turns; ``None`` where a content is not there once, in order."""
    rest, found = _rendered(tokenizer, turns, opening=opening), []
    for _, content in turns:
        before, there, rest = rest.partition(content)
        if not there or content in rest:
            return None
        found.append(before)
    return [*found, rest]


def _rendered(tokenizer: PreTrainedTokenizerBase, turns: Turns, *, opening: bool = True) -> str:
    """A conversation without the start token; empty where the template refuses it."""
    messages = [{"role": role, "content": content} for role, content in turns]
    try:
        text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=opening)
    except Exception:  # a template is a program: it may raise anything
        return ""
    return str(text).removeprefix(str(tokenizer.bos_token or "")) if starts_with_token(tokenizer) else str(text)


def _refusal(tokenizer: PreTrainedTokenizerBase) -> str:
    return (
        f"the chat template of {tokenizer.name_or_path} does more than put texts around turns, which Ollama's "
        "templates cannot; use --to gguf, whose file holds the template itself"
    )


def _escaped(text: str) -> str:
    """Literal text in a Go template."""
    return text.replace("{{", '{{ "{{" }}')


def _quoted(text: str) -> str:
    if '"""' in text:
        raise ModelError(f"a Modelfile cannot hold three quotes in a row, but {text[:60]!r} does; use --to gguf")
    return f'"""{text}"""'


def modelfile(
    frames: Frames,
    *,
    system: str | None,
    generation: Any,
    stops: Sequence[str],
    context: int,
    licence: str,
) -> Modelfile:
    """What Ollama is told.

    Args:
        frames: of the chat template.
        system: the run's system turn.
        generation: the exported generation config.
        stops: tokens at which a reply stops.
        context: longest conversation in tokens.
        licence: of the model; empty where it is not known.

    Raises:
        ModelError: there is a system turn, and no place for it.
    """
    if system and frames.system is None:
        raise ModelError("the run has a system turn, for which its template has no place in Ollama; use --to gguf")
    parameters: dict[str, Any] = {"stop": list(stops), "num_ctx": context}
    drawn = {"temperature": 0.0}
    if generation.do_sample:
        drawn = {name: getattr(generation, name) for name in ("temperature", "top_k", "top_p", "min_p")}
    drawn["repeat_penalty"] = generation.repetition_penalty or 1.0
    return Modelfile(frames.go(), system, parameters | {k: v for k, v in drawn.items() if v is not None}, licence)


def require_ollama() -> None:
    """Make sure that Ollama's client is there.

    Raises:
        MissingExtra: it is not.
    """
    if find_spec("ollama") is None:
        raise MissingExtra("graft export --create (ollama)", "ollama")


def create(name: str, path: Path, described: Modelfile) -> None:
    """Give a model to the Ollama that `OLLAMA_HOST` names, or to the one on this machine.

    Args:
        name: what it is called there.
        path: the GGUF file.
        described: its Modelfile.

    Raises:
        ModelError: Ollama cannot be reached, or refuses the model.
    """
    import ollama

    client = ollama.Client()
    with _translated():
        digest = client.create_blob(path)
        client.create(
            model=name,
            files={path.name: digest},
            template=described.template,
            system=described.system,
            parameters=described.parameters,
            license=described.licence or None,
        )


@contextmanager
def _translated() -> Iterator[None]:
    import httpx  # brought by the client, whose connection errors it lets through
    import ollama

    try:
        yield
    except ollama.ResponseError as error:
        raise ModelError(f"Ollama refused the model (HTTP {error.status_code}): {error.error}") from error
    except (ConnectionError, httpx.TransportError) as error:
        raise ModelError(f"cannot reach Ollama: {error}; start it with `ollama serve` or set OLLAMA_HOST") from error
