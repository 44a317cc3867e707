"""Sphinx: furo, MyST pages, signatures and docstrings of the package, a card for each balancing method."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import cards

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
autodoc_default_options = {"members": True, "show-inheritance": True}
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_use_rtype = False

# Shapes such as Float[Tensor, "K P"] are strings to Python and would be looked up as names.
suppress_warnings = ["sphinx_autodoc_typehints.forward_reference"]

cards.write(Path(__file__).parent / "generated")
