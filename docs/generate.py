"""Write the pages that are made from the code, into docs/reference: recipe, command line, tasks, JSON schema.

Usage: ``python docs/generate.py [FOLDER]``. ``make docs`` runs it before Sphinx. No page needs torch.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import click
from jinja2 import Environment

from graft import sprout, tasks
from graft.cli.main import COMMANDS, cli
from graft.config.reference import json_schema, reference_markdown
from graft.tasks.words.pool import WordSets
from graft.tasks.words.split import package_sets
from graft.tasks.words.task import WordTask
from graft.types import Example

REFERENCE = Path(__file__).parent / "reference"
HELP_WIDTH = 100
SHOWN_WORDS = 50
"""Words that the examples of the task page are drawn from."""


def main(folder: Path = REFERENCE) -> list[Path]:
    """Write all pages.

    Returns:
        The files written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    pages = {
        "recipe.md": recipe_page(),
        "cli.md": cli_page(),
        "tasks.md": tasks_page(),
        "recipe.schema.json": json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n",
    }
    for name, text in pages.items():
        (folder / name).write_text(text, encoding="utf-8")
    return [folder / name for name in pages]


def recipe_page() -> str:
    """Every setting, and where the schema for editors is."""
    schema = (
        "For completion and checks in an editor: {download}`recipe.schema.json`, or `graft schema > recipe.schema.json`"
        " and, as the first line of a recipe, `# yaml-language-server: $schema=recipe.schema.json`."
    )
    return f"{reference_markdown().rstrip()}\n\n## JSON schema\n\n{schema}\n"


def cli_page() -> str:
    """The real help of every command."""
    parts = [
        "# Command line",
        "The help of every command as the program prints it. Exit codes: 0 when all went well, 2 after an error that "
        "you can mend, 130 after Ctrl-C.",
    ]
    for context in contexts():
        marks = "#" * min(3, context.command_path.count(" ") + 2)
        parts += [f"{marks} {context.command_path}", _block(context.command.get_help(context))]
    return "\n\n".join(parts) + "\n"


def contexts() -> Iterator[click.Context]:
    """The program, its commands and their sub-commands, each in the context in which it is called."""
    root = click.Context(cli, info_name="graft", terminal_width=HELP_WIDTH, **cli.context_settings)
    yield root
    for name in COMMANDS:
        command = cli.get_command(root, name)
        assert command is not None
        context = click.Context(command, info_name=name, parent=root, terminal_width=HELP_WIDTH)
        yield context
        if isinstance(command, click.Group):
            for inner in command.list_commands(context):
                part = command.get_command(context, inner)
                assert part is not None
                yield click.Context(part, info_name=inner, parent=context, terminal_width=HELP_WIDTH)


def tasks_page() -> str:
    """The card of every task, its phrasings counted, with real items."""
    words = package_sets(SHOWN_WORDS, SHOWN_WORDS, seed=0)
    parts = [
        "# Tasks",
        "Every task that a recipe can name; word tasks with one training item and one held-out item about packaged "
        "words. `graft tasks show NAME` prints more, and rows of datasets.",
    ]
    for name in tasks.names():
        card = tasks.card(name)
        facts = [f"Metric: {card.metric}.", f"Licence of the rows: {card.licence}.", f"Source: {card.source}."]
        parts += [f"## {name}", card.summary, " ".join(facts)]
        parts += [_PROSE] if name == "prose" else _dataset(name) if tasks.is_dataset(name) else _word_task(name, words)
    return "\n\n".join(parts) + "\n"


_PROSE = "Items: passages of about 400 characters of the files in `data.corpus`. One passage in twenty is held out."


def _dataset(name: str) -> Iterator[str]:
    card, labels = tasks.card(name), getattr(tasks.find(name), "labels", ())
    yield f"Rows: {card.size}." + (f" Labels: {', '.join(f'`{label}`' for label in labels)}." if labels else "")


def _word_task(name: str, words: WordSets) -> Iterator[str]:
    task = tasks.load(name, words)
    assert isinstance(task, WordTask)
    trained, held_out = (next(task.examples(split, limit=1, seed=0)) for split in ("train", "eval"))
    yield f"Phrasings: {len(task.train_phrasings)} to train, {len(task.heldout_phrasings)} held out."
    yield "In training, as the embedded model reads it (the part after the last line break is trained):"
    yield _block(rendered(trained))
    yield "Held out:"
    yield _block(f"{held_out.prompt}\n→ {held_out.gold}")


def rendered(example: Example) -> str:
    """One training example in the embedded model's chat template, without thinking."""
    template = (sprout.path() / "chat_template.jinja").read_text(encoding="utf-8")
    environment = Environment(trim_blocks=True, lstrip_blocks=True)
    turn = [{"role": "user", "content": example.prompt}]
    prompt = environment.from_string(template).render(messages=turn, add_generation_prompt=True, enable_thinking=False)
    return f"{prompt}{example.gold}<|im_end|>"


def _block(text: str) -> str:
    return f"```text\n{text.rstrip()}\n```"


if __name__ == "__main__":
    for path in main(*map(Path, sys.argv[1:2])):
        print(path)
