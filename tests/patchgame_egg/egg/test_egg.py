"""To and from EGG: formats against tables written by hand, and, where EGG is importable, its own games as the oracle.

EGG is not on the package index. With a copy of its repository:
``PYTHONPATH=path/to/EGG pytest tests/patchgame_egg/egg``.
"""

from __future__ import annotations

import copy
import sys
import types
from collections.abc import Callable
from dataclasses import dataclass, fields, make_dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from patchgame_egg.agents.listener import Listener, TextEncoder
from patchgame_egg.agents.patch_speaker import PatchRank, PatchSpeaker, PatchSymbol
from patchgame_egg.agents.sequence_speaker import RecurrentDecoder, SequenceSpeaker
from patchgame_egg.channels.channel import Channel
from patchgame_egg.channels.continuous import Continuous
from patchgame_egg.channels.estimator import Estimator
from patchgame_egg.channels.gumbel import Gumbel
from patchgame_egg.channels.patch import PatchChannel
from patchgame_egg.channels.quantised import Quantised
from patchgame_egg.channels.reinforce import LearntBaseline, Reinforce
from patchgame_egg.channels.sequence import SequenceChannel
from patchgame_egg.egg.agents import EggChannel, EggLoss, EggReceiver, LossInEgg, ReceiverInEgg, in_egg
from patchgame_egg.egg.records import from_egg, from_tensor, load_egg, to_egg, to_tensor
from patchgame_egg.game import Game
from patchgame_egg.interaction import Batch, Interaction, Message
from patchgame_egg.losses import SymmetricInfoNCE
from patchgame_egg.training.trainer import Trainer

V, T, WHY = 5, 3, "EGG (github.com/facebookresearch/EGG) is not importable"


@pytest.fixture(scope="module")
def core() -> Any:
    core = pytest.importorskip("egg.core", reason=WHY)
    core.init(params=["--random_seed=0", "--no_cuda"])
    return core


# Formats


def said(text: str) -> Message:
    """``"20. 1.."``: a message a word, a dot is silence."""
    rows = text.split()
    symbols = torch.tensor([[0 if c == "." else int(c) for c in row] for row in rows])
    mask = torch.tensor([[c != "." for c in row] for row in rows])
    return Message(symbols, F.one_hot(symbols, V) * mask[:, :, None].float(), mask, mask.float())


FORMATS = [
    ("ended", "20. ... 443", [[3, 1, 0, 0], [0, 0, 0, 0], [5, 5, 4, 0]]),
    ("slots", "2.0 ... .43", [[3, 0, 1], [0, 0, 0], [0, 5, 4]]),
]


@pytest.mark.parametrize(("layout", "text", "ids"), FORMATS)
def test_messages_become_eggs_tensors_and_come_back(layout: Any, text: str, ids: list[list[int]]) -> None:
    message = said(text)
    assert to_tensor(message, layout, ids=True).tolist() == ids
    vectors = to_tensor(message, layout)
    assert torch.equal(vectors, F.one_hot(torch.tensor(ids), 1 + V).float())
    for back in (from_tensor(vectors, layout), from_tensor(torch.tensor(ids), layout, vocab_size=V)):
        assert torch.equal(back.mask, message.mask) and torch.equal(back.vectors, message.vectors)
        assert torch.equal(back.symbols[back.mask], message.symbols[message.mask])
    assert torch.equal(to_tensor(replace(message, gate=None), layout), vectors)


def test_a_single_symbol_has_no_silence() -> None:
    message = said("3 0")
    assert to_tensor(message, "symbol", ids=True).tolist() == [3, 0]
    vectors = to_tensor(message, "symbol")
    assert vectors.tolist() == [[0, 0, 0, 1, 0], [1, 0, 0, 0, 0]]
    for back in (from_tensor(vectors), from_tensor(torch.tensor([3, 0]), vocab_size=V)):
        assert torch.equal(back.vectors, message.vectors) and back.mask.all() and back.gate is None


def test_a_relaxed_message_is_weighed_by_what_is_left_of_it() -> None:
    first, end = [0.2, 0.8, 0.0], [1.0, 0.0, 0.0]
    message = from_tensor(torch.tensor([[first, [0.5, 0.1, 0.4], end], [first, [0.3, 0.1, 0.6], end]]))
    torch.testing.assert_close(message.gate, torch.tensor([[0.8, 0.4], [0.8, 0.56]]))
    vectors = torch.tensor([[[0.8, 0.0], [0.0, 0.0]], [[0.8, 0.0], [0.08, 0.48]]])
    torch.testing.assert_close(message.vectors, vectors)
    assert message.mask.tolist() == [[True, False], [True, True]] and message.symbols.tolist() == [[0, 1], [0, 1]]


