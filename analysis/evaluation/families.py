"""The families of metrics that say for themselves how a corpus is measured."""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules

from analysis import metrics
from analysis.metrics.family import Family


def families() -> list[Family]:
    """The ``FAMILY`` of every module in `analysis.metrics` that has one, by the modules' names."""
    modules = [import_module(f"{metrics.__name__}.{found.name}") for found in iter_modules(metrics.__path__)]
    return [module.FAMILY for module in modules if hasattr(module, "FAMILY")]
