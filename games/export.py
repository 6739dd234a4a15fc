"""A run's speaker for other programs: ``python -m games.export runs/first --onnx`` writes runs/first/speaker.onnx.

It speaks as in evaluation. The file takes square images and gives messages. What is written is held against the run,
by onnxruntime, before it is kept.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import tyro

from games.options.command_line import fail, failures, read_options
from patchgame_egg.data.names import printable

if TYPE_CHECKING:
    from torch import Tensor, nn

NEEDED = ("onnx", "onnxscript", "onnxruntime")
FILE = "speaker.onnx"
"""What it is called in the run's folder."""


@dataclass(frozen=True)
class Options:
    """Writes the speaker of a finished run for programs that do without torch.

    The file takes ``images``, float32 [B, 3, S, S] in [0, 1], RGB, of any number B. It gives ``symbols``, int64 [B, T],
    ``mask``, bool [B, T], true where a symbol is said, and of speakers of patches ``keep_prob``, float32 [B, P].
    """

    run: tyro.conf.Positional[Path]
    """The folder of a finished run, or one that was shared; of a population, the first speaker speaks."""
    onnx: bool = False
    """As ONNX, the one form that there is; it needs the extra onnx."""
    to: Path | None = None
    """The file; speaker.onnx in the run's folder if not given."""


def main(argv: Sequence[str] | None = None) -> int:
    """Writes the file; returns the exit status."""
    with failures():
        try:
            words = sys.argv[1:] if argv is None else argv
            options = read_options(Options, words, "python -m games.export", Options.__doc__ or "")
            path, said = export(options)
        except ValueError as error:
            fail(error)
    print(f"wrote {printable(str(path))}: {said}")
    return 0


def export(options: Options) -> tuple[Path, str]:
    """Writes a run's speaker, and what it is in a line.

    Raises:
        ValueError: a package is missing, it is not a run of symbols, or the file does not say what the run says.
    """
    if not options.onnx:
        raise ValueError("in which form? --onnx writes ONNX, the one that there is")
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        raise ValueError(f"--onnx needs {', '.join(missing)}: pip install 'patchgame-egg[onnx]'")
    to = options.to or options.run / FILE
    if to.is_dir():
        raise ValueError(f"--to {to} is a folder: give a file in it")
    # Only now: torch takes seconds to import, help and mistakes do without.
    import torch

    from games.build.speaker_graph import SpeakerGraph
    from games.runs.trained import load
    from patchgame_egg.atomic_write import replacing

    run = load(options.run, "cpu")
    config, size = run.config, run.config.images.image_size
    if config.channel.channel == "continuous":
        raise ValueError("this run's channel is continuous: it passes numbers, and no symbols to export")
    of_patches = config.speaker.speaker == "patch"
    graph = SpeakerGraph(run.game, config.patches if of_patches else 1).eval()
    images = torch.rand(3, 3, size, size, generator=torch.Generator().manual_seed(0))
    names = ["symbols", "mask", *(["keep_prob"] if of_patches else [])]
    about = {"run": options.run.resolve().name, "vocab": str(config.speaker.vocab), "image_size": str(size)}
    model = model_of(graph, images, names, about)
    check_model(model, graph, images, names)
    with replacing(to) as file:
        file.write(model)
    return to, f"images of {size} px, up to {config.slots} of {config.speaker.vocab} symbols, {len(model) / 1e6:.1f} MB"


def model_of(graph: nn.Module, images: Tensor, names: list[str], about: dict[str, str]) -> bytes:
    """The graph as ONNX, with any number of images."""
    import io

    import onnx
    import torch

    file = io.BytesIO()
    with torch.no_grad(), warnings.catch_warnings():
        # The exporter warns of its own insides.
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            graph, (images,), dynamo=True, verbose=False, input_names=["images"], output_names=names,
            dynamic_shapes=({0: torch.export.Dim("B", min=1)},),
        )  # fmt: skip
        assert program is not None
        model = program.model_proto
    onnx.helper.set_model_props(model, about)
    onnx.save(model, file)
    return file.getvalue()


def check_model(model: bytes, graph: nn.Module, images: Tensor, names: list[str]) -> None:
    """Looks whether onnxruntime says what the graph says, of several images and of one.

    Raises:
        ValueError: it does not.
    """
    import onnxruntime
    import torch

    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    for part in (images, images[:1]):
        with torch.no_grad():
            expected = graph(part)
        for name, ours, theirs in zip(names, expected, session.run(names, {"images": part.numpy()}), strict=True):
            if not torch.allclose(ours.float(), torch.from_numpy(theirs).float(), atol=1e-4):
                raise ValueError(
                    f"--onnx: the file has other {name} than the run: this is a fault here, please report it"
                )


if __name__ == "__main__":
    sys.exit(main())