def test_each_end_gets_its_own_gradient() -> None:
    ends = torch.tensor([[0.0, 1.0, 0.0], [0.0, 0.0, 0.0]], requires_grad=True)
    gate = (1 - ends).cumprod(dim=1)
    message = replace(said("20. 013"), gate=gate, mask=gate > 0.5)
    column = to_tensor(message, "ended")[:, :, 0]
    assert column.tolist() == [[0, 1, 1, 1], [0, 0, 0, 1]]
    (gradient,) = torch.autograd.grad((column * torch.tensor([2.0, 3.0, 5.0, 7.0])).sum(), ends)
    assert gradient.tolist() == [[2, 3, 0], [2, 3, 5]]  # after the end nothing is decided


class Heard(nn.Module):
    """A loss that reads the message: how much was said."""

    def forward(self, _1: Any, message: Message, *_: Any) -> Any:
        return message.lengths + message.vectors.sum(dim=(1, 2)), {}


def test_a_loss_in_egg_sees_the_message() -> None:
    message, x = said("20. 013"), torch.zeros(2)

    def heard(tensor: Tensor, layout: Any) -> list[float]:
        return LossInEgg(Heard(), None, layout, pair=False)(x, tensor, None, x, None, None)[0].tolist()

    assert heard(to_tensor(message, "slots"), "slots") == [4, 6]
    assert heard(to_tensor(message, "ended")[:, 2], "ended") == [0, 2]  # the step of SenderReceiverRnnGS
    assert heard(to_tensor(said("2 0"), "symbol"), "symbol") == [2, 2]
    ids = to_tensor(message, "ended", ids=True)
    ids.whole = message  # type: ignore[attr-defined]
    assert heard(ids, "ended") == [4, 6]


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="messages of one slot, these have 3"):
        to_tensor(said("201"), "symbol")
    with pytest.raises(ValueError, match="unknown layout 'rnn': symbol, slots, ended"):
        to_tensor(said("201"), "rnn")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="unknown layout"):
        from_egg(Interaction(message=torch.zeros(2, 3)), "rnn")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="give vocab_size"):
        from_tensor(torch.tensor([[1, 0]]))
    with pytest.raises(ValueError, match="returns no log-probabilities"):
        EggChannel(Reinforce())(torch.rand(2, V))
    with pytest.raises(ValueError, match="log-probabilities: use Reinforce"):
        EggChannel(vocab_size=V)((torch.tensor([1]), torch.zeros(1), torch.zeros(1)))
    with pytest.raises(ValueError, match="use RunningMean"):
        EggChannel(Reinforce(LearntBaseline(V)))
    with pytest.raises(ValueError, match="has holes and no end"):
        in_egg(patch_game(), "ended")
    with pytest.raises(ValueError, match=r"speak_cost of 0\.1"):
        in_egg(sequence_game(SequenceChannel(speak_cost=0.1)), "ended")

    class Sampling(nn.Module):
        def forward(self, *_: Any) -> Any:
            return torch.zeros(1, 2), torch.zeros(1, requires_grad=True), torch.zeros(1)

    with pytest.raises(ValueError, match="that samples"):
        EggReceiver(Sampling())(said("2"))


# Records


@dataclass
class Theirs:
    """EGG's record, by its fields."""

    sender_input: Any
    receiver_input: Any
    labels: Any
    aux_input: Any
    message: Any
    receiver_output: Any
    message_length: Any
    aux: Any


def test_the_records_have_the_same_fields() -> None:
    assert [f.name for f in fields(Theirs)] == [f.name for f in fields(Interaction)]


@pytest.mark.parametrize(("layout", "text", "ids"), FORMATS)
def test_a_record_makes_the_round_trip(layout: Any, text: str, ids: list[list[int]]) -> None:
    message, row = said(text), torch.arange(3.0)
    ours = Interaction(
        row, None, row.long(), {"index": row}, message.symbols, row, message.lengths,
        {"acc": row, "message_mask": message.mask},
    )  # fmt: skip
    theirs = to_egg(ours, Theirs, layout)
    assert theirs.message.tolist() == ids and list(theirs.aux) == ["acc"]
    assert theirs.message_length.tolist() == (message.lengths + (layout == "ended")).tolist()
    back = from_egg(theirs, layout)
    for name, value in vars(ours).items():
        torch.testing.assert_close(getattr(back, name), value, msg=name)
    if layout == "slots":
        with pytest.raises(ValueError, match="a message with holes has no end"):
            to_egg(ours, Theirs, "ended")


