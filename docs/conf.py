"""Settings of Sphinx: MyST for Markdown, Furo for the looks, nothing from the network."""

from __future__ import annotations

from graft import __version__

project = "Graft"
author = "the Graft authors"
copyright = "the Graft authors, Apache-2.0"
version = release = __version__

extensions = ["myst_parser"]
exclude_patterns = ["_build"]
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
nitpicky = True

html_theme = "furo"
html_title = f"Graft {release}"
html_show_sourcelink = False
html_copy_source = False
