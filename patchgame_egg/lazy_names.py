"""The names that a package hands on, loaded when they are first asked for; and modules under their former names.

A package lists its names once, as imports under ``if TYPE_CHECKING:``, which editors and type checkers read. `hand_on`
reads the same lines, so ``from patchgame_egg import Game`` works and ``import patchgame_egg`` loads nothing.
"""

from __future__ import annotations

import ast
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_loader
from types import ModuleType
from typing import Any


def homes(source: str) -> dict[str, str]:
    """What a package hands on: each name, and the module that has it.

    Args:
        source: the text of the package's ``__init__``.
    """
    found: dict[str, str] = {}
    for block in ast.parse(source).body:
        if isinstance(block, ast.If):
            for line in block.body:
                if isinstance(line, ast.ImportFrom):
                    found.update((name.asname or name.name, str(line.module)) for name in line.names)
    return found


def hand_on(
    package: str, elsewhere: Mapping[str, str] | None = None
) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """What a package's ``__getattr__, __dir__, __all__`` are to be.

    Args:
        package: its name; its ``__init__`` imports what it hands on under ``if TYPE_CHECKING:``.
        elsewhere: names that users look for here -> what they are to use, said in the error.

    Returns:
        A function that loads a name from its module, one that lists the package's names, and the names.
    """
    spec = sys.modules[package].__spec__
    modules = homes(spec.loader.get_source(package))  # type: ignore[union-attr]
    names = sorted(modules)

    def load(name: str) -> Any:
        if name not in modules:
            if elsewhere and name in elsewhere:
                raise AttributeError(f"{package} has no {name!r}: use {elsewhere[name]}")
            raise AttributeError(f"{package} has no {name!r}; it has {', '.join(names)}")
        found = sys.modules[package].__dict__[name] = getattr(import_module(modules[name]), name)
        return found

    return load, lambda: sorted({*sys.modules[package].__dict__, *names}), names


class _Moved(MetaPathFinder, Loader):
    """Finds modules under their former names; each says where its names are now, and hands them on."""

    def __init__(self, homes: Mapping[str, Sequence[str]]) -> None:
        self.homes = homes

    def find_spec(self, fullname: str, path: object, target: object = None) -> ModuleSpec | None:
        return spec_from_loader(fullname, self) if fullname in self.homes else None

    def exec_module(self, module: ModuleType) -> None:
        name, homes = module.__name__, self.homes[module.__name__]
        warnings.warn(f"{name} is now {' and '.join(homes)}", DeprecationWarning, stacklevel=2)

        def load(wanted: str) -> Any:
            for home in homes:
                with_it = import_module(home)
                if hasattr(with_it, wanted):
                    return getattr(with_it, wanted)
            raise AttributeError(f"{name} is now {' and '.join(homes)}, which have no {wanted!r}")

        module.__getattr__ = load  # type: ignore[method-assign]


def moved(homes: Mapping[str, Sequence[str]]) -> None:
    """Lets modules be imported under their former names for one version, with a DeprecationWarning.

    Args:
        homes: former name -> the modules that have its names now.
    """
    sys.meta_path.append(_Moved(homes))
