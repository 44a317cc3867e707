"""Sphinx: furo, MyST pages, signatures and docstrings of the package, a card for each balancing method."""

import re
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
exclude_patterns = ["_build", "tables"]
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

# A shape given as "(tasks, features)" is looked up as if these were names of types.
suppress_warnings = ["ref.python"]

cards.write(Path(__file__).parent / "generated")


def _as_written(app, what, name, thing, options, lines) -> None:
    """Keep what reStructuredText would read otherwise: |x| is an absolute value, and literals may touch a letter."""
    in_example = False
    for number, line in enumerate(lines):
        in_example = line.lstrip().startswith(">>>") or (in_example and bool(line.strip()))
        if in_example or line.lstrip().startswith(".. ") or line.count("``") % 2:
            continue
        parts = line.split("``")
        for place in range(0, len(parts), 2):
            text = parts[place].replace("|", r"\|")
            after = "\\ " if place > 0 and text[:1].isalnum() else ""
            before = "\\ " if place < len(parts) - 1 and text[-1:].isalnum() else ""
            parts[place] = after + text + before
        lines[number] = "``".join(parts)


def _whole(docstring: GoogleDocstring) -> tuple[str, list[str]]:
    """A property's docstring is a sentence, not "type: description" as napoleon would read one with a colon."""
    return "", GoogleDocstring(docstring._consume_to_end(), docstring._config).lines()


def _skip(app, what, name, thing, skip, options) -> bool | None:
    """Leave out what scikit-learn adds to every estimator; it is documented there."""
    return True if re.fullmatch(r"set_\w+_request|get_metadata_routing", name) else None


def setup(app) -> None:
    """Hook into Sphinx."""
    GoogleDocstring._consume_inline_attribute = _whole
    app.connect("autodoc-process-docstring", _as_written)
    app.connect("autodoc-skip-member", _skip)
