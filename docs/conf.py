"""Sphinx: furo, MyST pages, signatures and docstrings of the package, a card for each balancing method."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import cards
from sphinx.ext.napoleon import GoogleDocstring

import polytask

project = "polytask"
author = "The polytask developers"
release = version = polytask.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
]
exclude_patterns = ["_build"]
nitpicky = False

html_theme = "furo"
html_title = f"polytask {release}"
html_show_copyright = False

myst_enable_extensions = ["colon_fence", "deflist", "dollarmath", "fieldlist"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented_params"
autodoc_class_signature = "mixed"
autodoc_default_options = {"members": True}
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_use_rtype = False

# Shapes such as Float[Tensor, "K P"] are strings to Python and would be looked up as names.
suppress_warnings = ["sphinx_autodoc_typehints.forward_reference"]

cards.write(Path(__file__).parent / "generated")


def _keep_bars(app, what, name, thing, options, lines) -> None:
    """A formula's |x| is an absolute value; reStructuredText would take it for a substitution."""
    for number, line in enumerate(lines):
        if "|" in line and not line.lstrip().startswith((">>>", "...", "+-", ".. ")):
            parts = line.split("``")
            lines[number] = "``".join(
                part.replace("|", r"\|") if place % 2 == 0 else part for place, part in enumerate(parts)
            )


def _whole(docstring: GoogleDocstring) -> tuple[str, list[str]]:
    """A property's docstring is a sentence, not "type: description" as napoleon would read one with a colon."""
    return "", GoogleDocstring(docstring._consume_to_end(), docstring._config).lines()


def setup(app) -> None:
    """Hook into Sphinx."""
    GoogleDocstring._consume_inline_attribute = _whole
    app.connect("autodoc-process-docstring", _keep_bars)
