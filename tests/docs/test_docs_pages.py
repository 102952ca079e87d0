"""The pages hold together: every page is reachable, every path exists, the generated ones leave nothing out."""

from __future__ import annotations

import importlib.util
import json
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from doc_blocks import DOCS, PAGES, ROOT, TO_BE_MADE, blocks, prose

from graft import tasks
from graft.cli.main import COMMANDS
from graft.config.keys import entry_settings, settings
from graft.config.reference import json_schema

TOP = {path.name for path in ROOT.iterdir()}


@pytest.fixture(scope="module")
def generate() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_generate", DOCS / "generate.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def reference(generate: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = tmp_path_factory.mktemp("reference")
    generate.main(folder)
    return folder


def test_the_reference_has_every_setting(reference: Path) -> None:
    page = (reference / "recipe.md").read_text(encoding="utf-8")
    for key in settings():
        assert f"`{key}`" in page
    for key in entry_settings():
        head, _, tail = key.rpartition(".")
        assert f"`{head}[].{tail}`" in page


def test_the_schema_for_editors_is_the_schema(reference: Path) -> None:
    assert json.loads((reference / "recipe.schema.json").read_text(encoding="utf-8")) == json_schema()


def test_the_reference_has_every_command_with_its_help(reference: Path) -> None:
    page = (reference / "cli.md").read_text(encoding="utf-8")
    for name, entry in COMMANDS.items():
        assert f"### graft {name}\n" in page
        assert entry.help in page
    assert "### graft runs delete\n" in page
    assert "-h, --help" in page


def test_the_reference_has_every_task_with_real_items(reference: Path) -> None:
    page = (reference / "tasks.md").read_text(encoding="utf-8")
    for name in tasks.names():
        assert f"## {name}\n" in page
        assert tasks.card(name).summary in page
    assert page.count("<|im_start|>user\n") == sum(map(tasks.is_word_task, tasks.names()))


def test_every_page_is_in_a_toctree() -> None:
    reached = set()
    todo = [DOCS / "index.md"]
    while todo:
        page = todo.pop()
        reached.add(page)
        todo += [target for target in toctree(page) if target not in reached and target.is_file()]
    written = {path for path in PAGES if DOCS in path.parents}
    assert written <= reached
    generated = {target for page in reached if page.is_file() for target in toctree(page)} - written
    assert generated == {DOCS / "reference" / name for name in ("recipe.md", "cli.md", "tasks.md")}


def toctree(page: Path) -> Iterator[Path]:
    for block in blocks(page):
        if block.kind == "toctree":
            yield from (page.parent / f"{line.strip()}.md" for line in block.text.splitlines() if line.strip())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_and_path_on_a_page_exists(page: Path) -> None:
    missing = [link for link in links(page) if not exists(page.parent / link)]
    missing += [path for path in named_paths(page) if path not in TO_BE_MADE and not exists(ROOT / path)]
    assert not missing


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_anchor_that_a_link_names_is_a_heading(page: Path) -> None:
    for target, anchor in re.findall(r"\]\(([^)#\s]*)#([^)\s]+)\)", prose(page)):
        text = (page.parent / target if target else page).read_text(encoding="utf-8")
        headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
        assert anchor in [re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings]


def links(page: Path) -> list[str]:
    found = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", prose(page))
    found += [block.argument for block in blocks(page) if block.kind == "literalinclude"]
    return [link for link in found if not link.startswith("http")]


def named_paths(page: Path) -> Iterator[str]:
    """Code that reads like a path of the repository: `src/graft/cli`, `constraints.txt`, and the tree of the README."""
    for code in re.findall(r"`([^`\s]+)`", prose(page)):
        if code.partition("/")[0] in TOP and ("/" in code or "." in code) and not re.search(r"[<>*{…]|[A-Z]{4}/", code):
            yield code
    for block in blocks(page):
        if block.kind == "text" and re.search(r"^src/graft/$", block.text, re.MULTILINE):
            yield from tree(block.text)


def tree(text: str) -> Iterator[str]:
    """The paths of an indented tree, two spaces a level."""
    parents: list[str] = []
    for line in text.splitlines():
        name = line.split()[0]
        depth = (len(line) - len(line.lstrip())) // 2
        parents[depth:] = [name]
        yield "".join(parents)


def exists(path: Path) -> bool:
    """The file is there, or it is made by `make docs`."""
    return path.exists() or path.resolve().parent == DOCS / "reference" or path.resolve() == DOCS / "_build" / "html"


def test_the_tree_of_the_readme_names_every_room() -> None:
    shown = set(named_paths(ROOT / "README.md"))
    rooms = {
        f"src/graft/{path.name}/" for path in (ROOT / "src" / "graft").iterdir() if (path / "__init__.py").is_file()
    }
    assert rooms <= shown


def test_the_readme_begins_with_one_sentence_and_the_two_commands() -> None:
    title, sentence, commands, *_ = (ROOT / "README.md").read_text(encoding="utf-8").split("\n\n")
    assert title == "# Graft"
    assert sentence.count(".") == 1
    assert [line.split("#")[0].strip() for line in commands.splitlines()[1:3]] == ["make quickstart", "make test"]