def test_records_without_an_end_without_a_mask_and_without_a_message() -> None:
    endless = from_egg(Theirs(None, None, None, {}, torch.tensor([[3, 1], [2, 0]]), None, torch.tensor([2, 2]), {}))
    assert endless.message.tolist() == [[2, 0], [1, 0]] and endless.message_length.tolist() == [2, 1]
    single = from_egg(Theirs(None, None, None, {}, F.one_hot(torch.tensor([3, 0])).float(), None, torch.ones(2), {}))
    assert single.message.tolist() == [[3], [0]] and single.aux["message_mask"].all()
    assert to_egg(single, Theirs, "symbol").message.tolist() == [3, 0]
    assert to_egg(Interaction(message=torch.tensor([[3, 0]])), Theirs).message.tolist() == [[4, 1, 0]]
    assert from_egg(to_egg(Interaction(labels=torch.ones(1)), Theirs)).message is None


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A class that pickles as EGG's does, whether EGG is there or not."""
    path = "egg.core.interaction"
    made = make_dataclass("Interaction", [f.name for f in fields(Theirs)])
    made.__module__ = path
    module = types.ModuleType(path)
    module.Interaction = made  # type: ignore[attr-defined]
    for name in ("egg", "egg.core", path):
        monkeypatch.setitem(sys.modules, name, module)
    return made


def test_a_saved_record_loads_without_egg(stand_in: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = to_tensor(said("20. ..."), "ended")
    torch.save(stand_in(None, None, None, {}, vectors, None, torch.tensor([3.0, 1.0]), {"acc": torch.ones(2)}),
               tmp_path / "interaction_gpu0")  # fmt: skip
    for name in ("egg", "egg.core", "egg.core.interaction"):
        monkeypatch.setitem(sys.modules, name, None)
    loaded = load_egg(tmp_path / "interaction_gpu0")
    assert type(loaded) is Interaction and loaded.message.tolist() == [[2, 0, 0], [0, 0, 0]]
    assert loaded.aux["message_mask"].tolist() == [[True, True, False], [False] * 3]
    assert loaded.message_length.tolist() == [2, 0]
    loaded.save(tmp_path / "ours.pt")
    assert torch.equal(Interaction.load(tmp_path / "ours.pt").message, loaded.message)
    torch.save(Path("a class that is not EGG's"), tmp_path / "other")
    with pytest.raises(Exception, match="weights_only"):
        load_egg(tmp_path / "other")


def test_eggs_own_saver_writes_what_we_load(core: Any, tmp_path: Path) -> None:
    record = core.Interaction(None, None, None, {}, torch.tensor([[3, 1, 0]]), None, torch.tensor([3]), {})
    core.InteractionSaver.dump_interactions(record, "validation", 1, 0, tmp_path)
    loaded = load_egg(tmp_path / "validation" / "epoch_1" / "interaction_gpu0")
    assert loaded.message.tolist() == [[2, 0]] and loaded.message_length.tolist() == [2]
    theirs = to_egg(loaded, core.Interaction)
    assert isinstance(theirs, core.Interaction)
    assert torch.equal(theirs.message, record.message) and torch.equal(theirs.message_length, record.message_length)
    assert (theirs + theirs).size == 2


# Our agents in EGG's games


def listener(slots: int, silence: Any = "gate") -> Listener:
    text = TextEncoder(V, slots, dim=12, depth=1, silence=silence)
    return Listener(text, nn.Sequential(nn.Flatten(), nn.Linear(48, 10)), 10, head_hidden=12, head_bottleneck=6)


def patch_game(channel: Channel | None = None, silence: Any = "gate") -> Game:
    symbol = PatchSymbol(4, 2, V, hidden=8, logit_scale=1.0)
    channel = PatchChannel(Gumbel()) if channel is None else channel
    speaker = PatchSpeaker(symbol, PatchRank(4, 2, width=4))
    return Game(speaker, channel, listener(4, silence), SymmetricInfoNCE(0.5, learnt=True))


def sequence_speaker(ends: bool = True) -> SequenceSpeaker:
    return SequenceSpeaker(nn.Flatten(), 48, RecurrentDecoder(V, T, 12, ends=ends, logit_scale=1.0))


def sequence_game(channel: Channel | None = None, ends: bool = True) -> Game:
    channel = SequenceChannel(Gumbel()) if channel is None else channel
    return Game(sequence_speaker(ends), channel, listener(T), SymmetricInfoNCE(0.5, learnt=True))


class Namer(nn.Module):
    """Hears a message and names the label: a receiver with one output, whose loss knows no other rows."""

    def __init__(self) -> None:
        super().__init__()
        self.text, self.head = TextEncoder(V, T, dim=12, depth=1, silence="skip"), nn.Linear(12, 4)

    def forward(self, message: Message, receiver_input: Any = None, aux_input: Any = None) -> Tensor:
        return self.head(self.text(message))


class Naming(nn.Module):
    def forward(self, _1: Any, _2: Any, _3: Any, output: Tensor, labels: Tensor, _4: Any) -> Any:
        return F.cross_entropy(output, labels, reduction="none"), {"acc": (output.argmax(1) == labels).float()}


def naming_game(estimator: Estimator | None = None) -> Game:
    return Game(sequence_speaker(), SequenceChannel(estimator or Gumbel()), Namer(), Naming())


def batch(rows: int = 16) -> Batch:
    """Pictures of four kinds."""
    labels = torch.arange(rows) % 4
    kinds = torch.randn(4, 3, 4, 4, generator=torch.Generator().manual_seed(1))
    return Batch(kinds[labels] + 0.1 * torch.randn(rows, 3, 4, 4), labels, torch.randn(rows, 3, 4, 4))


def gradients(loss: Tensor, module: nn.Module) -> dict[str, Tensor | None]:
    names, parameters = zip(*module.named_parameters(), strict=True)
    return dict(zip(names, torch.autograd.grad(loss, parameters, allow_unused=True), strict=True))


def same(ours: Tensor, theirs: Tensor, game: nn.Module, twin: nn.Module, gradient: bool = True) -> None:
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)
    if gradient:
        expected, found = gradients(ours, game), gradients(theirs, twin)
        assert all(v is not None for v in found.values()), [k for k, v in found.items() if v is None]
        for name, value in expected.items():
            torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-6, msg=name)


