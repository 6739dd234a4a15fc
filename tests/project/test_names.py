"""Promised names: from the packages, whatever else was imported before, and under their former paths."""

from __future__ import annotations

import doctest
import importlib
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import analysis
import patchgame_egg
from patchgame_egg import channels, interaction, losses

ROOT = Path(__file__).parents[2]
PACKAGES = [
    "patchgame_egg",
    *(
        f"patchgame_egg.{name}"
        for name in ["agents", "baselines", "channels", "data", "distributed", "egg", "training", "views"]
    ),
    "analysis",
    "analysis.corpus",
    "analysis.detection",
    "analysis.report",
]
# What README, the pages and the notebooks of the version before the folders imported, and the folders do not answer to.
FORMER = {
    "patchgame_egg.callbacks": "Callback read_log Checkpoint Console",
    "patchgame_egg.checkpoint": "save load",
    "patchgame_egg.egg_records": "from_egg load_egg to_egg",
    "patchgame_egg.estimators": "Continuous LearntBaseline Quantised Reinforce",
    "patchgame_egg.scenes": "CONCEPTS Scenes",
    "patchgame_egg.sequences": "RecurrentDecoder SequenceChannel SequenceSpeaker",
    "patchgame_egg.trainer": "Trainer",
    "patchgame_egg.trunks": "vision_trunk",
    "analysis.compositionality": "positional_disentanglement",
    "analysis.concepts": "cells concepts_of",
    "analysis.corpora": "load",
    "analysis.detection_scores": "average_precision",
    "analysis.features": "extract_features",
    "analysis.figures": "symbol_gallery",
    "analysis.fine_tuning": "detect fine_tune",
    "analysis.json_lines": "write_json_lines",
    "analysis.linear_classifier": "linear_probe",
    "analysis.measuring": "measure",
    "analysis.neighbours": "nearest_neighbour_accuracy",
    "analysis.result": "Result against_null check_messages undefined",
    "analysis.rows": "wilson",
    "analysis.topsim": "topographic_similarity",
    "analysis.voc": "voc_sets write_voc",
    "analysis.vocabulary": "usage",
    "games.agents": "build_game",
    "games.command_line": "load_config parse",
    "games.config": "Config",
    "games.images": "build_loaders build_views labelled_loaders",
    "games.presets": "PAPER",
    "games.trained": "load_external_trunk load_trunk",
}


@pytest.mark.parametrize("name", analysis.__all__)
def test_names_are_what_they_say(name: str) -> None:
    found = getattr(analysis, name)
    assert type(found).__name__ in ("function", "type", "dict")
    assert getattr(found, "__name__", name) == name


def test_no_module_hides_a_name() -> None:
    packages = ("patchgame_egg", "analysis")
    inits = [p.parent for package in packages for p in (ROOT / package).rglob("__init__.py")]
    for folder in inits:
        names = getattr(importlib.import_module(".".join(folder.relative_to(ROOT).parts)), "__all__", [])
        assert not {path.stem for path in folder.iterdir()} & set(names), folder


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_hands_on_what_its_editors_see(package: str) -> None:
    found = importlib.import_module(package)
    assert found.__all__ and set(found.__all__) <= set(dir(found))
    for name in found.__all__:
        assert getattr(found, name) is getattr(found, name) is not None


def test_the_promised_names_come_from_the_top() -> None:
    promised = """Game Population FrozenSpeakerGame Trainer Callback Batch Message Interaction SymmetricInfoNCE
        PatchSpeaker SequenceSpeaker Listener TextEncoder PatchChannel SequenceChannel Gumbel Reinforce Quantised
        Continuous ImageLoader Scenes RandomViews EvaluationView ViewLoader vision_trunk soft_rank"""
    assert set(promised.split()) <= set(patchgame_egg.__all__)


def without_example(found: list[object]) -> list[str]:
    """Names of those whose docstring shows no use; `test_docs` runs the examples."""
    return [getattr(f, "__name__", "") for f in found if not doctest.DocTestParser().get_examples(f.__doc__ or "")]


def test_every_metric_shows_an_example() -> None:
    promised = [getattr(analysis, name) for name in analysis.__all__]
    metrics = [f for f in promised if inspect.isfunction(f) and f.__module__.startswith("analysis.metrics.")]
    assert len(metrics) > 30 and analysis.topographic_similarity in metrics
    assert without_example(metrics) == []


def test_all_between_a_speaker_and_the_loss_shows_an_example() -> None:
    found = [getattr(channels, name) for name in channels.__all__]
    found += [f for module in (losses, interaction) for f in vars(module).values() if inspect.isclass(f)]
    found = [losses.symmetric_info_nce, *(f for f in found if f.__module__.startswith("patchgame_egg."))]
    assert {losses.SymmetricInfoNCE, interaction.Message, channels.soft_rank} <= set(found)
    assert without_example(found) == []


@pytest.mark.parametrize(("module", "names"), FORMER.items())
def test_former_import_paths_go_on_working(module: str, names: str) -> None:
    sys.modules.pop(module, None)
    with pytest.warns(DeprecationWarning, match=f"{module} is now "):
        found = importlib.import_module(module)
    for name in names.split():
        assert getattr(found, name).__name__ == name if name[0].islower() else getattr(found, name)
    with pytest.raises(AttributeError, match="which have no 'Nonsense'"):
        _ = found.Nonsense


@pytest.mark.process
def test_the_package_itself_loads_nothing_heavy() -> None:
    heavy = {"scipy", "pandas", "torch", "matplotlib"}
    code = f"import sys, analysis, patchgame_egg; print(sorted({heavy} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_an_unknown_name_says_what_there_is() -> None:
    with pytest.raises(AttributeError, match=r"no 'topsim_score'; it has .*topographic_similarity"):
        _ = analysis.topsim_score
