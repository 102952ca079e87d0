"""The page in a real browser; skipped where there is none."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from graft.report.html import write_report

NAMES = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = os.environ.get("GRAFT_CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--allow-file-access-from-files",
)

pytestmark = pytest.mark.skipif(
    not CHROMIUM, reason=f"no browser: none of {', '.join(NAMES)} on PATH and GRAFT_CHROMIUM not set"
)

PROBE = """<script>
var form = document.getElementById("filter");
form.elements.task.value = "count"; form.elements.outcome.value = "lost";
form.dispatchEvent(new Event("input"));
document.body.dataset.lost = document.documentElement.dataset.filter;
document.body.dataset.visible = document.querySelectorAll("details.item:not([hidden])").length;
form.elements.task.value = ""; form.elements.outcome.value = ""; form.elements.text.value = "document.TITLE=";
form.dispatchEvent(new Event("input"));
document.body.dataset.hostile = document.documentElement.dataset.filter;
document.querySelectorAll("details").forEach(function (item) { item.open = true; });
form.elements.text.value = ""; form.dispatchEvent(new Event("input"));
document.body.dataset.width = innerWidth + " " + document.documentElement.scrollWidth;
</script>"""


def browse(page: Path, profile: Path, *flags: str) -> str:
    command = [str(CHROMIUM), *FLAGS, f"--user-data-dir={profile}", *flags, "--dump-dom", page.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=90, check=True)
    return done.stdout


def attribute(dom: str, name: str) -> str:
    match = re.search(rf'<body[^>]* data-{name}="([^"]*)"', dom)
    assert match, f"the page has no data-{name}: its script did not run"
    return match[1]


def framed(page: Path, onload: str, sandbox: str = "") -> Path:
    """A document that holds the page in a frame as wide as a phone, and looks into it once it is loaded.

    A window cannot be that narrow; a frame can, and a sandboxed one runs no scripts.
    """
    frame = page.with_name("frame.html")
    frame.write_text(
        f'<iframe src="{page.name}" {sandbox} style="width:390px;height:800px;border:0" onload="{onload}"></iframe>'
    )
    return frame


@pytest.fixture(scope="module")
def probed(example: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """What a script in the page noted after it used the filters."""
    folder = tmp_path_factory.mktemp("browser")
    page = folder / "page.html"
    page.write_text(write_report(example).read_text().replace("</body>", PROBE + "</body>"))
    notes = "Object.assign(document.body.dataset, contentDocument.body.dataset, {title: contentDocument.title})"
    return browse(framed(page, notes), folder / "profile")


def test_the_filters_show_what_they_say(probed: str, example: Path) -> None:
    shown = int(attribute(probed, "lost"))
    assert shown == int(attribute(probed, "visible")) > 0
    items = (example / "report.html").read_text().split('<details class="item"')[1:]
    assert int(attribute(probed, "hostile")) == sum("document.title=" in item for item in items) > 0


def test_no_reply_runs_as_a_script(probed: str, example: Path) -> None:
    assert attribute(probed, "title") == f"{example.name} · Graft report"


def test_the_page_is_never_wider_than_a_phone(probed: str) -> None:
    window, page = map(int, attribute(probed, "width").split())
    assert window == 390 and page <= window


def test_everything_is_there_without_scripts(example: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text(write_report(example).read_text().replace("</body>", PROBE + "</body>"))
    notes = (
        "var d = contentDocument, all = Array.from(d.querySelectorAll('details.item'));"
        "document.body.dataset.probe = String(d.body.dataset.lost);"
        "document.body.dataset.form = d.getElementById('filter').offsetHeight;"
        "document.body.dataset.items = all.filter(function (item) { return item.offsetHeight > 20; }).length;"
    )
    dom = browse(framed(page, notes, sandbox='sandbox="allow-same-origin"'), tmp_path / "profile")
    assert attribute(dom, "probe") == "undefined"
    assert attribute(dom, "form") == "0"
    assert attribute(dom, "items") == str(page.read_text().count('<details class="item"'))