SYMBOL_GAMES: list[tuple[str, Callable[[], Game]]] = [
    ("patches", patch_game),
    ("patches, silence skipped", lambda: patch_game(silence="skip")),
    ("patches with a price", lambda: patch_game(PatchChannel(Gumbel(), gate="free", speak_cost=0.3))),
    ("patches of a codebook", lambda: patch_game(PatchChannel(Quantised(V, V)))),
    ("continuous patches", lambda: patch_game(PatchChannel(Continuous()))),
    ("released patches", lambda: patch_game(PatchChannel(Gumbel(), gate="released"), silence="attend")),
    ("sequence", sequence_game),
    ("sequence with a price", lambda: sequence_game(SequenceChannel(Gumbel(), speak_cost=0.3))),
]


@pytest.mark.parametrize(("name", "build"), SYMBOL_GAMES, ids=[name for name, _ in SYMBOL_GAMES])
def test_eggs_symbol_game_is_ours(core: Any, name: str, build: Callable[[], Game]) -> None:
    game = build()
    twin, data = copy.deepcopy(game), batch()
    theirs = core.SymbolGameGS(*in_egg(twin))
    for _ in range(2):
        ours, record = game(*data)
        loss, _ = theirs(*data)
        same(ours, loss, game, twin)
    game.eval(), theirs.eval()
    (ours, record), (loss, log) = game(*data), theirs(*data)
    same(ours, loss, game, twin, gradient=False)
    assert set(record.message_length.tolist()) != {1} and set(log.message_length.tolist()) == {1}
    if record.aux["message_mask"].all():
        return
    heard = from_egg(log, "slots")
    assert torch.equal(heard.message_length, record.message_length)
    assert torch.equal(heard.message[heard.aux["message_mask"]], record.message[record.aux["message_mask"]])


def without_baseline(game: Game) -> Game:
    """For a moment: EGG has a baseline that is 0, and ours starts there."""
    estimator = game.channel.estimator
    assert isinstance(estimator, Reinforce)
    estimator.baseline.started.fill_(True)
    return game


