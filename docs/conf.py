"""How Sphinx makes the site of these pages; `make docs` calls it."""

import re
import sys
import tomllib
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "_site"))

core = tomllib.loads((HERE.parent / "packages/flash-core/pyproject.toml").read_text())["project"]

project = "Flash"
author = core["authors"][0]["name"]
copyright = author  # noqa: A001 — Sphinx's name for it.
version = release = core["version"]
language = "en"

extensions = [
    "attribute_comments",
    "command_lines",
    "links_to_the_repository",
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx_copybutton",
]
root_doc = "index"
# README.md is what a code-hosting site shows for this folder; index.md includes it.
exclude_patterns = ["README.md"]
repository = core["urls"]["Repository"]

# Tests check what leads to files of the repository.
linkcheck_ignore = [rf"{re.escape(repository)}\b.*", r"http://127\.0\.0\.1\b.*"]

# -- Markdown

# `live.md#operating` leads to the heading, as on a code-hosting site.
myst_heading_anchors = 4
myst_links_external_new_tab = False

# -- the reference

# In docstrings, single backticks hold names. One that is in the reference becomes a link.
default_role = "py:obj"
# Some names stand in two packages (`Node`, `Connection`); a docstring need not say which.
suppress_warnings = ["ref.python"]
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True}
autodoc_typehints_format = "short"
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 88
toc_object_entries_show_parents = "hide"

# -- the pages

html_theme = "furo"
html_title = f"Flash {version}"
html_copy_source = False
html_theme_options = {"source_view_link": f"{repository}/blob/main/docs/{{filename}}"}
# `$ ` is a prompt, not a part of the command.
copybutton_prompt_text = "$ "
