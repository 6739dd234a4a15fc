"""The pages tell the truth: every command and Python block in them runs, links lead somewhere, lists are complete.

Bash and Python blocks of a page are played from top to bottom in one temporary folder, so a later one may use what an
earlier one wrote. ``python -m games.patchgame`` runs in this process with the options as documented, then tiny ones,
which win. What cannot run here is checked in another way, and is listed in `STANDS_FOR`; a command that is in neither
fails the test.
"""

from __future__ import annotations

import doctest
import importlib
import importlib.util
import io
import json
import re
import shlex
import subprocess
import sys
import textwrap
import tomllib
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from dataclasses import replace
from functools import cache
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import Mock

import pytest
import torch
from torch.distributed.run import get_args_parser as launcher_options
from torchvision.datasets import FakeData

from analysis.__main__ import main as analysis_command
from games.baselines import main as train_baseline
from games.compare import main as compare_games
from games.convert import Options as ConvertOptions
from games.export import NEEDED as EXPORT_NEEDS, main as export_run
from games.lewis import main as lewis_game
from games.options.command_line import parse, read_options
from games.options.config import Config
from games.options.config_file import load_config
from games.options.presets import PAPER, PRESETS
from games.patchgame import main
from games.record import main as record_run
from games.reproduce import who_speaks as screening
from games.reproduce.__main__ import parse_setting
from games.shards import main as write_shards
from games.sweep import main as sweep_games
from patchgame_egg.data import sources
from patchgame_egg.training.callback import Callback
from tests.support.tiny import TINY

ROOT = Path(__file__).parents[2]
# Pages of the site that only put others in order.
SITE = [ROOT / "docs" / name for name in ("index.md", "start.md", "changes.md")]
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *(page for page in sorted((ROOT / "docs").glob("*.md")) if page not in SITE),
]
GAMES = ROOT / "docs" / "games.md"
BENCHMARKS = ROOT / "tests" / "benchmarks"
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]
MODULES = [p for package in ("patchgame_egg", "games", "analysis") for p in sorted((ROOT / package).rglob("*.py"))]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
TIERS = {marker.split(":")[0] for marker in PYPROJECT["tool"]["pytest"]["ini_options"]["markers"]}

# Over every documented command, and last, so that these count.
FAST = [*TINY, "--candidates", "32", "--workers", "0", "--no-pictures", "--no-tensorboard", "--corpus"]


class Block(NamedTuple):
    """A fenced block of a page."""

    language: str
    line: int
    text: str


def blocks(page: Path) -> list[Block]:
    text = page.read_text()
    found = re.finditer(r"^( *)```([\w-]*)[^\n]*\n(.*?)^\1```", text, re.MULTILINE | re.DOTALL)
    return [Block(m[2], text[: m.start()].count("\n") + 1, textwrap.dedent(m[3])) for m in found]


