"""What a language is like: functions of arrays, a report, comparisons of runs.

Every metric can be imported from here, ``from analysis import topographic_similarity``; a module is loaded when one of
its metrics is first asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_MODULES = {
    "concept_association": ("association", "lift", "name_symbols", "npmi", "pmi", "shrunk_pmi"),
    "classification": ("bag_of_symbols_classification",),
    "compositionality": (
        "attribute_disentanglement",
        "bag_of_symbols_disentanglement",
        "positional_disentanglement",
    ),
    "independence": ("context_independence",),
    "corpora": ("load",),
    "corpus": ("Corpus",),
    "distances": ("meaning_distances", "message_distances"),
    "frequency": ("heaps", "zipf"),
    "importance": ("importance_scores",),
    "matching": ("concept_best_matching",),
    "meaning": ("message_variance", "spatial_meaningfulness"),
    "measuring": ("GLOSSARY", "measure"),
    "recording": ("record",),
    "representations": ("hashing_check", "representational_similarity"),
    "result": ("Result", "against_null", "check_messages", "undefined"),
    "segmentation": ("harris_articulation",),
    "signalling": (
        "causal_influence",
        "instantaneous_coordination",
        "listening_influence",
        "message_numbers",
        "speaker_consistency",
    ),
    "topsim": ("topographic_similarity",),
    "tree_reconstruction": ("one_hot_messages", "tree_reconstruction_error"),
    "vocabulary": ("Usage", "usage"),
}
_HOME = {name: module for module, names in _MODULES.items() for name in names}
__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"analysis has no {name!r}; it has {', '.join(__all__)}")
    return getattr(import_module(f"analysis.{_HOME[name]}"), name)
