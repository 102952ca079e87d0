import json
import re
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import pytest
from run_builder import HOSTILE, RunBuilder

from graft.report.html import write_report


class Page(HTMLParser):
    """Collects tags, ids and links of a page and checks that tags close in order."""

    VOID = frozenset({"meta", "input", "br", "img", "link", "path", "use", "rect"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self.open.pop() == tag


@pytest.fixture(scope="module")
def text(example: Path) -> str:
    return write_report(example).read_text()


@pytest.fixture(scope="module")
def page(text: str) -> Page:
    return Page(text)


def test_the_page_is_well_formed_and_every_link_has_its_target(page: Page) -> None:
    assert page.open == []
    ids = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    links = [str(attrs["href"])[1:] for tag, attrs in page.tags if tag == "a"]
    labels = [str(attrs["aria-labelledby"]) for _, attrs in page.tags if "aria-labelledby" in attrs]
    assert links and set(links) | set(labels) <= set(ids)


def test_the_page_asks_no_network_for_anything(page: Page, text: str) -> None:
    policy = next(attrs["content"] for tag, attrs in page.tags if attrs.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None and policy.startswith("default-src 'none';")
    for tag, attrs in page.tags:
        assert tag not in {"link", "iframe", "img", "object"}
        assert "src" not in attrs
        assert not any(name.startswith("on") for name in attrs), tag
    assert "@import" not in text and not re.search(r"url\((?!#)", text)


def test_a_reply_cannot_become_markup(page: Page, text: str) -> None:
    assert text.count("<script") == 1 and text.count("</script") == 1
    assert HOSTILE[:30] not in text
    assert "&lt;script&gt;document.title=" in text and "&lt;/script&gt;" in text
    assert "\u202e" not in text and "\x00" not in text


def test_the_headline_comes_first_with_its_labels(text: str, example: Path) -> None:
    study = json.loads((example / "verdict.json").read_text())["study"]
    first = text[text.index("<h1>") : text.index("<nav")]
    assert study["headline"] in first and study["verdict"] in first
    assert "exploratory: 2 of 5 seeds" in first
    assert "Smallest detectable effect" in first and "position 2.8 points (150 items)" in first


def test_sections_stand_in_the_order_of_the_argument(page: Page) -> None:
    ids = [attrs["id"] for tag, attrs in page.tags if tag == "h2"]
    assert ids == [
        "result", "change", "accuracy", "loss", "strata", "phrasing", "seen", "scores", "seeds", "strata-tables",
        "items", "audit", "method", "glossary",
    ]  # fmt: skip


def test_tables_and_charts_are_accessible(page: Page) -> None:
    tags = [tag for tag, _ in page.tags]
    assert page.tags[0] == ("html", {"lang": "en"})
    assert tags.count("table") == tags.count("caption") > 5
    assert all("scope" in attrs for tag, attrs in page.tags if tag == "th")
    assert all(attrs.get("aria-label") for tag, attrs in page.tags if tag == "svg")
    levels = [int(tag[1]) for tag in tags if re.fullmatch(r"h\d", tag)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(later - earlier <= 1 for earlier, later in pairwise(levels))


def test_audit_recipe_and_provenance_are_shown(text: str) -> None:
    for part in ("berry · strawberry", "9,000", "# recipe: recipes/quickstart.yaml", "9f2c1d7e", "2.11.0"):
        assert part in text
    assert "graft run runs/2026-11-20_14h32m_sprout_spelling_sft_bs96_lora-r16_steps280/recipe.yaml" in text


def test_the_page_names_the_run_and_stays_small(page: Page, text: str, example: Path) -> None:
    assert f"<title>{example.name} · Graft report</title>" in text
    assert len(text.encode()) < 3_000_000


def test_the_same_run_gives_the_same_page(example: Path, text: str) -> None:
    assert write_report(example).read_text() == text


def test_a_plain_training_shows_what_there_is(build: RunBuilder) -> None:
    text = write_report(build(study=False, words=40)).read_text()
    assert "no verdict" in text and "no study was made, so nothing is claimed about other tasks" in text
    assert 'id="accuracy"' in text and 'id="items"' in text and 'id="seeds"' not in text


def test_a_run_that_failed_says_so(build: RunBuilder) -> None:
    folder = build(study=False, words=20)
    (folder / "run.json").write_text(json.dumps({"status": "interrupted", "message": "stopped <by> hand"}))
    assert "This run is interrupted: the report shows what was written until then. stopped &lt;by&gt; hand" in (
        write_report(folder).read_text()
    )


def test_an_invalid_study_gives_its_reasons(build: RunBuilder) -> None:
    folder = build(words=60)
    verdict = json.loads((folder / "verdict.json").read_text())
    verdict["study"] |= {"verdict": "invalid", "reasons": ["leak audit: 3 words in both"], "audit_ok": False}
    (folder / "verdict.json").write_text(json.dumps(verdict))
    (folder / "audit.json").write_text(json.dumps({"ok": False, "reasons": ["3 words in both"], "exact": {"count": 3}}))
    text = write_report(folder).read_text()
    assert "Why: leak audit: 3 words in both." in text
    assert re.search(r'v-invalid">Not passed</strong>: 3 words in both', text)


def test_what_was_told_of_the_data_stands_in_the_report(build: RunBuilder) -> None:
    path = build()
    (path / "preflight.json").write_text(
        json.dumps({"warnings": ["mine: 3 of 9 rows <left> out"], "notes": ["mine: id"]})
    )
    text = write_report(path).read_text()
    assert "<li>mine: 3 of 9 rows &lt;left&gt; out</li>" in text and "<li>mine: id</li>" in text
    assert 'href="#data"' in text