def outside_blocks(page: Path) -> str:
    return re.sub(r"^( *)```.*?^\1```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)


def code_spans(page: Path) -> list[str]:
    return re.findall(r"(?<!`)`([^`\n]+)`(?!`)", outside_blocks(page))


def commands(text: str) -> Iterator[list[str]]:
    """The words of every command, without comments, prompts and settings of the environment."""
    for line in text.replace("\\\n", " ").splitlines():
        words = shlex.split(line.removeprefix("$ "), comments=True)
        while words:
            end = words.index("&&") if "&&" in words else len(words)
            command, words = words[:end], words[end + 1 :]
            while command and re.fullmatch(r"[A-Z_]+=.*", command[0]):
                command = command[1:]
            if command:
                yield command


def load(path: Path) -> Any:
    """The module in a file that belongs to no package, which finds those beside it, as a script does."""
    if str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# Commands


def printed(main: Callable[[list[str]], Any], words: list[str]) -> str:
    """What a command prints that is called in this process."""
    with redirect_stdout(io.StringIO()) as said:
        main(words)
    return said.getvalue()


def play(*options: str) -> None:
    """``python -m games.patchgame``, in this process."""
    if "--help" in options:
        with pytest.raises(SystemExit) as stop:
            main(options)
        assert not stop.value.code
        return
    epochs = 1
    if "--resume" in options:
        run = Path(options[options.index("--resume") + 1])
        epochs += load_config(run / "config.json")[0].training.epochs
    tiny = [*FAST, "--epochs", str(epochs)]
    if "fp16" in options:
        tiny += ["--precision", "bf16"]  # fp16 needs a GPU
    assert main([*options, *tiny]) == 0


def launch(*words: str) -> None:
    """The launcher reads its options; one process plays the rest. Two processes: tests/patchgame_egg/distributed."""
    from torch.distributed.run import parse_args

    asked = parse_args([w if not w.startswith("$") else "1" for w in words])
    assert asked.module and asked.training_script == "games.patchgame"
    # A second machine takes part in the run of the first.
    if int(asked.node_rank) > 0:
        assert parse(asked.training_script_args).resume is None
    else:
        play(*asked.training_script_args)


def install(*words: str) -> None:
    """Nothing is installed; the project, the extras and the groups that are named must be there."""
    text = " ".join(words)
    project = PYPROJECT["project"]
    for extra in re.findall(r"(?:--extra[ =]|\[)([\w-]+)", text):
        assert extra in project["optional-dependencies"], f"no extra {extra}"
    for group in re.findall(r"--group[ =]([\w-]+)", text):
        assert group in PYPROJECT["dependency-groups"], f"no group {group}"
    targets = re.sub(r"--(extra|group)[ =][\w-]+|-\S+", "", text).split()
    known = r"(\.|uv)(\[|$)|git\+https://github\.com/facebookresearch/EGG$"
    assert all(re.match(known, target) for target in targets), f"unknown target in {text}"


def development_tool(name: str) -> Callable[..., None]:
    """Not run, as each is a check of its own and takes minutes: the tool is set up, and paths exist."""

    def check(*words: str) -> None:
        assert name in PYPROJECT["tool"] and any(p.startswith(name) for p in PYPROJECT["dependency-groups"]["dev"])
        assert all((ROOT / w).exists() for w in words if "/" in w or w.endswith(".py"))
        # A tier that is no marker would leave out nothing, and say nothing.
        for expression in (value for option, value in pairwise(words) if option == "-m"):
            assert set(re.findall(r"\w+", expression)) - {"not", "and", "or"} <= TIERS, f"no such tier: {expression}"

    return check


def tensorboard(*words: str) -> None:
    """Not started, as it serves until it is stopped: the folder that it reads is there."""
    assert words[0] == "--logdir" and Path(words[1]).is_dir()


def benchmark(*words: str) -> None:
    """The smallest measurement."""
    load(BENCHMARKS / "step.py").main([*words, "--repeats", "1", *FAST, "--epochs", "1"])


def channels_benchmark(*words: str) -> None:
    """The smallest measurement."""
    tiny = ["--batch", "2", "--length", "3", "--vocab", "5", "--dim", "6", "--repeats", "1"]
    load(BENCHMARKS / "channels.py").main([*words, *tiny])


def compare(*words: str) -> None:
    """Only parsed, as it plays dozens of games: tests/analysis/test_compare.py plays a short one."""
    parse([w for w in words[3:] if w != "--folder" and not w.startswith("runs/")])
    assert words[0] in ("channels", "lengths") and words[1] == "--seeds"


def sweep(*words: str) -> None:
    """Played with tiny games where it is of the few photos; else listed, as it plays many games."""
    words = tuple("0" + w.removeprefix("$SLURM_ARRAY_TASK_ID") if w.startswith("$") else w for w in words)
    if "--data" not in words:
        assert sweep_games([*words, "--dry-run"]) == 0
        return
    # Of several values the last one counts on a command line, and makes a grid here.
    fast = {option.split()[0]: option.split() for option in " ".join(FAST).removeprefix("--").split(" --")}
    given = {word.removeprefix("--") for word in words} | {"no-corpus"}
    tiny = [word for name, option in fast.items() if name not in given for word in (f"--{name}", *option[1:])]
    assert sweep_games([*words, *tiny, "--epochs", "1", "--permutations", "3"]) == 0


def who_speaks(*words: str) -> None:
    """Only read, as it trains for an hour: tests/games/reproduce/test_who_speaks.py plays a run of it."""
    screening.read_words(words)


def reproduce(*words: str) -> None:
    """Only read, with the options of all its trainings, as it trains dozens: tests/games/reproduce runs each."""
    setting = parse_setting([w.replace("$SLURM_ARRAY_TASK_ID", "0") for w in words if w != "&"])
    experiment = importlib.import_module(f"games.reproduce.{setting.experiment}")
    for training in experiment.trainings(replace(setting, dry_run=True)):
        setting.config(training)


def baseline(*words: str) -> None:
    """One epoch of tiny networks."""
    assert train_baseline([*words, *FAST, "--epochs", "1", "--device", "cpu"]) == 0


def lewis(*words: str) -> None:
    """One epoch."""
    lewis_game([*words, "--epochs", "1"])


def shards(*words: str) -> None:
    """Written."""
    assert write_shards(words) == 0


def input_benchmark(*words: str) -> None:
    """The smallest measurement."""
    tiny = ["--photos", "8", "--batch", "4", "--size", "32", "--repeats", "1"]
    load(BENCHMARKS / "input.py").main([*words, *tiny])


def scaling_benchmark(*words: str) -> None:
    """The smallest measurement: one row, in a process of its own as all rows are; without the other checkout."""
    if "--beside" in words:
        return  # tests/benchmarks/beside.py is the same for all scripts: start_up.py and report.py run with it
    tiny = [*FAST, "--axis", "vocab=16", "--repeats", "1", "--seconds", "0", "--threads", "1"]
    said = printed(load(BENCHMARKS / "scaling.py").main, [*words, *tiny])
    assert re.search(r"^\| vocab \| 16 \| \d", said, re.MULTILINE), said
    assert all(Path(words[words.index(o) + 1]).exists() for o in ("--json", "--plot") if o in words)


def allocated(*words: str) -> None:
    """What SLURM starts is launched; its own settings are comments."""
    run_command([w for w in words if w != "&"])


def views_benchmark(*words: str) -> None:
    """The smallest measurement."""
    load(BENCHMARKS / "views.py").main([*words, "--size", "16", "--batch-size", "2", "--repeats", "1"])


def patch_subset_benchmark(*words: str) -> None:
    """The smallest measurement."""
    tiny = ["--vit", "vit_tiny_patch16_224", "--batch-size", "1", "--rounds", "1"]
    load(BENCHMARKS / "patch_subset.py").main([*words, *tiny])


def language_benchmark(*words: str) -> None:
    """The smallest measurement."""
    tiny = ["--items", "20", "--corpus", "30", "--length", "5", "--vocab", "8", "--repeats", "1", "--permutations", "3"]
    load(BENCHMARKS / "language.py").main([*words, *tiny])


FAKE_RELEASE = {
    "patch_game/builder.py": """
from torch import arange, distributed, nn
from torchsort import soft_rank

class PatchGame(nn.Module):
    def __init__(self, **options):
        super().__init__()
        self.part = nn.Linear(224, len(options))

    def forward(self, first, second, temperature):
        assert distributed.get_world_size() == 1
        logits = self.part(soft_rank(first.mean((1, 2)), regularization_strength=1.0)) + second.mean()
        return logits[:, : len(logits)], arange(len(logits))
""",
    "utils.py": "def get_params_groups(model):\n    return list(model.parameters())\n",
}


def release_benchmark(*words: str) -> None:
    """One turn of what is built like the release; a turn of ours is a step as step.py times it."""
    for name, text in FAKE_RELEASE.items():
        path = Path(words[0], name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    turn = ["--batch-size", "2", "--repeats", "1", "--threads", "1", "--form", "release, its default"]
    command = [sys.executable, str(BENCHMARKS / "release.py"), *words, *turn]
    ended = subprocess.run(command, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout)["seconds"] > 0


def start_up_benchmark(*words: str) -> None:
    """The smallest measurement, beside nothing but itself: the other checkout only the reader has."""
    assert words == ("--beside", "../other")
    tiny = ["--beside", str(ROOT), "--turns", "1", "--repeats", "1", "--rows", "Python"]
    assert re.search(r"Python.* \d", printed(load(BENCHMARKS / "start_up.py").main, tiny))


def large_benchmark(*words: str) -> None:
    """The smallest measurement: of the rows that are named; else of all, without the other checkout."""
    main, tiny = load(BENCHMARKS / "large.py").main, ["--train", "300", "--test", "50"]
    tiny += ["--lines", "100", "--files", "200"]
    if words[:1] == ("--rows",):
        said = printed(main, [*words, *tiny])
        assert re.search(r"^k-NN +processor_s \S+ +gib \S+ +of_matrix_product \d", said, re.MULTILINE), said
        return
    assert words[:1] == ("--beside",)
    assert re.search(r"^log +processor_s", printed(main, ["--rows", "log", *tiny]), re.MULTILINE)
    for row in ("k-NN", "folder"):
        assert json.loads(printed(main, ["--here", "--rows", row, *tiny]).splitlines()[-1])["processor_s"] >= 0


def gpu_benchmark(*words: str) -> None:
    """Only read: its rehearsal takes minutes, and all else takes a GPU."""
    with pytest.raises(SystemExit) as stop:
        load(BENCHMARKS / "gpu.py").main([*words, "--help"])
    assert not stop.value.code


def endurance(*words: str) -> None:
    """One try."""
    script = ROOT / "tests" / "endurance" / "run.py"
    done = subprocess.run(
        [sys.executable, script, *words, "--minutes", "0", "--only", "killed"],
        capture_output=True, text=True, timeout=480,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"^\| killed \| 1 \| \d+ \| 1 \| 0 \|$", done.stdout, re.MULTILINE), done.stdout


def convert(*words: str) -> None:
    """Only read, as there is no checkpoint of the release: tests/games/test_convert.py converts one of its kind."""
    read_options(ConvertOptions, words, "convert", "")


def report_benchmark(*words: str) -> None:
    """The smallest measurement, beside nothing but itself; of another axis that is measured, nothing more is learnt."""
    if "--beside" not in words:
        report = load(BENCHMARKS / "report.py")
        asked = dict(zip(words[::2], words[1::2], strict=True))
        assert asked.pop("--axis").split("=")[0] in report.AXES
        assert all(name.removeprefix("--") in report.SIZES and size.isdigit() for name, size in asked.items())
        return
    small = {"--beside": str(ROOT), "--axis": "messages=20"}
    asked = [small.get(before, word) for before, word in zip(["", *words], words, strict=False)]
    tiny = [f"--{name}=20" for name in ("messages", "slots", "vocab", "classes")]
    said = printed(load(BENCHMARKS / "report.py").main, [*asked, *tiny, "--permutations", "2"])
    assert re.search(r"^\| \w+ \| [\d,]+ \| here \| \d", said, re.MULTILINE), said


def record(*words: str) -> None:
    """Written, over what there is of the run."""
    assert record_run([*words, "--device", "cpu"]) == 0


def analyse(*words: str) -> None:
    """With few shuffled languages, where any are shuffled."""
    if words[0] == "play":
        # Served until it is interrupted, which happens at once.
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("http.server.ThreadingHTTPServer.serve_forever", Mock(side_effect=KeyboardInterrupt))
            assert analysis_command([*words, "--port", "0", "--device", "cpu"]) == 0
        return
    other = {"messages": [], "morphemes": [], "transfer": ["--seeds", "1"]}
    few = other.get(words[0], ["--permutations", "3"])
    assert analysis_command([*words, *few]) == 0


def export(*words: str) -> None:
    """Written where the extra is installed; elsewhere a line says that it is not."""
    if all(map(find_spec, EXPORT_NEEDS)):
        assert export_run(words) == 0
        return
    with pytest.raises(SystemExit) as stop:
        export_run(words)
    assert stop.value.code == 2


def site(*words: str) -> None:
    """Not built, as it takes minutes: tests/project/test_site.py builds it, with these options."""
    assert words == ("-W", "--keep-going", "docs", "build/site")
    assert any(p.startswith("sphinx>") for p in PYPROJECT["dependency-groups"]["docs"])


def nothing(*words: str) -> None:
    """Moves about, fetches the repository, or keeps a job waiting; there is nothing to check."""


def exists(*words: str) -> None:
    """Shows files that an earlier command wrote."""
    assert all(Path(w).exists() for w in words if not w.startswith("-"))


STANDS_FOR: dict[tuple[str, ...], Callable[..., None]] = {
    ("python", "-m", "games.patchgame"): play,
    ("patchgame",): play,
    ("patchgame-analysis",): analyse,
    ("patchgame-reproduce",): reproduce,
    ("python", "-m", "games.sweep"): sweep,
    ("python", "-m", "games.compare"): compare,
    ("python", "-m", "games.lewis"): lewis,
    ("python", "-m", "games.export"): export,
    ("python", "-m", "games.baselines"): baseline,
    ("python", "-m", "games.reproduce"): reproduce,
    ("python", "-m", "games.reproduce.who_speaks"): who_speaks,
    ("python", "-m", "games.record"): record,
    ("python", "-m", "analysis"): analyse,
    ("python", "-m", "games.shards"): shards,
    ("python", "-m", "games.convert"): convert,
    ("python", "tests/benchmarks/step.py"): benchmark,
    ("python", "tests/benchmarks/channels.py"): channels_benchmark,
    ("python", "tests/benchmarks/input.py"): input_benchmark,
    ("python", "tests/benchmarks/views.py"): views_benchmark,
    ("python", "tests/benchmarks/language.py"): language_benchmark,
    ("python", "tests/benchmarks/report.py"): report_benchmark,
    ("python", "tests/benchmarks/release.py"): release_benchmark,
    ("python", "tests/benchmarks/scaling.py"): scaling_benchmark,
    ("python", "tests/benchmarks/patch_subset.py"): patch_subset_benchmark,
    ("python", "tests/benchmarks/start_up.py"): start_up_benchmark,
    ("python", "tests/benchmarks/large.py"): large_benchmark,
    ("python", "tests/benchmarks/gpu.py"): gpu_benchmark,
    ("python", "tests/endurance/run.py"): endurance,
    ("torchrun",): launch,
    ("srun",): allocated,
    ("trap",): nothing,
    ("wait",): nothing,
    ("uv", "sync"): install,
    ("pip", "install"): install,
    ("uv", "pip", "install"): install,
    ("pytest",): development_tool("pytest"),
    ("ruff",): development_tool("ruff"),
    ("mypy",): development_tool("mypy"),
    ("sphinx-build",): site,
    ("tensorboard",): tensorboard,
    ("cd",): nothing,
    ("git", "clone"): nothing,
    ("ls",): exists,
    ("cat",): exists,
}


def run_command(words: list[str]) -> None:
    if words[:2] == ["uv", "run"]:
        return run_command(words[2:])
    for length in (3, 2, 1):
        check = STANDS_FOR.get(tuple(words[:length]))
        if check is not None:
            return check(*words[length:])
    raise AssertionError(f"nothing checks the documented command: {' '.join(words)}")


def fake_set(root: str, download: bool = False, **part: Any) -> FakeData:
    """In the place of data sets that would have to be fetched: 16 pictures of noise."""
    fake = FakeData(16, (3, 40, 40), num_classes=2)
    fake.classes = ["one", "two"]  # type: ignore[attr-defined]
    return fake


@pytest.mark.docs
@pytest.mark.parametrize("name", NAMES)
def test_every_block_of_the_page_runs(
    name: str, tmp_path: Path, photo_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert photo_folder == tmp_path / "photos"  # what the pages call the reader's own images
    monkeypatch.chdir(tmp_path)
    for known, (_, train, val) in sources.TORCHVISION.items():
        monkeypatch.setitem(sources.TORCHVISION, known, (fake_set, train, val))
    page, namespace = ROOT / name, {"__name__": "page"}
    for block in blocks(page):
        assert block.language in ("python", "bash", "sh", "text", "json"), f"{name}:{block.line}: {block.language!r}"
        try:
            if block.language == "python":
                if re.search(r"^(import|from) egg\b", block.text, re.MULTILINE):
                    pytest.importorskip("egg.core", reason=f"{name} from line {block.line} on needs EGG")
                exec(compile("\n" * block.line + block.text, str(page), "exec"), namespace)
            elif block.language == "json":
                json.loads(block.text)
            elif block.language != "text":
                for words in commands(block.text):
                    run_command(words)
        except (Exception, SystemExit) as error:
            why = error.__context__ if isinstance(error, SystemExit) else error
            raise AssertionError(f"{name}:{block.line}: {type(error).__name__}: {why}") from error


def test_an_unknown_command_does_not_escape() -> None:
    with pytest.raises(AssertionError, match="nothing checks the documented command: make all"):
        run_command(["make", "all"])
    with pytest.raises(SystemExit):
        run_command(["uv", "run", "python", "-m", "games.patchgame", "--no-such-option", "1"])
    with pytest.raises(AssertionError, match="no extra gpu"):
        run_command(["pip", "install", "-e", ".[gpu]"])
    with pytest.raises(AssertionError, match="no such tier: not slwo"):
        run_command(["uv", "run", "pytest", "-m", "not slwo"])
    text = "A=1 python x \\\n  -y  # why\n$ cd b && ls\n# only this\n"
    assert list(commands(text)) == [["python", "x", "-y"], ["cd", "b"], ["ls"]]


# Links, names and lists


@cache
def slugs(page: Path) -> set[str]:
    """The anchors that a forge gives to the headings."""
    seen: dict[str, int] = {}
    for heading in re.findall(r"^#+ (.+)$", outside_blocks(page), re.MULTILINE):
        slug = re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        seen[slug] = seen.get(slug, 0) + 1
    return {f"{slug}-{i}" if i else slug for slug, count in seen.items() for i in range(count)}


@pytest.mark.parametrize("name", NAMES)
def test_links_and_images_lead_somewhere(name: str) -> None:
    page = ROOT / name
    text = re.sub(r"`[^`\n]*`", "", outside_blocks(page))
    for target in re.findall(r"\]\(([^)\s]+)[^)]*\)|<img[^>]+src=\"([^\"]+)\"", text):
        link = "".join(target)
        if re.match(r"https?:|mailto:", link):
            continue
        path, _, anchor = link.partition("#")
        goal = (page.parent / path).resolve() if path else page
        assert goal.exists(), f"{name} links to {link}"
        assert goal.is_relative_to(ROOT), f"{name} links out of the repository: {link}"
        assert not anchor or anchor in slugs(goal), f"{name} links to {link}: {sorted(slugs(goal))}"


@pytest.mark.docs
@pytest.mark.parametrize("name", NAMES)
def test_options_and_files_in_the_text_exist(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    commands = (
        main, compare_games, lewis_game, record_run, analysis_command, write_shards, train_baseline, parse_setting,
        sweep_games, export_run,
    )  # fmt: skip
    for command in commands:
        with pytest.raises(SystemExit):
            command(["--help"])
    for word in ("words", "morphemes", "transfer", "compare", "play"):
        with pytest.raises(SystemExit):
            analysis_command([word, "--help"])
    known = set(re.findall(r"--[a-z][a-z-]*", capsys.readouterr().out)) | {"--check"}
    known |= {option for action in launcher_options()._actions for option in action.option_strings}
    for script in (*(ROOT / "tests" / "benchmarks").glob("*.py"), ROOT / "tests" / "endurance" / "run.py"):
        known |= set(re.findall(r'add_argument\("(--[a-z-]+)"', script.read_text()))
    for span in code_spans(ROOT / name):
        for option in re.findall(r"(?<![\w-])--[a-z][a-z-]*", span):
            assert option in known, f"{name} speaks of {option} in `{span}`"
        if re.fullmatch(r"(patchgame_egg|games|analysis|tests|docs)/[\w/]+\.\w+", span):
            assert (ROOT / span).exists(), f"{name} speaks of {span}"


def test_the_picture_of_the_repository_is_complete() -> None:
    (picture,) = [b.text for b in blocks(ROOT / "docs" / "journey.md") if b.text.startswith("patchgame_egg/")]
    folders: list[str] = []
    drawn = []
    for line in picture.splitlines():
        indent, name, slash = re.match(r"( *)([\w.]+)(/?) +\S", line).groups()  # type: ignore[union-attr]
        folders = folders[: len(indent) // 2] + [name] * bool(slash)
        if not slash:
            drawn.append("/".join([*folders, name]))
    of_the_site = [ROOT / "docs" / "conf.py", *(ROOT / "docs" / "templates").rglob("*.rst"), *SITE]
    there = {str(p.relative_to(ROOT)) for p in [*MODULES, *of_the_site] if p.name != "__init__.py"}
    assert len(there) > 140 and len(drawn) == len(set(drawn))
    assert set(drawn) == there, "the last text block of docs/journey.md should list these files"


def test_lists_in_the_pages_are_complete() -> None:
    games = code_spans(GAMES)
    assert set(sources.NAMES) | set(PRESETS) <= set(games)
    hooks = {span.split("(")[0] for span in games}
    assert {hook for hook in dir(Callback) if hook.startswith("on_")} <= hooks


def in_words(c: Config) -> dict[str, str]:
    """What the table of presets has to say of these options, row by row, in any order of the parts."""
    s, h, t, hot, cold = c.speaker, c.listener, c.training, c.channel.gumbel_start, c.channel.gumbel_end
    wide = f"{h.head_hidden}, {h.head_hidden}, {h.head_bottleneck}, then {h.head_wide:,}"
    optimizer = {"sgd": "SGD with momentum 0.9", "adamw": "AdamW", "muon": "Muon and AdamW"}[t.optimizer]
    growing = f"; growing from {t.weight_decay} to {t.weight_decay_end}" if t.weight_decay_end else ""
    return {
        "images, patches": f"{c.images.image_size} px, {s.patch_size} px",
        "views": f"{c.images.min_area * 100:g} to 100 %; jitter {c.images.jitter}; grey {c.images.grey}"
        + (f"; scenes' grow over {c.view_ramp:g} of the training" if c.view_ramp else ""),
        "PatchSymbol": "ViT-tiny" if s.context else f"MLP; logits {'standardised' if s.logit_scale else 'as they are'}",
        "PatchRank": f"ResNet-9; {s.rank_width} channels; "
        + {"replicate": "same border", "zeros": "zeros beyond"}[s.rank_padding]
        + (f"; dropout {s.rank_dropout}" if s.rank_dropout else ""),
        "ranking": f"scores {'standardised' if c.channel.rank_spread else 'as they are'}",
        "who speaks": {"rank": "equation 8", "released": "every patch, softly"}[c.channel.gate],
        "silent slots": {"gate": "learn whether to speak", "skip": "skipped", "attend": "attended to"}[h.silence],
        "text encoder": f"{h.text_dim} wide; {h.text_depth} blocks; {h.text_heads} heads; {h.text_norm}-norm",
        "vision trunk": h.vision.replace("resnet", "ResNet-"),
        "heads": wide if h.head_wide else "no wide map",
        "temperature of the loss": "learnt" if c.loss.learn_temperature else "constant",
        "negatives": "detached" if c.loss.detach_negatives else "with gradients",
        "Gumbel temperature": f"{cold:g}" if hot == cold else f"from {hot:g} to {cold:g} over half; then {cold:g}",
        "optimizer": optimizer + ("; clipped" if t.grad_norm else "") + growing,
        "loss": f"{c.loss.reduction} over the batch",
        "learning rate": f"{t.lr:g}; cosine",
        "length": f"{t.epochs} epochs; {t.batch_size} images",
    }


def test_the_table_of_presets_is_true() -> None:
    table = re.search(r"^\| \| `small` \| `paper` \| `released` \|\n.*\n((?:\|.*\n)+)", GAMES.read_text(), re.MULTILINE)
    assert table is not None and list(PRESETS) == ["small", "paper", "released"]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table[1].splitlines()]
    assert [row[0] for row in rows] == list(in_words(PAPER))
    for name, small, paper, released in rows:
        paper = paper.replace("as `small`", small)
        for words, meaning in (("as `paper`", paper), ("the same size", paper.split(";")[0]), ("the same", paper)):
            released = released.replace(words, meaning)
        for preset, cell in zip(PRESETS, (small, paper, released), strict=True):
            cell = re.sub(r"\de-\d( \* \d+ / \d+)?", lambda m: f"{eval(m[0]):g}", cell)
            # `--help` says the numbers, which would go out of date in a page.
            vague = "--help" in cell or "narrow" in cell
            parts = [] if vague else in_words(PRESETS[preset])[name].split("; ")
            assert all(part in cell for part in parts), f"{name} of {preset}: {cell!r} should say {parts}"


# Docstrings


EXAMPLES = {str(p.relative_to(ROOT)): n for p in MODULES if (n := len(re.findall(r"^ +>>> ", p.read_text(), re.M)))}


@pytest.mark.parametrize("path", EXAMPLES)
def test_examples_in_docstrings_run(path: str) -> None:
    result = doctest.testmod(importlib.import_module(path.removesuffix(".py").replace("/", ".")))
    # Doctest does not look everywhere: an example that it passes over would never be run.
    assert result.attempted == EXAMPLES[path] and not result.failed


def test_pages_stay_free_of_this_machine() -> None:
    for page in PAGES:
        assert not re.search(r"/(?:work|tmp|root|home)/", page.read_text()), page
    assert torch.get_num_threads() == 1  # the pages are played under the tests' own setting