@pytest.mark.parametrize(
    "build",
    [
        lambda: patch_game(PatchChannel(Reinforce(entropy=0.05))),
        lambda: patch_game(PatchChannel(Reinforce(entropy=0.05), gate="free", speak_cost=0.3)),
        lambda: sequence_game(SequenceChannel(Reinforce(entropy=0.05), speak_cost=0.3)),
    ],
    ids=["patches", "patches with a price", "sequence with a price"],
)
def test_eggs_reinforced_symbol_game_is_ours(core: Any, build: Callable[[], Game]) -> None:
    from egg.core.baselines import NoBaseline

    game = without_baseline(build())
    twin, data = copy.deepcopy(game), batch()
    theirs = core.SymbolGameReinforce(*in_egg(twin), sender_entropy_coeff=0.05, baseline_type=NoBaseline)
    (ours, _), (loss, log) = game(*data), theirs(*data)
    expected, found = gradients(ours, game), gradients(loss, twin)
    for name, value in expected.items():
        assert found[name] is not None, name
        torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-6, msg=name)
    # EGG's loss also holds the terms that only carry a gradient; in evaluation ours have none.
    assert (ours - loss).abs() > 0.01 and log.aux["sender_entropy"].shape == (16,)
    game.eval(), theirs.eval()
    same(game(*data)[0], theirs(*data)[0], game, twin, gradient=False)


def test_eggs_sequence_game_is_ours(core: Any) -> None:
    game, data = naming_game(), batch()
    twin = copy.deepcopy(game)
    theirs = core.SenderReceiverRnnGS(*in_egg(twin, "ended", pair=False))
    ours, record = game(*data)
    loss, log = theirs(*data)
    assert record.message_length.unique().numel() > 1
    torch.testing.assert_close(loss, ours, rtol=0, atol=1e-5)
    assert torch.equal(log.message_length, record.message_length + 1.0)
    torch.testing.assert_close(log.aux["acc"], record.aux["acc"])
    assert all(v is not None for v in gradients(loss, twin).values())
    charged = core.SenderReceiverRnnGS(*in_egg(naming_game(), "ended", pair=False), length_cost=0.2)
    charged.load_state_dict(theirs.state_dict())
    game.eval(), theirs.eval(), charged.eval()
    (ours, record), (loss, log) = game(*data), theirs(*data)
    torch.testing.assert_close(loss, ours, rtol=0, atol=1e-5)
    assert torch.equal(log.message_length, record.message_length + 1.0)
    price = 0.2 * (record.message_length + 1.0).mean()
    torch.testing.assert_close(charged(*data)[0], ours + price, rtol=0, atol=1e-5)
    back = from_egg(log)
    assert torch.equal(back.message_length, record.message_length)


def test_an_end_learns_what_going_on_would_have_brought(core: Any) -> None:
    """By hand: the gradient of an end is the loss if it ends there, less the loss if it ends at the next chance."""
    game, data = naming_game(), batch()
    sender, receiver, loss = in_egg(game, "ended", pair=False)
    tensors = []
    sender.register_forward_hook(lambda _1, _2, tensor: tensors.append(tensor))
    theirs = core.SenderReceiverRnnGS(sender, receiver, loss)
    total, _ = theirs(*data)
    (gradient,) = torch.autograd.grad(total, tensors[0])
    message = tensors[0].whole
    of_step = []
    for steps in range(T + 1):  # a message of the first symbols, as if it had ended there
        heard = torch.arange(T).expand(16, T) < steps
        vectors = F.one_hot(message.symbols, V) * heard[:, :, None].float()
        output = game.receiver(Message(message.symbols, vectors, heard))
        of_step.append((F.cross_entropy(output, data.labels, reduction="none") / 16).tolist())
    for row, said in enumerate(message.lengths.tolist()):
        for step in range(min(said + 1, T)):
            ends_later = of_step[said if step < said else said + 1][row]
            assert gradient[row, step, 0].item() == pytest.approx(of_step[step][row] - ends_later, abs=1e-6)


def test_eggs_sequence_game_pairs_messages_cut_at_the_same_step(core: Any) -> None:
    """A loss over the whole batch is only ours where all messages are equally long."""
    data = batch()
    for ends in (False, True):
        game = sequence_game(ends=ends).eval()
        with torch.no_grad():
            ours, record = game(*data)
            loss, _ = core.SenderReceiverRnnGS(*in_egg(game, "ended")).eval()(*data)
        assert (record.message_length.unique().numel() > 1) == ends
        assert torch.allclose(ours, loss, atol=1e-5) != ends


