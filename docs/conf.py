"""Sphinx: `sphinx-build -W -d build/doctrees -c docs . build/site` in the root, with the extra `docs` installed.

The pages lie where GitHub shows them, and are read as they are. Two lists in them become more on the site: the links of
index.md its table of contents, and the modules of api.md their reference.
"""

import inspect
import re
from importlib import import_module

import squeezeops

project = "squeezeops"
version = release = squeezeops.__version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "numpydoc"]
root_doc = "docs/index"
source_suffix = {".md": "markdown"}
include_patterns = ["*.md", "docs/*.md", "squeezeops/models/*/*.md"]
myst_heading_anchors = 4  # by GitHub's rule
autosummary_generate = False
numpydoc_show_class_members = False  # autodoc shows them
autodoc_typehints = "none"  # the docstrings have the types
autodoc_member_order = "bysource"
default_role = "py:obj"  # a name in a docstring leads to its entry
html_theme = "furo"
html_title = f"squeezeops {release}"
html_copy_source = False


def contents(page: str) -> str:
    """Return the table of contents: for each section of the index, the pages that its list links first."""
    parts = []
    for section in re.split(r"^## ", page, flags=re.MULTILINE)[1:]:
        caption, _, body = section.partition("\n")
        pages = re.findall(r"^(?:\* |\| )\[[^]]+\]\(([^)#]+)\.md\)", body, re.MULTILINE)
        parts += ["```{toctree}", ":hidden:", f":caption: {caption}", *pages, "```"]
    return "\n".join(parts)


def reference(page: str) -> str:
    """Return what the modules of the page about the API document."""
    parts, seen = [], []
    for name in re.findall(r"^\| \[`([\w.]+)`\]", page, re.MULTILINE):
        module = import_module(name)
        parts += [f"## {name}", "```{eval-rst}", f".. automodule:: {name}", "   :no-members:", ""]
        parts += [f".. currentmodule:: {name}", ""]
        for member in module.__all__:
            value = getattr(module, member)
            if value in seen:
                continue
            seen.append(value)
            if inspect.isclass(value):
                parts += [f".. autoclass:: {member}", "   :members:", "   :special-members: __call__", ""]
            elif callable(value):
                parts += [f".. autofunction:: {member}", ""]
        parts.append("```")
    return "\n".join(parts)


def extend(app, page, source):
    more = {"docs/index": contents, "docs/api": reference}.get(page)
    if more:
        source[0] += "\n" + more(source[0])


def redirect(app, exception):
    """Let the folder of the site open its first page."""
    if exception is None and app.builder.format == "html":
        (app.outdir / "index.html").write_text('<meta http-equiv="refresh" content="0; url=docs/index.html">\n')


def setup(app):
    app.connect("source-read", extend)
    app.connect("build-finished", redirect)
