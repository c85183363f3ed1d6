"""
Sphinx: `nox -s docs` builds into build/docs, and a warning is an error.
"""

import logging
import re
from importlib.metadata import version as version_of

project = "coatcheck"
author = "The coatcheck developers"
copyright = "The coatcheck developers"  # noqa: A001 - Sphinx's name
version = release = version_of("coatcheck")

extensions = ["myst_parser", "sphinx.ext.autodoc"]
html_theme = "furo"
html_title = f"coatcheck {release}"

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

default_role = "code"  # docstrings write `name`, as everybody does
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
add_module_names = False


def separate(_app, _what, _name, _obj, _options, lines):
    """
    Let docstrings write `BackendError`s, which reStructuredText takes for unfinished.
    """
    lines[:] = [re.sub(r"(`[^`]+`)(?=\w)", r"\1\\ ", line) for line in lines]


def arguments(_app, _what, _name, _obj, _options, lines):
    """
    Make fields of an "Args:" section. Not napoleon: it takes "The queue: as stored" of a
    property for a type and its description.
    """
    inside = False
    for number, line in enumerate(lines):
        inside = line == "Args:" or (inside and (not line or line.startswith("    ")))
        if line == "Args:":
            lines[number] = ""
        elif inside:
            lines[number] = re.sub(r"^(\w+):", r":param \1:", line[4:])


def setup(app):
    """
    Connect what is above.
    """
    app.connect("autodoc-process-docstring", separate)
    app.connect("autodoc-process-docstring", arguments)
    # A chapter may have no page yet. Sphinx gives this warning no type to suppress it by.
    logging.getLogger("sphinx.sphinx.directives.other").addFilter(
        lambda record: "toctree glob pattern" not in str(record.msg)
    )