def test_eggs_reinforced_sequence_game_is_ours(core: Any) -> None:
    from egg.core.baselines import NoBaseline

    game = without_baseline(naming_game(Reinforce(entropy=0.0)))
    twin, data = copy.deepcopy(game), batch()
    theirs = core.SenderReceiverRnnReinforce(*in_egg(twin, "ended", pair=False), baseline_type=NoBaseline)
    (ours, record), (loss, log) = game(*data), theirs(*data)
    expected, found = gradients(ours, game), gradients(loss, twin)
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-6, msg=name)
    assert torch.equal(log.message_length, record.message_length + 1)
    assert torch.equal(log.message_length, core.find_lengths(log.message))
    game.eval(), theirs.eval()
    same(game(*data)[0], theirs(*data)[0], game, twin, gradient=False)


@pytest.mark.parametrize("kind", ["patches", "reinforced patches", "sequence", "reinforced sequence"])
def test_eggs_trainer_trains_our_agents(core: Any, kind: str) -> None:
    estimator = Reinforce() if "reinforced" in kind else Gumbel()
    if "patches" in kind:
        game = patch_game(PatchChannel(estimator))
        cls = core.SymbolGameReinforce if estimator.scored else core.SymbolGameGS
        theirs = cls(*in_egg(game))
    else:
        game = naming_game(estimator)
        cls = core.SenderReceiverRnnReinforce if estimator.scored else core.SenderReceiverRnnGS
        theirs = cls(*in_egg(game, "ended", pair=False))
    data = batch(32)
    data = Batch(data.sender_input, data.labels, data.sender_input)
    trainer = core.Trainer(theirs, torch.optim.Adam(theirs.parameters(), 3e-3), [data] * 15, validation_data=[data])
    before, _ = Trainer(game, torch.optim.SGD(game.parameters(), 0.0), [], validation_data=[data], device="cpu").eval()
    trainer.train(n_epochs=2)
    after, log = trainer.eval()
    ours, record = Trainer(
        game, torch.optim.SGD(game.parameters(), 0.0), [], validation_data=[data], device="cpu"
    ).eval()
    assert after < before - 0.1
    assert after == pytest.approx(ours, abs=1e-5)
    assert torch.equal(from_egg(log, "slots" if "patches" in kind else "ended").message_length, record.message_length)


# EGG's agents in our game


class Agent(nn.Module):
    """What EGG wraps: a network that may be given more than it needs."""

    def __init__(self, width: int, out: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, out)

    def forward(self, x: Tensor, receiver_input: Any = None, aux_input: Any = None) -> Tensor:
        return self.linear(x)


def attributes() -> Batch:
    """All objects of two attributes with three values, one-hot, four times over; EGG's loss rebuilds the input."""
    values = torch.cartesian_prod(torch.arange(3), torch.arange(3)).repeat(4, 1)
    return Batch(F.one_hot(values, 3).flatten(1).float(), values)


def rebuilding(sender_input: Tensor, message: Tensor, _1: Any, output: Tensor, labels: Tensor, _2: Any) -> Any:
    assert isinstance(message, Tensor)
    output = output.unflatten(1, (2, 3))
    right = (output.argmax(dim=2) == labels).all(dim=1).float()
    return F.cross_entropy(output.mT, labels, reduction="none").sum(dim=1), {"acc": right}


def log_softmax(width: int, out: int) -> nn.Module:
    class Both(Agent):
        def forward(self, x: Tensor, receiver_input: Any = None, aux_input: Any = None) -> Tensor:
            return super().forward(x).log_softmax(dim=1)

    return Both(width, out)


def egg_agents(core: Any, kind: str) -> tuple[nn.Module, nn.Module, bool]:
    """Sender and receiver, as EGG's own games take them, and whether the sender is reinforced."""
    vocab, hidden = 9, 24
    rnn = {"vocab_size": vocab + 1, "embed_dim": 8, "hidden_size": hidden, "cell": "gru"}
    if kind.startswith("one symbol"):
        agent, hearer = log_softmax(6, vocab), core.SymbolReceiverWrapper(Agent(hidden, 6), vocab, hidden)
        if "reinforced" in kind:
            return core.ReinforceWrapper(agent), core.ReinforceDeterministicWrapper(hearer), True
        return core.GumbelSoftmaxWrapper(agent, 1.0, straight_through="relaxed" not in kind), hearer, False
    if "reinforced" not in kind:
        sender = core.RnnSenderGS(
            Agent(6, hidden), max_len=2, temperature=1.0, straight_through="relaxed" not in kind, **rnn
        )
        return sender, core.RnnReceiverGS(Agent(hidden, 6), **rnn), False
    hearer = core.RnnReceiverDeterministic(Agent(hidden, 6), **rnn)
    return core.RnnSenderReinforce(Agent(6, hidden), max_len=2, **rnn), hearer, True


