"""Writes ``docs/reference.md`` from the docstrings, without importing the packages; ``--check`` only compares."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import griffe

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "reference.md"
PACKAGES = ("patchgame_egg", "games", "analysis")
INTRODUCTION = """# Reference

Every public name, from the docstrings, by `python docs/reference.py`. How the parts work together:
[the journey of one batch](journey.md). How to use them: [playing games](games.md).
"""


def modules() -> Iterator[griffe.Module]:
    """The public modules, by package and name."""
    # "The loss, nats: the mean of both" has a colon and yet no name before it.
    options: griffe.GoogleOptions = {"returns_named_value": False, "returns_multiple_items": False}
    for package in PACKAGES:
        found = griffe.load(
            package, search_paths=[ROOT], docstring_parser=griffe.Parser.google, docstring_options=options
        )
        yield from inside(found)


def inside(package: griffe.Module) -> Iterator[griffe.Module]:
    """The modules of a package and of those in it, by name; packages themselves only hand names on."""
    for _, module in sorted(package.modules.items()):
        if isinstance(module, griffe.Module):
            yield from inside(module) if module.is_package or module.is_subpackage else [module]


def public(owner: griffe.Module | griffe.Class) -> list[griffe.Object]:
    """Names defined here, not imported, in the order of the source; special methods only if they are documented."""
    own = [m for m in owner.members.values() if isinstance(m, griffe.Object) and not m.is_module]
    return [m for m in own if not m.name.startswith("_") or (m.name.endswith("__") and m.docstring)]


def signature(name: str, item: griffe.Class | griffe.Function) -> str:
    """As in the source, a parameter a line where it is long."""
    parts: list[str] = []
    for p in item.parameters:
        stars = {"variadic positional": "*", "variadic keyword": "**"}.get(p.kind.value if p.kind else "", "")
        if p.kind is griffe.ParameterKind.keyword_only and not any(x.startswith("*") for x in parts):
            parts.append("*")
        default = "" if p.default is None or stars else f" = {p.default}"
        parts += [f"{stars}{p.name}: {p.annotation}{default}"] if p.name != "self" else []
    end = f" -> {item.returns}" if isinstance(item, griffe.Function) else ""
    line = f"{name}({', '.join(parts)}){end}"
    return line if len(line) <= 100 else f"{name}(\n" + "".join(f"    {part},\n" for part in parts) + f"){end}"


def prose(item: griffe.Object) -> str:
    """A docstring in Markdown: its sections become lists."""
    out: list[str] = []
    for section in item.docstring.parsed if item.docstring else ():
        kind, value = section.kind.value, section.value
        if kind == "text":
            out.append(value)
        elif kind == "admonition":
            out.append(f"**{section.title}**\n\n```pycon\n{value.contents}\n```")
        else:
            lines = []
            for entry in value:
                name = f"`{entry.name}`: " if getattr(entry, "name", None) else ""
                if kind == "raises" or isinstance(entry.annotation, str):
                    name = f"`{entry.annotation}`: " if kind == "raises" else f"{entry.annotation}: "
                lines.append(f"- {name}{' '.join(entry.description.split())}")
            out.append(f"**{kind.capitalize()}**\n\n" + "\n".join(lines))
    return "\n\n".join(out)


def described(item: griffe.Class) -> Iterator[str]:
    """A class: how to make one, what it is, its documented fields and methods."""
    methods = [m for m in public(item) if isinstance(m, griffe.Function)]
    # What a base class lets others fill in says by its signature what it is; an override says nothing new.
    hooks = [m for m in methods if not m.docstring and (m.name == "forward" or not item.bases)]
    head = signature(f"class {item.name}", item).replace("()", "") + ":" * bool(hooks)
    lines = "\n".join([head, *("    " + signature(f"def {m.name}", m).replace("\n", "\n    ") for m in hooks)])
    yield f"```py\n{lines}\n```\n\n{prose(item)}"
    fields = [(m.name, m.docstring.value) for m in public(item) if m.is_attribute and m.docstring]
    yield "\n".join(f"- `{name}`: {' '.join(text.split())}" for name, text in fields)
    for m in methods:
        if m.docstring:
            yield f"```py\n{signature(f'{item.name}.{m.name}', m)}\n```\n\n{prose(m)}"


def page() -> str:
    """The whole page: contents, then a section a module and a heading a name."""
    contents: list[str] = []
    body: list[str] = []
    seen = {"reference": 1}

    def heading(level: int, text: str) -> str:
        body.append(f"{'#' * level} {text}")
        slug = re.sub(r"[^\w\- ]", "", text.lower())
        seen[slug] = seen.get(slug, 0) + 1
        return f"[{text}](#{slug}{f'-{seen[slug] - 1}' if seen[slug] > 1 else ''})"

    for module in modules():
        line, names = heading(2, module.path), list[str]()
        file = Path(str(module.filepath)).relative_to(ROOT).as_posix()
        body.append(f"[{file}](../{file})\n\n{prose(module)}")
        for item in public(module):
            if isinstance(item, griffe.Class):
                names.append(heading(3, item.name))
                body.extend(described(item))
            elif isinstance(item, griffe.Function):
                names.append(heading(3, item.name))
                body.append(f"```py\n{signature(item.name, item)}\n```\n\n{prose(item)}")
            elif item.docstring:
                body.append(f"`{item.name}`: {prose(item)}")
        contents.append(f"- {line}: {', '.join(names)}")
    return "\n\n".join([f"{INTRODUCTION}\n" + "\n".join(contents), *(part.strip() for part in body if part)]) + "\n"


def main(argv: Sequence[str] | None = None) -> int:
    """Writes the page, or with ``--check`` returns 1 if the one on disk is another."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 if the page is out of date")
    new = page()
    if not parser.parse_args(argv).check:
        PAGE.write_text(new)
    elif not PAGE.exists() or PAGE.read_text() != new:
        print("docs/reference.md is out of date: run python docs/reference.py", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
