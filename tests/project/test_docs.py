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
import json
import re
import shlex
import subprocess
import sys
import textwrap
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch.distributed.run import get_args_parser as launcher_options
from torchvision.datasets import FakeData

from analysis.__main__ import main as analysis_command
from games.baselines import main as train_baseline
from games.compare import main as compare_games
from games.lewis import main as lewis_game
from games.options.command_line import parse
from games.options.presets import PAPER, PRESETS, RELEASED
from games.patchgame import main
from games.record import main as record_run
from games.reproduce.__main__ import parse_setting
from games.shards import main as write_shards
from patchgame_egg.data import sources
from patchgame_egg.training.callback import Callback
from tests.support.tiny import TINY

ROOT = Path(__file__).parents[2]
# Pages of the site that only put others in order.
SITE = [ROOT / "docs" / name for name in ("index.md", "start.md", "changes.md")]
PAGES = [ROOT / "README.md", *(page for page in sorted((ROOT / "docs").glob("*.md")) if page not in SITE)]
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]
MODULES = [p for package in ("patchgame_egg", "games", "analysis") for p in sorted((ROOT / package).rglob("*.py"))]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())

# Over every documented command, and last, so that these count. The held-out scenes are many: in few, large batches.
FAST = [*TINY, "--candidates", "128", "--workers", "0", "--no-pictures", "--no-tensorboard", "--corpus"]


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
    """The module in a file that belongs to no package."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# Commands


def play(*options: str) -> None:
    """``python -m games.patchgame``, in this process."""
    if "--help" in options:
        with pytest.raises(SystemExit) as stop:
            main(options)
        assert not stop.value.code
        return
    tiny = [*FAST, "--epochs", "2" if "--resume" in options else "1"]
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

    return check


def tensorboard(*words: str) -> None:
    """Not started, as it serves until it is stopped: the folder that it reads is there."""
    assert words[0] == "--logdir" and Path(words[1]).is_dir()


def benchmark(*words: str) -> None:
    """The smallest measurement."""
    load(ROOT / "tests" / "benchmarks" / "step.py").main([*words, "--repeats", "1", *FAST, "--epochs", "1"])


def channels_benchmark(*words: str) -> None:
    """The smallest measurement."""
    tiny = ["--batch", "2", "--length", "3", "--vocab", "5", "--dim", "6", "--repeats", "1"]
    load(ROOT / "tests" / "benchmarks" / "channels.py").main([*words, *tiny])


def compare(*words: str) -> None:
    """Only parsed, as it plays dozens of games: tests/analysis/test_compare.py plays a short one."""
    parse([w for w in words[3:] if w != "--folder" and not w.startswith("runs/")])
    assert words[0] in ("channels", "lengths") and words[1] == "--seeds"


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
    load(ROOT / "tests" / "benchmarks" / "input.py").main([*words, *tiny])


def scaling_benchmark(*words: str) -> None:
    """The smallest measurement: one row, in a process of its own as all rows are."""
    script = ROOT / "tests" / "benchmarks" / "scaling.py"
    tiny = [*FAST, "--axis", "vocab=16", "--repeats", "1", "--seconds", "0", "--threads", "1"]
    done = subprocess.run([sys.executable, script, *words, *tiny], capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    assert re.search(r"^\| vocab \| 16 \| \d", done.stdout, re.MULTILINE), done.stdout
    assert all(Path(words[words.index(o) + 1]).exists() for o in ("--json", "--plot") if o in words)


def allocated(*words: str) -> None:
    """What SLURM starts is launched; its own settings are comments."""
    run_command([w for w in words if w != "&"])


def views_benchmark(*words: str) -> None:
    """The smallest measurement."""
    load(ROOT / "tests" / "benchmarks" / "views.py").main(
        [*words, "--size", "16", "--batch-size", "2", "--repeats", "1"]
    )


def patch_subset_benchmark(*words: str) -> None:
    """The smallest measurement."""
    tiny = ["--vit", "vit_tiny_patch16_224", "--batch-size", "1", "--rounds", "1"]
    load(ROOT / "tests" / "benchmarks" / "patch_subset.py").main([*words, *tiny])


def language_benchmark(*words: str) -> None:
    """The smallest measurement."""
    tiny = ["--items", "20", "--corpus", "30", "--length", "5", "--vocab", "8", "--repeats", "1", "--permutations", "3"]
    load(ROOT / "tests" / "benchmarks" / "language.py").main([*words, *tiny])


def record(*words: str) -> None:
    """Written, over what there is of the run."""
    assert record_run([*words, "--device", "cpu"]) == 0


def analyse(*words: str) -> None:
    """With few shuffled languages."""
    assert analysis_command([*words, "--permutations", "3"]) == 0


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
    ("python", "-m", "games.compare"): compare,
    ("python", "-m", "games.lewis"): lewis,
    ("python", "-m", "games.baselines"): baseline,
    ("python", "-m", "games.reproduce"): reproduce,
    ("python", "-m", "games.record"): record,
    ("python", "-m", "analysis"): analyse,
    ("python", "-m", "games.shards"): shards,
    ("python", "tests/benchmarks/step.py"): benchmark,
    ("python", "tests/benchmarks/channels.py"): channels_benchmark,
    ("python", "tests/benchmarks/input.py"): input_benchmark,
    ("python", "tests/benchmarks/views.py"): views_benchmark,
    ("python", "tests/benchmarks/language.py"): language_benchmark,
    ("python", "tests/benchmarks/scaling.py"): scaling_benchmark,
    ("python", "tests/benchmarks/patch_subset.py"): patch_subset_benchmark,
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
    text = "A=1 python x \\\n  -y  # why\n$ cd b && ls\n# only this\n"
    assert list(commands(text)) == [["python", "x", "-y"], ["cd", "b"], ["ls"]]


# Links, names and lists


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


@pytest.mark.parametrize("name", NAMES)
def test_options_and_files_in_the_text_exist(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    commands = (
        main, compare_games, lewis_game, record_run, analysis_command, write_shards, train_baseline, parse_setting,
    )  # fmt: skip
    for command in commands:
        with pytest.raises(SystemExit):
            command(["--help"])
    known = set(re.findall(r"--[a-z][a-z-]*", capsys.readouterr().out)) | {"--check"}
    known |= {option for action in launcher_options()._actions for option in action.option_strings}
    for script in (ROOT / "tests" / "benchmarks").glob("*.py"):
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
    games = code_spans(ROOT / "docs" / "games.md")
    assert set(sources.NAMES) | set(PRESETS) <= set(games)
    hooks = {span.split("(")[0] for span in games}
    assert {hook for hook in dir(Callback) if hook.startswith("on_")} <= hooks


def test_presets_are_as_the_table_says() -> None:
    small = PRESETS["small"]
    assert small.speaker.logit_scale > 0 and small.channel.rank_spread > 0 and small.channel.gate == "rank"
    assert not small.speaker.context and small.listener.vision == "resnet9" and small.listener.head_wide == 0
    assert small.listener.text_norm == "pre" and not small.loss.learn_temperature and not small.loss.detach_negatives
    assert small.training.optimizer == "adamw" and small.training.grad_norm
    for preset in (PAPER, RELEASED):
        s, c, h, i, t = preset.speaker, preset.channel, preset.listener, preset.images, preset.training
        assert (i.data, i.image_size, s.patch_size, s.rank_width, s.symbol_hidden) == ("scenes", 224, 32, 64, 768)
        assert (s.logit_scale, c.rank_spread, c.rank_strength) == (0, 0, 1)
        assert (h.text_dim, h.text_depth, h.text_heads, h.vision) == (192, 12, 3, "resnet18")
        assert (h.head_hidden, h.head_bottleneck, h.head_wide) == (2048, 256, 65536)
        assert (t.epochs, t.batch_size, t.grad_norm, t.precision) == (100, 512, None, "fp32")
        assert (i.min_area, i.blur, i.solarise, preset.loss.temperature) == (0.14, (1.0, 0.1), (0.0, 0.2), 0.07)
    s, c, h, t = PAPER.speaker, PAPER.channel, PAPER.listener, PAPER.training
    assert (s.context, s.rank_dropout, c.gate, c.gumbel_start, c.gumbel_end) == (False, 0, "rank", 1, 1)
    assert (h.text_norm, h.silence, t.optimizer, t.lr) == ("pre", "skip", "sgd", 1e-4)
    assert not PAPER.loss.learn_temperature and not PAPER.loss.detach_negatives
    s, c, h, t = RELEASED.speaker, RELEASED.channel, RELEASED.listener, RELEASED.training
    assert (s.context, s.rank_dropout, c.gate) == (True, 0.1, "released")
    assert (c.gumbel_start, c.gumbel_end, c.anneal) == (5, 1, 0.5)
    assert (h.text_norm, h.silence, t.optimizer, t.lr, t.min_lr) == ("post", "attend", "adamw", 2e-4, 1e-5)
    assert (t.warmup, t.weight_decay, t.weight_decay_end, t.freeze_epochs) == (30, 0.04, 0.4, 1)
    assert RELEASED.loss.learn_temperature and RELEASED.loss.detach_negatives


# Docstrings


@pytest.mark.parametrize("path", [p for p in MODULES if ">>> " in p.read_text()], ids=lambda p: p.stem)
def test_examples_in_docstrings_run(path: Path) -> None:
    result = doctest.testmod(importlib.import_module(".".join(path.relative_to(ROOT).with_suffix("").parts)))
    assert result.attempted and not result.failed


def test_pages_stay_free_of_this_machine() -> None:
    for page in PAGES:
        assert not re.search(r"/(?:work|tmp|root|home)/", page.read_text()), page
    assert torch.get_num_threads() == 1  # the pages are played under the tests' own setting