KINDS = ["one symbol", "one symbol, relaxed", "one symbol, reinforced", "sequence", "sequence, relaxed",
         "sequence, reinforced"]  # fmt: skip


def game_of_egg_agents(core: Any, kind: str, entropy: float = 0.0) -> tuple[Game, nn.Module]:
    """Our game and, of the same agents, EGG's."""
    from egg.core.baselines import NoBaseline

    sender, receiver, reinforced = egg_agents(core, kind)
    channel = EggChannel(Reinforce(entropy=entropy) if reinforced else None, vocab_size=9)
    per_step = not reinforced and kind.startswith("sequence")
    game = Game(sender, channel, EggReceiver(receiver), EggLoss(rebuilding, per_step))
    if not reinforced:
        cls = core.SenderReceiverRnnGS if per_step else core.SymbolGameGS
        return game, cls(sender, receiver, rebuilding)
    cls = core.SymbolGameReinforce if kind.startswith("one") else core.SenderReceiverRnnReinforce
    return game, cls(sender, receiver, rebuilding, sender_entropy_coeff=entropy, baseline_type=NoBaseline)


@pytest.mark.parametrize("kind", KINDS)
def test_eggs_agents_play_our_game_as_their_own(core: Any, kind: str) -> None:
    game, theirs = game_of_egg_agents(core, kind, entropy=0.1 if kind == "one symbol, reinforced" else 0.0)
    if "reinforced" in kind:
        without_baseline(game)
    data = attributes()
    torch.manual_seed(1)
    ours, record = game(*data)
    torch.manual_seed(1)
    loss, log = theirs(*data)
    if "reinforced" not in kind:
        torch.testing.assert_close(ours, loss, rtol=0, atol=1e-5)
        torch.testing.assert_close(record.aux["acc"], log.aux["acc"])
    expected, found = gradients(loss, theirs), gradients(ours, game)
    agents = {k: v for k, v in expected.items() if v is not None}
    assert agents
    for name, value in agents.items():
        name = name if name.startswith("sender") else name.replace("receiver", "receiver.receiver", 1)
        torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-6, msg=name)
    game.eval(), theirs.eval()
    state = copy.deepcopy(game.state_dict())
    (ours, record), (loss, log) = game(*data), theirs(*data)
    assert all(torch.equal(v, state[k]) for k, v in game.state_dict().items() if isinstance(v, Tensor))
    torch.testing.assert_close(record.aux["acc"].float(), log.aux["acc"])
    back = from_egg(log)
    assert torch.equal(back.message_length, record.message_length)
    if kind.startswith("sequence"):
        assert torch.equal(log.message_length, record.message_length + 1.0)
        assert torch.equal(back.message[back.aux["message_mask"]], record.message[record.aux["message_mask"]])
    if "reinforced" not in kind:
        torch.testing.assert_close(ours, loss, rtol=0, atol=1e-5)


def test_a_length_cost_is_a_speak_cost_that_also_charges_the_end(core: Any) -> None:
    sender, receiver, _ = egg_agents(core, "sequence, relaxed")
    game = Game(sender, EggChannel(speak_cost=0.2), EggReceiver(receiver), EggLoss(rebuilding, per_step=True))
    theirs, data = core.SenderReceiverRnnGS(sender, receiver, rebuilding, length_cost=0.2), attributes()
    torch.manual_seed(1)
    ours, _ = game(*data)
    torch.manual_seed(1)
    loss, _ = theirs(*data)
    torch.testing.assert_close(ours + 0.2, loss, rtol=0, atol=1e-5)
    expected, found = gradients(loss, sender), gradients(ours, sender)
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-6, msg=name)


