"""Lewis games, without images: a sender says which values the attributes of an object have, a receiver answers.

Reconstruction: the receiver names all values. Discrimination: it picks the object among others. With --held-out, some
combinations of values are never trained on: whether they are understood tells whether the language is put together.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
import tyro
from torch import Tensor, nn

from analysis.corpus.recording import record
from games.options.command_line import fail, failures
from games.runs.files import CONFIG, CORPUS, LOG
from patchgame_egg import Batch, Game, Message, agents, channels, training
from patchgame_egg.atomic_write import write_json
from patchgame_egg.data.distractors import Distractors
from patchgame_egg.distributed.random_module import RandomModule
from patchgame_egg.losses import rivals

# Cosines are divided by it: the choice among objects.
_TEMPERATURE = 0.1
_STEPS, _WIDTH = 100, 48
HELD_OUT = "held_out.npz"
"""The language of the combinations that were never trained on."""


@dataclass
class Options:
    attributes: int = 3  # that an object has
    values: int = 5  # that an attribute can have
    game: Literal["reconstruction", "discrimination"] = "reconstruction"  # name all values, or pick the object
    distractors: int = 7  # discrimination: other objects among which it is picked
    held_out: float = 0.0  # share of the combinations that are never trained on; all values are
    vocab: int = 20  # symbols that carry meaning; the end of a message is one more choice
    max_len: int = 5  # the most symbols that a message has
    cell: Literal["lstm", "gru", "rnn", "transformer"] = "lstm"  # what the sender speaks with
    channel: Literal["gumbel", "reinforce"] = "gumbel"  # how the gradient gets past a symbol
    sample: bool = False  # the receiver samples its answer and learns from whether it was right
    epochs: int = 5  # of 100 steps
    seed: int = 0  # of weights, noise, distractors and what is held out
    out: Path | None = None  # folder for options, log and language (python -m analysis OUT); none is written without


class Receiver(nn.Module):
    """Hears the message and gives logits of all values ``[B, A, V]``; or vectors of it and of the objects it sees."""

    def __init__(self, text: nn.Module, attributes: int, values: int) -> None:
        super().__init__()
        self.text, self.named = text, nn.Linear(_WIDTH, attributes * values)
        self.seen, self.shape = nn.Linear(attributes * values, _WIDTH), (attributes, values)

    def forward(
        self, message: Message, receiver_input: Tensor | None, aux_input: object = None
    ) -> Tensor | tuple[Tensor, Tensor]:
        heard = self.text(message)
        if receiver_input is None:
            return self.named(heard).unflatten(1, self.shape)
        return heard, self.seen(receiver_input.flatten(2))  # [B, D], [B, 1 + K, D]


class Answer(RandomModule):
    """The loss of an answer, and whether it is right: all values of an object, or the object itself.

    Cross-entropy over all answers; or, of a receiver that samples, how many of its answers are wrong, whose gradient is
    the score function's (Williams, 1992), with the batch's mean as the baseline. In evaluation the likeliest counts.
    """

    # An object is found among its distractors, not among the batch.
    in_batch = False

    def __init__(self, sample: bool, seed: int) -> None:
        super().__init__(seed)
        self.sample = sample

    def temperature(self) -> float:
        """Of the softmax over objects."""
        return _TEMPERATURE

    def forward(self, *exchange: Any) -> tuple[Tensor, dict[str, Tensor]]:
        *_, answer, objects, _ = exchange
        if isinstance(answer, Tensor):
            logits, right = answer, objects  # [B, A, V], [B, A]
            acc = (logits.argmax(dim=2) == right).all(dim=1)
        else:
            heard, seen = (F.normalize(x, dim=-1) for x in answer)
            logits = (seen @ heard[:, :, None]).mT / _TEMPERATURE  # [B, 1, 1 + K]
            right = torch.zeros(len(seen), 1, dtype=torch.int64, device=seen.device)
            acc = rivals(logits[:, 0], first=True) == 0
        aux = {"acc": acc.float()}
        if not (self.sample and self.training):
            return F.cross_entropy(logits.mT, right, reduction="none").sum(dim=1), aux
        noise = -(-self.uniform(*logits.shape, device=logits.device).clamp(min=1e-20).log()).log()
        said = (logits.detach() + noise).argmax(dim=2)
        wrong = (said != right).float()
        score = -F.cross_entropy(logits.mT, said, reduction="none") * (wrong - wrong.mean(dim=0))
        # In value what went wrong, which the sender's own estimator hears of; in gradient the score function.
        return (wrong + score - score.detach()).sum(dim=1), aux


class Objects:
    """Batches of all given objects, with other distractors each time, or always the same ones.

    Args:
        objects: the values of all there are, ``[N, A]``.
        rows: which of them are spoken of.
        distractors: which stand beside each; None: there is no choice to make.
        steps: batches; 0: one, which never changes.
    """

    def __init__(self, objects: Tensor, values: int, rows: Tensor, distractors: Distractors | None, steps: int) -> None:
        self.objects, self.rows, self.distractors, self.steps = objects, rows, distractors, steps
        self.vectors, self.epoch, self.start = F.one_hot(objects, values).float(), 0, 0

    def __len__(self) -> int:
        return max(1, self.steps)

    def set_epoch(self, epoch: int, start: int = 0) -> None:
        """Which epoch comes next, and from which of its batches on."""
        self.epoch, self.start = epoch, start

    def __iter__(self) -> Iterator[Batch]:
        for step in range(self.start, len(self)):
            shown = None
            if self.distractors is not None:
                number = self.epoch * self.steps + step if self.steps else 0
                beside = torch.tensor(self.distractors(self.rows.tolist(), number))
                shown = self.vectors[torch.cat([self.rows[:, None], beside], dim=1)]  # [B, 1 + K, A, V]
            yield Batch(self.vectors[self.rows], self.objects[self.rows], shown, {"index": self.rows})


def split(objects: Tensor, values: int, share: float, seed: int) -> tuple[Tensor, Tensor]:
    """Which objects are trained on, and which combinations are held out; every value is trained on.

    Raises:
        ValueError: so many cannot be held out.
    """
    if share and objects.shape[1] == 1:
        raise ValueError(
            f"--held-out {share}: objects of one attribute are no combinations, give --attributes 2 or more"
        )
    # Of these, each value of each attribute has as many.
    kept = objects.sum(dim=1) % values == 0
    free = (~kept).nonzero()[:, 0]
    # What is no share, or no number, has no count.
    count = round(share * len(objects)) if 0 <= share < 1 else -1
    if not 0 <= count <= len(free) or (share > 0 and not count):
        raise ValueError(
            f"--held-out {share}: give 0, or a share of 1 to {len(free)} of the {len(objects)} objects: "
            f"{1 / len(objects):.2g} to {len(free) / len(objects):.2g}"
        )
    chosen = free[torch.randperm(len(free), generator=torch.Generator().manual_seed(seed))[:count]].sort().values
    trained = torch.ones(len(objects), dtype=torch.bool)
    trained[chosen] = False
    return trained.nonzero()[:, 0], chosen


def build(o: Options) -> Game:
    """Sender, channel, receiver and loss; weights from torch's generator."""
    sizes = o.vocab, o.max_len, _WIDTH
    decoder: agents.Decoder = agents.TransformerDecoder(*sizes, logit_scale=3.0)
    if o.cell != "transformer":
        decoder = agents.RecurrentDecoder(*sizes, o.cell, logit_scale=3.0)
    sender = agents.SequenceSpeaker(nn.Flatten(), o.attributes * o.values, decoder)
    estimator = channels.Gumbel() if o.channel == "gumbel" else channels.Reinforce()
    channel = channels.SequenceChannel(estimator, seed=o.seed)
    text = agents.TextEncoder(*sizes, depth=1, silence="gate")
    return Game(sender, channel, Receiver(text, o.attributes, o.values), Answer(o.sample, o.seed + 1))


