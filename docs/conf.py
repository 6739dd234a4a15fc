"""The site, from these pages and from the docstrings: ``sphinx-build -W --keep-going docs build/site``.

Docstrings are read, not imported. A name in single backticks in a docstring is a link (`default_role`); one that leads
nowhere is a warning, as is a link from page to page, and with ``-W`` a warning is an error.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import astroid
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
from patchgame_egg.lazy_names import homes  # noqa: E402

project = "patchgame_egg"
extensions = ["myst_parser", "sphinx.ext.napoleon", "autoapi.extension"]
html_theme = "furo"
html_title = project
html_show_copyright = False
html_copy_source = False
smartquotes = False  # would turn --seed into a dash
default_role = "any"
# Links to headings, as a forge has them.
myst_heading_anchors = 4
# Fields are listed by autoapi; what the docstring says of them is a list before, not a second entry of each.
napoleon_use_ivar = True
napoleon_numpy_docstring = False

PACKAGES = ("patchgame_egg", "analysis", "games")
autoapi_dirs = [str(ROOT / package) for package in PACKAGES]
autoapi_root = "api"
autoapi_template_dir = "templates"
autoapi_options = ["members", "undoc-members", "show-inheritance"]
autoapi_add_toctree_entry = False
# The title of a page says where its names are, a link where those of other pages are.
add_module_names = False
python_use_unqualified_type_names = True
# The headings of a page name what is on it. Every method in the sidebar of every page would double the time of a build.
toc_object_entries = False
exclude_patterns = ["templates"]
# autoapi does not see the names in `A, B = 1, 2`, and says so where they are imported.
suppress_warnings = ["autoapi.python_import_resolution"]

SOURCES = {path: path.read_text() for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))}
# astroid would read most of torch to learn what classes inherit, which is not shown, and take longer than all else.
IMPORTS = re.compile(r"^ *(?:import|from) ([\w.]+)", re.MULTILINE)
IMPORTED = {name for text in SOURCES.values() for name in IMPORTS.findall(text)}
# What Python brings it has to read, or it fails on named tuples.
_READ = {*PACKAGES, *sys.stdlib_module_names}
astroid.MANAGER.module_denylist.update(name for name in IMPORTED if name.split(".")[0] not in _READ)

# Package -> {a name that it hands on: where it is defined}; commands have no pages.
FACES = {
    ".".join(path.parent.relative_to(ROOT).parts): {
        name: f"{home}.{name}" for name, home in homes(text).items() if not home.endswith("__main__")
    }
    for path, text in SOURCES.items()
    if path.name == "__init__.py"
}


def autoapi_prepare_jinja_env(jinja_env) -> None:  # type: ignore[no-untyped-def]
    """Lets the page of a package list what it hands on."""
    jinja_env.globals["faces"] = FACES


def is_internal(app: Sphinx, what: str, name: str, item, skip: bool, options) -> bool:  # type: ignore[no-untyped-def]
    """What `__init__` puts into ``self``, without a type or a word about it, is nobody else's concern."""
    return skip or (what == "attribute" and not item.docstring and not item.annotation)


def keep_colons(app: Sphinx, what: str, name: str, item: None, options: None, lines: list[str]) -> None:
    """Types are in the signatures: "The loss, nats: the mean of both" has a colon and yet no type before it."""
    firsts = [i + 1 for i, line in enumerate(lines) if line.strip() in ("Returns:", "Yields:")]
    for i in [0] * (what in ("attribute", "data", "property")) + firsts:
        lines[i] = re.sub(r"(?=\S)", ": ", lines[i], count=1)


def link_to_modules(app: Sphinx, page: str, source: list[str]) -> None:
    """Where a page links to a module's file, the site has the module's page."""
    files = rf"\]\(\.\./((?:{'|'.join(PACKAGES)})/[\w/]+)\.py\)"
    source[0] = re.sub(files, r"](/api/\1/index.rst)", source[0])


def name_as_imported(app: Sphinx, env: BuildEnvironment) -> list[str]:
    """``patchgame_egg.Game``, as users import it, is an anchor too; it leads to where the class is described."""
    objects = env.domains.python_domain.objects
    for package, names in FACES.items():
        for name, home in names.items():
            objects[f"{package}.{name}"] = objects[home]._replace(aliased=True)
    return []


def open_one_branch(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: object) -> None:
    """The sidebar opens where the reader is. All of it on each of 200 pages would take as long as reading them."""
    if whole := context.get("toctree"):
        context["toctree"] = lambda **options: whole(**{**options, "collapse": True})


def setup(app: Sphinx) -> None:
    """Connects the functions above."""
    app.connect("autoapi-skip-member", is_internal)
    app.connect("autodoc-process-docstring", keep_colons, priority=400)  # before napoleon's, at 500
    app.connect("source-read", link_to_modules)
    app.connect("env-updated", name_as_imported)
    app.connect("html-page-context", open_one_branch, priority=400)  # before the theme's, at 500