@pytest.mark.parametrize("kind", KINDS)
def test_our_trainer_trains_eggs_agents(core: Any, kind: str) -> None:
    game, _ = game_of_egg_agents(core, kind, entropy=0.01)
    data = attributes()
    trainer = Trainer(
        game, torch.optim.Adam(game.parameters(), 1e-2), [data] * 60, validation_data=[data], device="cpu"
    )
    before, _ = trainer.eval()
    trainer.train(n_epochs=1)
    after, record = trainer.eval()
    assert after < 0.8 * before and record.message.shape == (36, 2 if kind.startswith("sequence") else 1)


# Mixed pairs


def test_senders_of_egg_speak_to_our_listeners(core: Any) -> None:
    data = attributes()
    for kind in ("sequence", "sequence, relaxed", "sequence, reinforced"):
        sender, _, reinforced = egg_agents(core, kind)
        hearer = nn.Linear(12, 6)

        class Ours(nn.Module):
            def __init__(self, hearer: nn.Module = hearer) -> None:
                super().__init__()
                self.text, self.head = TextEncoder(9, 2, dim=12, depth=1, silence="gate"), hearer

            def forward(self, message: Message, *_: Any) -> Tensor:
                return self.head(self.text(message))

        receiver = Ours()
        game = Game(sender, EggChannel(Reinforce() if reinforced else None, 9), receiver, EggLoss(rebuilding))
        loss, record = game(*data)
        assert all(v is not None for v in gradients(loss, game).values())
        inside = ReceiverInEgg(receiver, "ended", scored=reinforced, vocab_size=9)
        cls = core.SenderReceiverRnnReinforce if reinforced else core.SenderReceiverRnnGS
        theirs = cls(sender, inside, rebuilding)
        assert all(v is not None for v in gradients(theirs(*data)[0], theirs).values())
        game.eval(), theirs.eval()
        (ours, record), (loss, log) = game(*data), theirs(*data)
        torch.testing.assert_close(record.aux["acc"], log.aux["acc"])
        if not reinforced:
            torch.testing.assert_close(ours, loss, rtol=0, atol=1e-5)


@pytest.mark.parametrize("reinforced", [False, True])
def test_our_speakers_speak_to_receivers_of_egg(core: Any, reinforced: bool) -> None:
    rnn = {"vocab_size": V + 1, "embed_dim": 8, "hidden_size": 8, "cell": "gru"}
    cls = core.RnnReceiverDeterministic if reinforced else core.RnnReceiverGS
    receiver = cls(Agent(8, 4), **rnn)
    channel = SequenceChannel(Reinforce() if reinforced else Gumbel())
    loss = EggLoss(lambda _1, m, _3, output, labels, _4: (F.cross_entropy(output, labels, reduction="none"), {}),
                   per_step=not reinforced)  # fmt: skip
    game, data = Game(sequence_speaker(), channel, EggReceiver(receiver, ids=reinforced), loss), batch()
    total, record = game(*data)
    assert all(v is not None for v in gradients(total, game).values())
    assert record.message_length.unique().numel() > 1
    # EGG's receiver hears the very message: cut it by hand, and read the state after its end.
    game.eval()
    total, record = game(*data)
    ids = to_egg(record, Interaction).message
    states = [
        (receiver.encoder(ids[i : i + 1], torch.tensor([n + 1])) if reinforced else after(receiver, ids[i, : n + 1]))
        for i, n in enumerate(record.message_length.tolist())
    ]
    expected = F.cross_entropy(receiver.agent(torch.cat(states)), data.labels)
    torch.testing.assert_close(total, expected, rtol=0, atol=1e-5)


def after(receiver: Any, ids: Tensor) -> Tensor:
    state = None
    for symbol in receiver.embedding(F.one_hot(ids, V + 1).float()):
        state = receiver.cell(symbol[None], state)
    assert isinstance(state, Tensor)
    return state


def test_our_patches_speak_to_a_receiver_of_egg_in_eggs_game(core: Any) -> None:
    game, data = patch_game(), batch()
    sender, _, _ = in_egg(game)

    class Sum(Agent):
        def forward(self, x: Tensor, receiver_input: Any = None, aux_input: Any = None) -> Tensor:
            return super().forward(x.sum(dim=1))

    theirs = core.SymbolGameGS(sender, core.SymbolReceiverWrapper(Sum(8, 4), V + 1, 8), Naming())
    total, log = theirs(*data)
    assert all(v is not None for v in gradients(total, theirs).values())
    assert log.message.shape == (16, 4, 1 + V) and torch.equal(log.message.sum(2), torch.ones(16, 4))
