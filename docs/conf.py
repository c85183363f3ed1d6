"""
Sphinx: `nox -s docs` builds into build/docs, and a warning is an error.
"""

import logging
import re
import sys
from importlib.metadata import version as version_of
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

import generate  # noqa: E402
from sphinx import addnodes  # noqa: E402
from sphinx.domains.python import PyXRefRole  # noqa: E402
from sphinx.roles import code_role  # noqa: E402

import coatcheck  # noqa: E402

project = "coatcheck"
author = "The coatcheck developers"
copyright = "The coatcheck developers"  # noqa: A001 - Sphinx's name
version = release = version_of("coatcheck")

extensions = ["myst_parser", "sphinx.ext.autodoc"]
html_theme = "furo"
html_title = f"coatcheck {release}"

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

default_role = "named"  # docstrings write `name`, as everybody does

# A reference to nothing is a warning, except to the standard library and to private names.
nitpicky = True
nitpick_ignore_regex = [
    (
        "py:class",
        r"(_asyncio|collections|contextlib|datetime|pathlib|socket|ssl|threading)(\..*)?|coatcheck\._.*|[A-Z]",
    ),
    ("py:class", r"Executor|Named|Reader|Registry|Revive|Ts|(Aio|Sync)Background"),
    ("py:obj", ".*"),  # `named`
]
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
add_module_names = False
exclude_patterns = ["reference/generated"]
html_static_path = ["static"]
html_css_files = ["coatcheck.css"]
html_favicon = "static/favicon.svg"
html_theme_options = {
    "light_css_variables": {"color-brand-primary": "#0b5cad", "color-brand-content": "#0b5cad"},
    "dark_css_variables": {"color-brand-primary": "#79c0ff", "color-brand-content": "#79c0ff"},
}


def named(_name, rawtext, text, *where):
    """
    Link a name in backticks to its entry, if there is one. Everything else is code.
    """
    if re.fullmatch(r"[A-Za-z_][\w.]*(\(\))?", text):
        module = where[1].document.settings.env.ref_context.get("py:module", "")
        if text.partition(".")[0] in coatcheck.__all__ and not hasattr(
            sys.modules.get(module), text
        ):
            text = f"{text} <coatcheck.{text}>"
        return PyXRefRole()("py:obj", rawtext, text, *where)
    return code_role("code", rawtext, text, *where)


def separate(_app, _what, _name, _obj, _options, lines):
    """
    Let docstrings write `BackendError`s, which reStructuredText takes for unfinished.
    """
    lines[:] = [re.sub(r"(``.+?``|`[^`]+`)(\w?)", apart, line) for line in lines]


def apart(found):
    """
    Return a piece of code, apart from the letter after it.
    """
    code, letter = found.groups()
    return f"{code}\\ {letter}" if letter else code


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


def without_objects(_app, _domain, _kind, content):
    """
    Leave out values such as `<Codec object>`, which tell a reader nothing.
    """
    for note in list(content.parent.findall(addnodes.desc_annotation)):
        if note.astext().endswith(" object>"):
            note.parent.remove(note)


def write_llms(app, exception):
    """
    Write llms.txt: the title and the address of each page, for programs that read them.
    """
    if exception is not None or app.builder.format != "html":
        return
    titles = app.env.titles
    pages = [name for name in sorted(titles) if not name.startswith("changes/")]
    lines = [f"- [{titles[name].astext()}]({name}.html)" for name in pages]
    head = "# coatcheck\n\n> Stores the results of background work and hands them to whoever waits for them."
    text = "\n".join([head, "", "## Pages", "", *lines, ""])
    (Path(app.outdir) / "llms.txt").write_text(text, encoding="utf-8")


def setup(app):
    """
    Write the generated parts, and connect the functions above.
    """
    generate.write(HERE / "reference" / "generated")
    app.add_role("named", named)
    app.connect("autodoc-process-docstring", separate)
    app.connect("autodoc-process-docstring", arguments)
    app.connect("object-description-transform", without_objects)
    app.connect("build-finished", write_llms)
    # A chapter may have no page yet. Sphinx gives this warning no type to suppress it by.
    logging.getLogger("sphinx.sphinx.directives.other").addFilter(
        lambda record: "toctree glob pattern" not in str(record.msg)
    )
