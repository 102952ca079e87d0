"""`graft chat`: a conversation in the terminal, with one model or with two side by side."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import click

from graft.cli.completion import complete_runs
from graft.cli.options import Command, Common
from graft.cli.output import print_json
from graft.cli.text import duration, echo, printable
from graft.errors import ConfigError, GraftError, close_match

if TYPE_CHECKING:
    from rich.console import RenderableType

    from graft.types import Completion
    from graft.workbench.chat import Partner

MOST_LABELS = 3
"""Labels whose probabilities are shown beside a reply."""

SIDE_BY_SIDE_COLUMNS = 80
"""Narrower terminals show two replies one below the other."""

HELP = {
    "/system TEXT": "set the system turn and start anew; without TEXT, remove it",
    "/reset": "forget the conversation",
    "/help": "show this",
    "/quit": "leave (so does the end of the input)",
}
TASK_HELP = {"/raw": "converse, without the prompt of the run's task"}
STYLE_HELP = {"/style NAME": "ask for replies in this style; without NAME, for no style"}
COMMANDS = (*(line.split()[0] for line in HELP), "/style", "/raw")


@click.command(
    "chat",
    cls=Command,
    example="""graft chat sprout
               graft chat latest --against base
               graft chat latest --arm trained-seed0 sampling.temperature=0.7 sampling.max_new_tokens=200""",
)
@click.argument("target", metavar="MODEL|RUN", shell_complete=complete_runs)
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("--against", metavar="base|MODEL|RUN", help="A second model beside; base is the untouched one.")
@click.option("--arm", metavar="ARM", help="Arm of the run, such as trained-seed0.  [default: the first trained one]")
@click.pass_obj
def chat_command(common: Common, target: str, overrides: tuple[str, ...], against: str | None, arm: str | None) -> None:
    """Talk to a model or a run, or to two side by side.

    A run whose task has a prompt about one text asks every message with it and shows the probabilities of its labels.
    Settings such as sampling.temperature=0.7, thinking=on or model.system="Be brief." may follow. Messages are read
    line by line, also from a pipe. /help lists what can be typed instead of a message.
    """
    from graft.cli.lookup import model_of, split_arm
    from graft.workbench.chat import open_partners

    root = common.runs_folder
    run, named = split_arm(target, root)
    if named is not None and arm is not None:
        raise ConfigError(f"--arm is {arm}, but {target} names one too; leave one of them out")
    other = against if against in (None, "base") else model_of(against, root)
    first = str(run.path) if run else target
    partners = open_partners(first, overrides, root, arm=arm or named, against=other)
    interactive = sys.stdin.isatty()
    if interactive and not common.quiet:
        echo(f"{' and '.join(p.name for p in partners)}. /help lists the commands.", err=True)
        if task := partners[0].task:
            echo(f"Every message is asked with the prompt of {task.task.card.name}; /raw for a conversation.", err=True)
    transcript = [turn for line in _lines(interactive) if (turn := _turn(common, partners, line, interactive))]
    if common.json:
        print_json(transcript)


def _lines(interactive: bool) -> Iterator[str]:
    """Messages and commands, up to /quit or the end of the input."""
    while True:
        if interactive:
            echo("\n> ", nl=False, err=True)
        line = sys.stdin.readline()
        if not line or line.strip() == "/quit":
            return
        if line.strip():
            yield line.strip()


def _turn(common: Common, partners: Sequence[Partner], line: str, interactive: bool) -> dict[str, Any] | None:
    """Do one command, or let every model answer one message.

    Returns:
        The message with its replies, ``None`` for a command.
    """
    try:
        if line.startswith("/"):
            echo(_command(partners, line), err=True)
            return None
        replies = _answers(common, partners, line)
    except GraftError as error:
        if not interactive:
            raise
        echo(f"error: {error}", err=True)
        return None
    except KeyboardInterrupt:
        if not interactive:
            raise
        echo("\nStopped; this message is forgotten.", err=True)
        return None
    return {"prompt": line, "replies": [reply.to_json() for reply in replies]}


def _command(partners: Sequence[Partner], line: str) -> str:
    """Do what a line that begins with a slash says.

    Returns:
        What to tell the user.
    """
    name, _, rest = line.partition(" ")
    if name == "/help":
        known = {**HELP, **(STYLE_HELP if any(partner.styles for partner in partners) else {})}
        known |= TASK_HELP if any(partner.task for partner in partners) else {}
        width = max(map(len, known))
        return "\n".join(f"{command:{width}}  {meaning}" for command, meaning in known.items())
    if name == "/reset":
        for partner in partners:
            partner.reset()
        return "A new conversation."
    if name == "/system":
        for partner in partners:
            partner.set_system(rest.strip() or None)
        return "A new conversation with this system turn." if rest.strip() else "A new conversation, no system turn."
    if name == "/raw":
        for partner in partners:
            partner.set_raw()
        return "A conversation, without the prompt of a task."
    if name == "/style":
        return _choose_style(partners, rest.strip() or None)
    near = close_match(name, COMMANDS)
    return f"There is no command {name}. {f'Did you mean {near}?' if near else '/help lists them.'}"


def _choose_style(partners: Sequence[Partner], name: str | None) -> str:
    """Choose a style for the models that have it, or none for all."""
    able = [partner for partner in partners if partner.styles]
    if not able:
        return "This model has no style tokens, so there is no style to choose."
    for partner in able:
        partner.set_style(name)
    known = ", ".join(able[0].styles)
    return f"Replies in the style {name}." if name else f"No style is asked for. Known: {known}."


@dataclass(slots=True)
class Reply:
    """One reply while it is written.

    Attributes:
        model: who writes.
        text: what is written so far.
        seconds: from the question to the last piece.
        completion: the whole, at the end.
        labels: probabilities of the labels of the run's task, the likeliest first; empty for other replies.
    """

    model: str
    text: str = ""
    seconds: float = 0.0
    completion: Completion | None = None
    labels: dict[str, float] = field(default_factory=dict)

    @property
    def tokens(self) -> int:
        """Tokens written, 0 while they are not known."""
        done = self.completion
        if done is None:
            return 0
        return done.usage.completion_tokens if done.usage else len(done.token_ids)

    @property
    def facts(self) -> str:
        """Tokens, time and speed in words, empty while it is written."""
        if self.completion is None:
            return ""
        speed = f", {self.tokens / self.seconds:.1f} tokens/s" if self.seconds > 0 else ""
        cut = "" if self.completion.finished else ", cut at the limit"
        cut += "".join(f", {label} {share:.0%}" for label, share in list(self.labels.items())[:MOST_LABELS])
        return f"{self.tokens} token{'' if self.tokens == 1 else 's'}, {duration(self.seconds)}{speed}{cut}"

    def to_json(self) -> dict[str, Any]:
        """The reply for machines."""
        usage = self.completion.usage if self.completion else None
        return {
            "model": self.model,
            "text": self.text,
            "prompt_tokens": usage.prompt_tokens if usage else None,
            "tokens": self.tokens,
            "seconds": self.seconds,
            "finished": self.completion.finished if self.completion else False,
            **({"labels": self.labels} if self.labels else {}),
        }


def _write(partner: Partner, reply: Reply, message: str) -> Iterator[str]:
    """Stream a reply into its record, piece by piece."""
    reply.labels = partner.task.probabilities(message) if partner.task else {}
    start = time.perf_counter()
    for delta in partner.answer(message):
        reply.text += delta.text
        reply.seconds = time.perf_counter() - start
        reply.completion = delta.completion
        yield delta.text


def _answers(common: Common, partners: Sequence[Partner], message: str) -> list[Reply]:
    """Let the models answer one after the other, so that each has the machine and its speed is its own."""
    replies = [Reply(partner.name) for partner in partners]
    if len(partners) > 1 and sys.stdout.isatty() and not common.json:
        _answer_live(partners, replies, message)
        return replies
    for partner, reply in zip(partners, replies, strict=True):
        if len(partners) > 1 and not common.json:
            echo(f"[{partner.name}]")
        for piece in _write(partner, reply, message):
            if not common.json:
                echo(piece, nl=False)
        if not common.json:
            echo()
        if not common.quiet:
            echo(f"({reply.facts})", err=True)
    return replies


def _answer_live(partners: Sequence[Partner], replies: Sequence[Reply], message: str) -> None:
    from rich.console import Console
    from rich.live import Live

    console = Console(highlight=False, markup=False)
    with Live(console=console, vertical_overflow="visible", refresh_per_second=10) as live:
        for partner, reply in zip(partners, replies, strict=True):
            for _ in _write(partner, reply, message):
                live.update(layout(replies, console.width))
        live.update(layout(replies, console.width))


def layout(replies: Sequence[Reply], width: int) -> RenderableType:
    """Replies in columns of equal width, or one below the other on a narrow terminal.

    Args:
        replies: what was written so far.
        width: columns of the terminal.
    """
    from rich.columns import Columns
    from rich.console import Group
    from rich.panel import Panel
    from rich.text import Text

    beside = width >= SIDE_BY_SIDE_COLUMNS
    each = (width - len(replies) + 1) // len(replies) if beside else width
    panels = [
        Panel(Text(printable(reply.text)), title=Text(printable(reply.model)), subtitle=Text(reply.facts), width=each)
        for reply in replies
    ]
    return Columns(panels, padding=(0, 1, 0, 0)) if beside else Group(*panels)