def play(o: Options) -> None:
    """Trains, says how seen and unseen objects are understood, shows five messages, and writes the language.

    Raises:
        ValueError: an option is out of its range.
    """
    for name, least in (("attributes", 1), ("values", 2), ("vocab", 2), ("max_len", 1), ("epochs", 1), ("seed", 0)):
        if getattr(o, name) < least:
            raise ValueError(f"--{name.replace('_', '-')} {getattr(o, name)}: must be at least {least}")
    torch.manual_seed(o.seed)
    objects = torch.cartesian_prod(*[torch.arange(o.values)] * o.attributes).view(-1, o.attributes)  # all there are
    trained, unseen = split(objects, o.values, o.held_out, o.seed)
    discriminates, count = o.game == "discrimination", len(objects)
    if discriminates and not 1 <= o.distractors < count:
        raise ValueError(f"--distractors {o.distractors}: give 1 to {count - 1}, one less than there are objects")
    # Of unseen combinations nothing is seen in training, not even beside others.
    pools = [trained.tolist()] * count if len(unseen) else None
    beside = Distractors(count, o.distractors, pools, o.seed) if discriminates else None
    if beside is not None and beside.filled:
        raise ValueError(f"--distractors {o.distractors}: only {len(trained)} objects are trained on, give fewer")
    anybody = Distractors(count, o.distractors, None, o.seed) if discriminates else None
    everything = Objects(objects, o.values, torch.arange(count), anybody, 0)
    tested = Objects(objects, o.values, unseen if len(unseen) else torch.arange(count), anybody, 0)
    log: list[training.Callback] = [training.Console()]
    if o.out is not None:
        if (o.out / CORPUS).exists():
            raise ValueError(f"--out {o.out} has a language already: give another folder")
        write_json({k: str(v) if isinstance(v, Path) else v for k, v in asdict(o).items()}, o.out / CONFIG)
        log.append(training.JsonLines(o.out / LOG))
    lewis = build(o)
    adam = torch.optim.AdamW(lewis.parameters(), lr=2e-3)
    chance = {"candidates": 1.0 + o.distractors if discriminates else float(count)}
    data = Objects(objects, o.values, trained, beside, _STEPS)
    training.Trainer(lewis, adam, data, None, tested, callbacks=log, metrics=lambda _: chance).train(o.epochs)
    lewis.cpu().eval()
    corpus = record(lewis, everything, vocab_size=o.vocab)
    understood = torch.from_numpy(corpus.probes["as played"]).float()
    if len(unseen):
        print(
            f"understood: {100 * understood[trained].mean():.1f} % of {len(trained)} combinations that were trained "
            f"on, {100 * understood[unseen].mean():.1f} % of {len(unseen)} that were not"
        )
    for n in torch.randperm(count)[:5].tolist():
        print(*objects[n].tolist(), "->", *corpus.said(n))
    if o.out is not None:
        corpus.save(o.out / CORPUS)
        print(f"wrote {o.out / CORPUS}")
        if len(unseen):
            record(lewis, tested, vocab_size=o.vocab).save(o.out / HELD_OUT)
            print(f"wrote {o.out / HELD_OUT}, of the combinations that were not trained on")


def main(argv: list[str] | None = None) -> None:
    options = tyro.cli(Options, prog="python -m games.lewis", description=__doc__, args=argv)
    with failures():
        try:
            play(options)
        except ValueError as error:
            fail(error)


if __name__ == "__main__":
    main()
