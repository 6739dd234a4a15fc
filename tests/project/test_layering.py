"""The picture in docs/ stays true: imports point one way, between packages, between folders, between modules."""

from __future__ import annotations

import ast
import re
from graphlib import TopologicalSorter
from pathlib import Path

from games.runs import files

ROOT = Path(__file__).parents[2]
# From the ground up. A module imports from its own room and from those of earlier lines alone.
LEVELS = [
    "patchgame_egg.lazy_names patchgame_egg.atomic_write patchgame_egg.text_files",
    "patchgame_egg.choices patchgame_egg.patches",
    "patchgame_egg.distributed",
    "patchgame_egg.counted",
    "patchgame_egg.interaction",
    "patchgame_egg.fit",
    "patchgame_egg.losses patchgame_egg.micro_batch patchgame_egg.data patchgame_egg.agents",
    "patchgame_egg.views",
    "patchgame_egg.channels",
    "patchgame_egg.game",
    "patchgame_egg.population patchgame_egg.baselines patchgame_egg.egg",
    "patchgame_egg.training",
    "analysis.corpus",
    "analysis.metrics",
    "analysis.words",
    "analysis.detection analysis.evaluation analysis.plots analysis.transfer analysis.vit",
    "analysis.callback analysis.report analysis.compare",
    "analysis.__main__",
    # Names alone, which whoever opens a run needs.
    "games.runs.files",
    "games.options",
    "games.build",
    "games.runs",
    "games.patchgame games.baselines games.record games.convert games.shards games.serve games.export"
    " games.lewis games.lstm_baseline games.custom_speaker",
    "games.reproduce.runner",
    "games.compare games.reproduce.vit",
    "games.sweep",
    "games.reproduce",
]
LEVEL = {room: level for level, line in enumerate(LEVELS) for room in line.split()}
PACKAGES = ("patchgame_egg", "analysis", "games")
FILES = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]


def module(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def room(name: str) -> str:
    """The longest part of a module's name that the levels know; a package as a whole knows only its own rooms."""
    parts = name.split(".")
    known = [".".join(parts[:n]) for n in range(len(parts), 0, -1)]
    return next((part for part in known if part in LEVEL), name)


def imported(path: Path, at_once: bool = False) -> set[str]:
    """The modules of ours that a file imports, and the other packages by their first name.

    Wherever in it, or only those that come with the file itself.
    """
    names: set[str] = set()
    whole = ast.parse(path.read_text())
    for node in whole.body if at_once else ast.walk(whole):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            inside = {f"{node.module}.{alias.name}" for alias in node.names}
            ours = {name for name in inside if name in MODULES}
            names |= ours | ({str(node.module)} if len(ours) < len(inside) else set())
    return {name if name.split(".")[0] in PACKAGES else name.split(".")[0] for name in names}


MODULES = {module(path): path for path in FILES}


def test_every_module_has_a_level() -> None:
    assert len(FILES) > 150
    lost = {name for name, path in MODULES.items() if room(name) not in LEVEL and path.name != "__init__.py"}
    assert not lost, "give these a place in LEVELS"
    assert not {name for name in LEVEL if name not in MODULES}


def test_imports_point_one_way() -> None:
    for path in FILES:
        here = room(module(path))
        for name in imported(path) & MODULES.keys():
            if path.name == "__init__.py":
                # A package hands on what is in it, and the core's helper serves all.
                assert name.startswith(f"{module(path)}.") or name.endswith(".lazy_names"), f"{path} imports {name}"
            # The examples import from the top, as users do.
            elif name not in PACKAGES and (there := room(name)) != here:
                assert LEVEL[there] < LEVEL[here], f"{module(path)} imports {name}"


def test_there_is_no_circle() -> None:
    graph = {
        name: {n for n in imported(path) & MODULES.keys() if MODULES[n].name != "__init__.py"}
        for name, path in MODULES.items()
        if path.name != "__init__.py"
    }
    assert len(list(TopologicalSorter(graph).static_order())) > 140


def test_a_recorded_language_is_measured_and_drawn_without_torch() -> None:
    """Torch takes as long to import as a small report takes."""
    begins = [name for name in MODULES if name.startswith(("analysis.metrics.", "analysis.report.", "analysis.words."))]
    begins += ["analysis.corpus.loading", "analysis.evaluation.table"]
    came: dict[str, str] = {}
    while begins:
        name = begins.pop()
        for other in imported(MODULES[name], at_once=True) - came.keys():
            came[other] = name
            if other in MODULES:
                begins.append(other)
    assert "torch" not in came, f"{came['torch']} imports torch, and {came[came['torch']]} that"
    assert "scipy" in came


def test_optional_packages_are_imported_where_used() -> None:
    for path in FILES:
        top = [node for node in ast.parse(path.read_text()).body if isinstance(node, ast.Import)]
        names = {alias.name.split(".")[0] for node in top for alias in node.names}
        assert not names & {"wandb", "torchsort", "egg"}, path


def test_private_names_stay_in_their_module() -> None:
    for path in FILES:
        tree = ast.parse(path.read_text())
        froms = [n for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) and str(n.module).split(".")[0] in PACKAGES]
        named = {alias.name: alias.asname or alias.name for node in froms for alias in node.names}
        private = {name for name in named if is_private(name)}
        # The same by another way: from games import compare, then compare._x.
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and is_private(node.attr):
                private |= {node.attr} if node.value.id in named.values() else set()
        assert not private, f"{path} takes {private} from other modules: give them public names"


def test_the_library_speaks_of_arguments_and_never_of_flags() -> None:
    commands = {MODULES["analysis.__main__"], MODULES["analysis.words.command"]}
    for path in FILES:
        if path.parts[len(ROOT.parts)] != "games" and path not in commands:
            texts = [n.value for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Constant)]
            # In CSS, colors of the page have such names.
            found = [t for t in texts if isinstance(t, str) and re.search(r"(?<!var\()--[a-z]", t)]
            assert not found, f"{path} names options of a command: {found}"


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.endswith("__")


def test_the_files_of_a_run_are_named_in_one_place() -> None:
    names = [value for key, value in vars(files).items() if key.isupper()]
    assert len(names) == len(set(names)) > 10
    # The others are words of something else too, such as an option.
    dotted = tuple(name for name in names if "." in name)
    for path in FILES:
        if path.parts[len(ROOT.parts)] == "games" and path != MODULES["games.runs.files"]:
            texts = [n.value for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Constant)]
            # What has a space in it is told to readers.
            found = [t for t in texts if isinstance(t, str) and " " not in t and t.endswith(dotted)]
            assert not found, f"{path} names {found}: games.runs.files does"


def test_there_is_no_drawer_for_odds_and_ends() -> None:
    assert not [p for p in FILES if p.stem in ("utils", "util", "helpers", "misc", "common")]


def test_no_folder_is_an_alphabet() -> None:
    for folder in {path.parent for path in FILES}:
        assert len([p for p in folder.glob("*.py") if p.name != "__init__.py"]) <= 21, folder


def test_a_long_file_says_why() -> None:
    for path in FILES:
        text = path.read_text()
        if text.count("\n") > 300:
            assert "One file, because" in text, f"{path} has {text.count(chr(10))} lines"
