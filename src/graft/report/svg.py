"""One small chart as an SVG that sits in a page: real text, colours of the page, the same bytes every time."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from html import escape
from io import StringIO
from typing import Any

import matplotlib
from matplotlib.figure import Figure

WIDTH_POINTS = 320
"""Width of every panel: a phone in portrait shows it at its own size, so its letters stay readable."""

FONT_POINTS = 12

INK, FAINT, BAND = "#010203", "#040506", "#070809"
"""Placeholders that become the page's text, line and band colours, light or dark."""

_PAGE_COLOURS = {INK: "currentColor", FAINT: "var(--chart-line, #9aa0a6)", BAND: "var(--chart-band, #e8eaed)"}

_FONTS = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"

_STANDALONE = (
    "<style>svg{color:#1f2328;background:#fff}"
    "@media (prefers-color-scheme:dark){"
    "svg{color:#e6e8eb;background:#16181c;--chart-line:#6b7280;--chart-band:#2a2e35}}"
    "</style>"
)

_SETTINGS: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "graft",
    "text.parse_math": False,
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": FONT_POINTS,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.edgecolor": FAINT,
    "axes.linewidth": 0.8,
    "axes.labelcolor": INK,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": FAINT,
    "grid.linewidth": 0.5,
    "grid.alpha": 0.45,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "lines.linewidth": 1.8,
    "legend.frameon": False,
}


def draw_panel(name: str, label: str, height: float, draw: Callable[[Any], None]) -> str:
    """Draw one chart.

    Args:
        name: unique on the page; prefix of all ids inside.
        label: what the chart shows, for readers who do not see it.
        height: in points.
        draw: draws on the axes it gets.

    Returns:
        The ``<svg>`` element.
    """
    with matplotlib.rc_context(_SETTINGS), warnings.catch_warnings():
        # A level may hold letters the layout font lacks; the browser has them.
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        figure = Figure(figsize=(WIDTH_POINTS / 72, height / 72), layout="constrained")
        draw(figure.add_subplot())
        buffer = StringIO()
        empty = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(buffer, format="svg", transparent=True, metadata=empty)
    return _for_page(buffer.getvalue(), name, label)


def standalone(svg: str) -> str:
    """The same chart as a file of its own, with a background."""
    return re.sub(r"(<svg[^>]*>)", lambda match: match[1] + _STANDALONE, svg, count=1) + "\n"


def _for_page(text: str, name: str, label: str) -> str:
    svg = text[text.index("<svg") :].strip()
    svg = re.sub(r"<metadata>.*?</metadata>\s*", "", svg, flags=re.DOTALL)
    # Ids are unique within one chart only, and a page holds many.
    svg = re.sub(r'\bid="([^"]+)"', rf'id="{name}-\1"', svg)
    svg = re.sub(r'href="#([^"]+)"', rf'href="#{name}-\1"', svg)
    svg = re.sub(r"url\(#([^)]+)\)", rf"url(#{name}-\1)", svg)
    svg = re.sub(r"font: ([\d.]+)px [^;\"]*", rf"font: \1px {_FONTS}", svg)
    for placeholder, colour in _PAGE_COLOURS.items():
        svg = svg.replace(placeholder, colour)
    head = f'<svg role="img" aria-label="{escape(label)}"'
    svg = re.sub(r'(<svg[^>]*?) width="[^"]*pt"', r"\1", svg, count=1)
    svg = re.sub(r'(<svg[^>]*?) height="[^"]*pt"', r"\1", svg, count=1)
    return svg.replace("<svg", head, 1)
