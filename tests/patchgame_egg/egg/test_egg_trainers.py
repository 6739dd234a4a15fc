"""EGG's callbacks, loaders, games and dumps in our trainer, ours in its.

By stand-ins of its interfaces and, where EGG is importable, by EGG itself: see test_egg.py.
"""

from __future__ import annotations

import copy
import sys
import types
from collections.abc import Callable, Iterator
from dataclasses import fields, make_dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from analysis import load
from analysis.callback import LanguageAnalysis
from patchgame_egg import training
from patchgame_egg.channels.gumbel import Gumbel
from patchgame_egg.channels.sequence import SequenceChannel
from patchgame_egg.egg.agents import EggChannel, EggLoss, EggReceiver, in_egg
from patchgame_egg.egg.records import from_egg
from patchgame_egg.egg.self_supervised import ssl_game
from patchgame_egg.egg.trainers import GameInEgg
from patchgame_egg.game import Game
from patchgame_egg.interaction import Batch, Interaction
from patchgame_egg.training.callback import StopOnSignal
from patchgame_egg.training.trainer import Trainer
from tests.patchgame_egg.egg.test_egg import (
    KINDS,
    WHY,
    Agent,
    Namer,
    V,
    attributes,
    batch,
    game_of_egg_agents,
    naming_game,
    patch_game,
    sequence_game,
    sequence_speaker,
)

NAMES = [f.name for f in fields(Interaction)]


@pytest.fixture(scope="module")
def core() -> Any:
    core = pytest.importorskip("egg.core", reason=WHY)
    core.init(params=["--random_seed=0", "--no_cuda"])
    return core


@pytest.fixture
def theirs(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A record that pickles as EGG's does, and its base of callbacks; in the place of EGG's own, if that is there."""
    modules = {name: types.ModuleType(name) for name in ("egg", "egg.core", "egg.core.interaction")}
    record = make_dataclass("Interaction", NAMES)
    record.__module__ = "egg.core.interaction"
    modules["egg.core.interaction"].Interaction = record  # type: ignore[attr-defined]
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    hooks = dict.fromkeys(("on_epoch_begin", "on_validation_begin", "on_train_end"), lambda self, *args: None)
    hooks |= dict.fromkeys(
        ("on_batch_end", "on_epoch_end", "on_validation_end", "on_early_stopping"), hooks["on_train_end"]
    )

    def begin(self: Any, trainer: Any) -> None:
        self.trainer = trainer

    base = type("Callback", (), {"__module__": "egg.core.callbacks", "on_train_begin": begin, **hooks})
    return types.SimpleNamespace(Interaction=record, Callback=base)


def record_of(theirs: Any, message: Any, aux: Any = None, **more: Any) -> Any:
    return theirs.Interaction(**{**dict.fromkeys(NAMES), "aux_input": {}, "message": message, "aux": aux or {}, **more})


# Dumps


def test_a_mask_in_a_dump_is_believed(theirs: Any, tmp_path: Path) -> None:
    """Ids of a game of ours that EGG's trainer played are ours already."""
    message, mask = torch.tensor([[0, 3, 2], [4, 1, 1]]), torch.tensor([[1, 1, 1], [1, 1, 0]])
    for kind in (torch.bool, torch.float32, torch.int64):
        torch.save(record_of(theirs, message, {"message_mask": mask.to(kind)}), tmp_path / "dump")
        found = load(tmp_path / "dump")
        assert found.symbols.tolist() == message.tolist() and found.mask.astype(int).tolist() == mask.tolist()
    with pytest.raises(
        ValueError, match=r"message_mask of shape \(2, 3\), the message is torch.int64 of shape \(2, 2\)"
    ):
        from_egg(record_of(theirs, message[:, :2], {"message_mask": mask}))


@pytest.mark.parametrize(
    ("vectors", "layout", "vocab"),
    [([2, 3, 11], None, 10), ([2, 3, 11], "slots", 10), ([2, 11], None, 11), ([2, 3, 11], "ended", 10)],
)
def test_vectors_tell_the_vocabulary(theirs: Any, tmp_path: Path, vectors: Any, layout: Any, vocab: int) -> None:
    ids = torch.zeros(vectors[:-1], dtype=torch.long)
    torch.save(record_of(theirs, F.one_hot(ids, vectors[-1]).float()), tmp_path / "dump")
    assert load(tmp_path / "dump", layout=layout).vocab_size == vocab


def test_a_dump_of_training_is_read_with_its_graph(theirs: Any, tmp_path: Path) -> None:
    """Relaxed messages, accuracies that require a gradient: everywhere in the record."""
    relaxed = torch.tensor([[[0.1, 0.7, 0.2], [1.0, 0.0, 0.0]]] * 2).requires_grad_()
    acc = torch.ones(2, requires_grad=True)
    record = record_of(
        theirs, relaxed, {"acc": acc}, receiver_output=torch.rand(2, 2, 4).requires_grad_(),
        labels=torch.tensor([1, 0]), message_length=acc,
    )  # fmt: skip
    torch.save(record, tmp_path / "dump")
    found = load(tmp_path / "dump")
    assert found.symbols.tolist() == [[0], [0]] and found.mask.all() and found.probes["as played"].all()
    assert not any(x.requires_grad for x in (from_egg(record).aux["acc"], from_egg(record).receiver_output))


def test_a_dump_of_numbers_is_refused(theirs: Any, tmp_path: Path) -> None:
    torch.save(record_of(theirs, torch.randn(2, 8)), tmp_path / "dump")
    with pytest.raises(ValueError, match="holds numbers"):
        load(tmp_path / "dump")


def test_numbers_of_a_whole_batch_become_one_for_each_exchange(theirs: Any) -> None:
    aux = {"acc": torch.tensor(0.25), "temperature": torch.tensor([0.5]), "both": torch.tensor([1.0, 1.0, 0.0, 1.0])}
    found = from_egg(record_of(theirs, torch.tensor([1, 0]), {**aux, "plain": 2, "name": "x"})).aux
    assert found["acc"].tolist() == [0.25] * 2 and found["temperature"].tolist() == [0.5] * 2
    assert found["both"].tolist() == [0.5, 1.0] and found["plain"].tolist() == [2.0] * 2 and "name" not in found


# Batches


class Pair(nn.Module):
    """A game that takes whatever comes, and remembers it."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.seen = nn.Parameter(torch.ones(())), list[Any]()

    def forward(self, sender_input: Any, labels: Any = None, receiver_input: Any = None, aux_input: Any = None) -> Any:
        self.seen.append((sender_input, labels, receiver_input, aux_input))
        return self.weight * 1.0, Interaction(aux={"loss": self.weight.detach().expand(2)})


def trained(data: Any, **options: Any) -> tuple[Pair, Trainer]:
    game = Pair()
    trainer = Trainer(game, torch.optim.SGD(game.parameters(), 0.1), data, device="cpu", **options)
    trainer.train(1)
    return game, trainer


def test_loaders_of_egg_give_tuples_pairs_and_their_own_batches() -> None:
    x, y, z = torch.rand(2, 3), torch.tensor([0, 1]), torch.rand(2, 4)
    eggs = type("Batch", (), {"receiver_input": z, "__iter__": lambda self: iter([x, y, z, {"a": y}])})()
    for given, wanted in (
        ((x,), (x, None, None, None)),
        ([x, y], (x, y, None, None)),
        ((x, y, z), (x, y, z, None)),
        (eggs, (x, y, z, {"a": y})),
        (x, (x, None, None, None)),
        (Batch(x, y), (x, y, None, None)),
    ):
        game, _ = trained([given], validation_data=[given])
        assert len(game.seen) == 2
        for found, expected in zip(game.seen[0], wanted, strict=True):
            assert found is expected or (found["a"] is y if isinstance(found, dict) else torch.equal(found, expected))
    ((pair, labels, *_), *_) = trained([([x, z], y)])[0].seen
    assert torch.equal(pair[0], x) and torch.equal(pair[1], z) and torch.equal(labels, y)
    for wrong in ((), ("photo.jpg", 1), {"x": x}, (x, y, z, x), (x,) * 5):
        with pytest.raises(ValueError, match="a Batch is needed, or a tuple"):
            trained([wrong])


class Drawn:
    """As loaders of EGG that draw their batches: how many is an attribute, and a length is missing or wrong."""

    batches_per_epoch = 5

    def __iter__(self) -> Iterator[Any]:
        # That of its signal game gives one more than it says.
        return iter([(torch.rand(2, 3), torch.zeros(1))] * 6)


def test_loaders_that_say_otherwise_how_many_batches_there_are() -> None:
    game, trainer = trained(Drawn())
    assert trainer.steps_per_epoch == 5 and trainer.step == 6
    assert game.weight.item() == pytest.approx(1 - 6 * 0.1)  # every step is a step down
    with pytest.raises(ValueError, match="train_data, a generator, has no length"):
        trained(x for x in [torch.rand(2, 3)])


# EGG's callbacks in our trainer


def small_trainer(callbacks: list[Any], **options: Any) -> Trainer:
    game, data = patch_game(), batch()
    return Trainer(
        game, torch.optim.SGD(game.parameters(), 0.01), [data] * 2, validation_data=[data], device="cpu",
        callbacks=callbacks, **options,
    )  # fmt: skip


def test_a_callback_of_egg_sees_its_records_and_its_trainer(theirs: Any) -> None:
    seen: dict[str, Any] = {}

    class Reads(theirs.Callback):  # type: ignore[misc,name-defined]
        def on_train_begin(self, trainer: Any) -> None:
            super().on_train_begin(trainer)
            seen["context"], seen["game"] = trainer.distributed_context, trainer.game

        def on_epoch_end(self, loss: Any, logs: Any, epoch: int) -> None:
            seen["train"] = {k: v.mean().item() for k, v in logs.aux.items()}

        def on_validation_end(self, loss: Any, logs: Any, epoch: int) -> None:
            seen["logs"], seen["epoch"] = logs, epoch
            seen["test"] = {k: v.mean().item() for k, v in logs.aux.items()}
            self.trainer.should_stop = logs.aux["acc"].mean() >= 0.0

    trainer = small_trainer([Reads()])
    trainer.train(3)
    _, record = trainer.eval()
    logs, mask = seen["logs"], record.aux["message_mask"]
    assert trainer.epoch == 1 and seen["game"] is trainer.game
    assert not seen["context"].is_distributed and seen["context"].is_leader
    assert isinstance(logs, theirs.Interaction) and not mask.all()
    assert torch.equal(logs.message[mask], record.message[mask]) and set(logs.message[~mask].tolist()) == {-1}  # type: ignore[index]
    back = from_egg(logs)
    assert torch.equal(back.aux["message_mask"], mask) and torch.equal(back.message[mask], record.message[mask])  # type: ignore[index]
    assert seen["test"]["message_mask"] == pytest.approx(mask.float().mean().item()) and "acc" in seen["train"]


def test_an_early_stopper_does_not_take_a_stop_back(theirs: Any) -> None:
    class Never(theirs.Callback):  # type: ignore[misc,name-defined]
        def on_validation_end(self, loss: Any, logs: Any, epoch: int) -> None:
            self.trainer.should_stop = torch.tensor(False)

    class Signal(training.Callback):
        def on_validation_begin(self, epoch: int) -> None:
            self.trainer.should_stop = True

    trainer = small_trainer([Signal(), Never()])
    trainer.train(3)
    assert trainer.epoch == 1


def test_callbacks_with_few_hooks_and_such_as_are_added_later(theirs: Any) -> None:
    class OneHook:
        epochs = 0

        def on_epoch_end(self, loss: float, logs: Interaction, epoch: int) -> None:
            self.epochs = epoch

    class Mean(theirs.Callback):  # type: ignore[misc,name-defined]
        def on_validation_end(self, loss: Any, logs: Any, epoch: int) -> None:
            self.mean = logs.aux["message_mask"].mean()

    one, late = OneHook(), Mean()
    trainer = small_trainer([one, LanguageAnalysis()])
    trainer.callbacks.append(late)  # type: ignore[arg-type]
    trainer.train(2)
    assert one.epochs == 2 and 0 < late.mean < 1


@pytest.mark.parametrize(
    ("name", "made_with", "what"),
    [
        ("TopographicSimilarity", {}, "needs every input of the sender.*topographic_similarity"),
        ("Disent", {}, "needs every input of the sender.*positional_disentanglement"),
        ("PrintValidationEvents", {}, r"trainer\.eval\(\)"),
        (
            "MessageEntropy",
            {"print_train": True, "is_gumbel": False},
            r"MessageEntropy\(print_train=True\).*give False",
        ),
        ("MessageEntropy", {"print_train": False, "is_gumbel": True}, r"MessageEntropy\(is_gumbel=True\).*give False"),
        ("InteractionSaver", {"train_epochs": [1]}, r"InteractionSaver\(train_epochs=\[1\]\).*test_epochs alone"),
    ],
)
def test_what_cannot_work_is_refused_by_name(theirs: Any, name: str, made_with: dict[str, Any], what: str) -> None:
    kind = type(name, (theirs.Callback,), {"__module__": "egg.core.callbacks", **made_with})
    for refused in (kind(), type("Mine", (kind,), {})()):
        with pytest.raises(ValueError, match=what):
            small_trainer([refused])


# Ours in EGG's trainer


class ItsTrainer:
    """What callbacks of ours meet there."""

    should_stop, callbacks = False, list[Any]()


def test_callbacks_of_ours_that_need_our_trainer_say_so(tmp_path: Path) -> None:
    for callback, instead in (
        (training.Schedule(print, abs), "core.TemperatureUpdater"),
        (training.Console(), "core.ConsoleLogger"),
        (training.JsonLines(tmp_path / "log"), r"core.ConsoleLogger\(as_json=True\)"),
        (training.TensorBoard(tmp_path), "core.TensorboardLogger"),
        (training.Checkpoint(tmp_path / "c"), "core.CheckpointSaver"),
        (LanguageAnalysis(), "core.InteractionSaver"),
    ):
        with pytest.raises(
            ValueError, match=rf"{type(callback).__name__} needs the Trainer of patchgame_egg.*{instead}"
        ):
            callback.on_train_begin(ItsTrainer())  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())


def test_a_stop_on_signals_works_there_and_lets_go() -> None:
    import signal

    before, callback, trainer = signal.getsignal(signal.SIGTERM), StopOnSignal(), ItsTrainer()
    callback.on_train_begin(trainer)  # type: ignore[arg-type]
    signal.raise_signal(signal.SIGTERM)
    assert trainer.should_stop
    callback.on_train_end()
    assert signal.getsignal(signal.SIGTERM) is before


def test_our_whole_game_records_what_its_callbacks_can_average() -> None:
    game, data = patch_game().eval(), batch()
    (loss, record), (ours, own) = GameInEgg(game)(*data), game(*data)
    assert torch.equal(loss, ours) and all(v.is_floating_point() for v in record.aux.values())
    back, mask = from_egg(record), own.aux["message_mask"]
    assert torch.equal(back.aux["message_mask"], mask) and torch.equal(back.message[mask], own.message[mask])  # type: ignore[index]


# Losses


def viewing(
    sender_input: Any, message: Any, receiver_input: Any, output: Tensor, labels: Tensor, aux_input: Any
) -> Any:
    """As EGG's ReconstructionLoss reads its tensors."""
    output = output.view(len(labels) * 2, 2)
    return F.cross_entropy(output, labels.view(-1), reduction="none").view(len(labels), -1).mean(dim=1), {}


def test_a_loss_that_views_takes_every_step_of_our_receiver() -> None:
    game, data = naming_game(), batch()
    sender, receiver, _ = in_egg(Game(game.sender, game.channel, Namer(), EggLoss(viewing)), "ended", pair=False)
    output = receiver(sender(data.sender_input))
    assert output.shape == (16, 4, 4)
    for step in range(4):
        assert output[:, step].is_contiguous()
        viewing(None, None, None, output[:, step], torch.zeros(16, 2, dtype=torch.long), None)


@pytest.mark.parametrize("scalar", [True, False])
def test_losses_of_egg_may_record_a_number_or_two_views(scalar: bool) -> None:
    class Sender(nn.Linear):
        def forward(self, x: Tensor, aux_input: Any = None) -> Tensor:
            return F.gumbel_softmax(super().forward(x), hard=True)

    class Receiver(nn.Linear):
        def forward(self, message: Tensor, receiver_input: Any = None, aux_input: Any = None) -> Tensor:
            return super().forward(message)

    def loss(x: Tensor, _1: Any, _2: Any, output: Tensor, _3: Any, _4: Any) -> Any:
        each = (x - output).square().mean(dim=1)
        return (
            (each, {"acc": (each < 1).float().mean()}) if scalar else (each.repeat(2) / 2, {"acc": each.repeat(2) < 1})
        )

    game = Game(Sender(6, V), EggChannel(), EggReceiver(Receiver(V, 6)), EggLoss(loss))
    data = [Batch(torch.randn(8, 6)), Batch(torch.randn(4, 6))]
    trainer = Trainer(game, torch.optim.SGD(game.parameters(), 0.1), data, validation_data=data, device="cpu")
    trainer.train(1)
    _, record = trainer.eval()
    assert record.aux["acc"].shape == record.aux["loss"].shape == (12,)
    with pytest.raises(ValueError, match=r"values \[\] for 8 exchanges"):
        EggLoss(lambda *_: (torch.zeros(()), {}))(
            torch.zeros(8, 6), game(*data[0]) and said_of(game, data[0]), None, None, None, None
        )  # type: ignore[arg-type]


def said_of(game: Game, data: Batch) -> Any:
    return game.exchange(data.sender_input, None, None)[0]


class Theirs(nn.Module):
    """A game as EGG's are: its record has inputs, vectors and a number for the whole batch."""

    def __init__(self, record: Any, discrete: bool = True) -> None:
        super().__init__()
        self.linear, self.record, self.discrete = nn.Linear(6, V + 1), record, discrete

    def forward(
        self, sender_input: Tensor, labels: Any = None, receiver_input: Any = None, aux_input: Any = None
    ) -> Any:
        message = self.linear(sender_input)[:, None].repeat(1, 3, 1)
        if self.discrete:
            message = F.one_hot(message.argmax(dim=2), V + 1) + message.softmax(dim=2) - message.softmax(dim=2).detach()
        loss = message.square().mean() + self.linear.weight.square().mean()
        aux = {"acc": torch.tensor(0.5), "length": torch.ones(len(sender_input))}
        return loss, self.record(sender_input, None, labels, {}, message, message, torch.ones(len(sender_input)), aux)


@pytest.mark.parametrize("discrete", [True, False])
def test_a_game_of_egg_trains_and_validates_in_our_trainer(theirs: Any, discrete: bool) -> None:
    game, data = Theirs(theirs.Interaction, discrete), [Batch(torch.randn(8, 6), torch.arange(8))] * 2
    trainer = Trainer(
        game, torch.optim.SGD(game.parameters(), 0.1), data, validation_data=data, device="cpu",
        callbacks=[LanguageAnalysis()], also_validate={"again": data},
    )  # fmt: skip
    trainer.train(2)
    _, record = trainer.eval()
    assert type(record) is Interaction and record.aux["acc"].tolist() == [0.5] * 16 and record.sender_input is None
    assert (record.message is None) != discrete
    if discrete:
        ids = game.linear(data[0].sender_input).argmax(dim=1).tolist()
        for row, symbol in zip(record.message[:8], ids, strict=True):  # type: ignore[index]
            assert row.tolist() == [max(symbol - 1, 0)] * 3 or symbol == 0
    assert trainer.validation_record(record)["again_acc"] == 0.5


# The zoo's emcom_as_ssl


class SslStandIn(nn.Module):
    """The interface of emcom_as_ssl's agents: a symbol without a gradient beside the vector that is made of it."""

    def __init__(self) -> None:
        super().__init__()
        self.fc, self.fc_out, self.temperature = nn.Linear(5, V), nn.Linear(V, 7, bias=False), 1.0

    def forward(self, features: Tensor) -> Any:
        soft = self.fc(features).softmax(dim=1)
        message = F.one_hot(soft.argmax(dim=1), V) + soft - soft.detach()
        return self.fc_out(message), message.detach(), features.detach()


class SslHearer(nn.Linear):
    def forward(self, _: Any, features: Tensor) -> Any:  # type: ignore[override]
        return super().forward(features), features.detach()


def ssl_loss(_1: Any, text: Tensor, _2: Any, image: Tensor, _3: Any, _4: Any) -> Any:
    scores = F.normalize(text, dim=1) @ F.normalize(image, dim=1).T
    right = torch.arange(len(text))
    return F.cross_entropy(scores, right, reduction="none"), {"acc": (scores.argmax(dim=1) == right).float()}


@pytest.mark.parametrize("shared", [True, False])
def test_agents_of_emcom_as_ssl_play_our_game(shared: bool) -> None:
    theirs = nn.Module()
    theirs.vision_module, theirs.game = nn.Module(), nn.Module()
    theirs.vision_module.encoder, theirs.vision_module.shared = nn.Sequential(nn.Flatten(), nn.Linear(48, 5)), shared
    if not shared:
        theirs.vision_module.encoder_recv = nn.Sequential(nn.Flatten(), nn.Linear(48, 5))
    theirs.game.sender, theirs.game.receiver, theirs.game.loss = SslStandIn(), SslHearer(5, 7), ssl_loss
    first, second = batch().sender_input, batch().sender_input
    ours, twin = ssl_game(theirs), copy.deepcopy(theirs)
    features = twin.vision_module.encoder(first)
    other = (twin.vision_module.encoder if shared else twin.vision_module.encoder_recv)(second)
    text, symbol, _ = twin.game.sender(features)
    expected = ssl_loss(None, text, None, twin.game.receiver(None, other)[0], None, None)[0].mean()
    loss, record = ours([first, second])
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(ours(first, None, second)[0], expected)
    assert record.message.tolist() == symbol.argmax(dim=1, keepdim=True).tolist() and record.receiver_output.shape == (
        16,
        2,
        7,
    )
    loss.backward(), expected.backward()
    for (name, p), q in zip(theirs.named_parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(p.grad, q.grad, msg=name)
    with pytest.raises(ValueError, match="Linear is not a VisionGameWrapper"):
        ssl_game(nn.Linear(1, 1))
    theirs.game.sender = nn.Linear(5, 5)
    with pytest.raises(ValueError, match="Linear sends numbers and no symbols"):
        ssl_game(theirs)


# EGG itself


def test_the_stand_ins_are_like_egg(core: Any) -> None:
    assert [f.name for f in fields(core.Interaction)] == NAMES and core.Callback.__module__ == "egg.core.callbacks"
    for name in ("TopographicSimilarity", "Disent", "PrintValidationEvents", "MessageEntropy", "InteractionSaver"):
        assert getattr(core, name).__module__.startswith("egg.core.") and issubclass(getattr(core, name), core.Callback)


def test_eggs_own_callbacks_in_our_trainer(core: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from torch.utils.tensorboard import SummaryWriter

    trainer = small_trainer([])
    trainer.callbacks += [
        core.ConsoleLogger(print_train_loss=True, as_json=True),
        core.ProgressBarLogger(2, 2, 1),
        core.TensorboardLogger(SummaryWriter(str(tmp_path / "tensorboard"))),
        core.CheckpointSaver(tmp_path / "checkpoints"),
        core.InteractionSaver(test_epochs=[2], checkpoint_dir=str(tmp_path)),
        core.MessageEntropy(print_train=False),
        core.TemperatureUpdater(trainer.game.channel.estimator),
        core.EarlyStopperAccuracy(1.1),
    ]
    trainer.train(2)
    assert trainer.epoch == 2 and trainer.game.channel.estimator.temperature == pytest.approx(0.81)  # type: ignore[union-attr]
    found, (_, record) = load(tmp_path / "interactions/validation/epoch_2/interaction_gpu0"), trainer.eval()
    assert torch.equal(torch.from_numpy(found.mask), record.aux["message_mask"])
    assert found.symbols[found.mask].tolist() == record.message[record.aux["message_mask"]].tolist()  # type: ignore[index]
    said = capsys.readouterr().out
    assert said.count('"message_mask": ') == 2 and said.count('"entropy"') == 2
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == ["1.tar", "2.tar", "final.tar"]
    stopped = small_trainer([core.EarlyStopperAccuracy(0.0)])
    stopped.train(3)
    assert stopped.epoch == 1


@pytest.mark.parametrize("build", [patch_game, sequence_game])
def test_our_whole_game_in_eggs_trainer(core: Any, tmp_path: Path, build: Callable[[], Game]) -> None:
    game, data = build(), batch()
    for inside, callbacks in (
        (game, []),
        (GameInEgg(game), [core.ConsoleLogger(True, True), core.MessageEntropy(), core.EarlyStopperAccuracy(2.0)]),
    ):
        saver = core.InteractionSaver([1], [1], checkpoint_dir=str(tmp_path))
        core.Trainer(
            inside, torch.optim.SGD(game.parameters(), 0.01), [data] * 2, validation_data=[data],
            callbacks=[saver, *callbacks, StopOnSignal()],
        ).train(1)  # fmt: skip
        with torch.no_grad():
            _, record = game.eval()(*data)
        mask = record.aux["message_mask"]
        found = load(tmp_path / "interactions/validation/epoch_1/interaction_gpu0")
        assert (
            found.mask.tolist() == mask.tolist() and found.symbols[found.mask].tolist() == record.message[mask].tolist()
        )
        assert load(tmp_path / "interactions/train/epoch_1/interaction_gpu0").symbols.shape == (32, mask.shape[1])
    with pytest.raises(ValueError, match=r"Console needs the Trainer of patchgame_egg, this is egg\.core\.trainers"):
        core.Trainer(game, torch.optim.SGD(game.parameters(), 0.1), [data], callbacks=[training.Console()]).train(1)


@pytest.mark.parametrize("kind", KINDS)
def test_eggs_games_train_validate_and_are_dumped(core: Any, tmp_path: Path, kind: str) -> None:
    _, theirs = game_of_egg_agents(core, kind)
    data = attributes()
    loader = [(data.sender_input, data.labels)] * 3
    trainer = Trainer(
        theirs, torch.optim.Adam(theirs.parameters(), 1e-2), loader, validation_data=loader, device="cpu",
        callbacks=[core.ConsoleLogger(), LanguageAnalysis()],
    )  # fmt: skip
    trainer.train(1)
    _, record = trainer.eval()
    core.Trainer(
        theirs, torch.optim.SGD(theirs.parameters(), 0.0), loader, validation_data=loader,
        callbacks=[core.InteractionSaver([1], [1], checkpoint_dir=str(tmp_path))],
    ).train(1)  # fmt: skip
    found = load(tmp_path / "interactions/validation/epoch_1/interaction_gpu0")
    assert found.mask.tolist() == record.aux["message_mask"].tolist()
    assert found.symbols[found.mask].tolist() == record.message[record.aux["message_mask"]].tolist()  # type: ignore[index]
    assert found.vocab_size == 9 or "reinforced" in kind
    assert len(load(tmp_path / "interactions/train/epoch_1/interaction_gpu0")) == 108


def test_our_agents_in_a_game_of_egg_in_our_trainer(core: Any) -> None:
    game, data = patch_game(), batch()
    inside = core.SymbolGameGS(*in_egg(game))
    trainer = Trainer(inside, torch.optim.SGD(inside.parameters(), 0.1), [data], validation_data=[data], device="cpu")
    _, record = trainer.eval()
    _, own = game.eval()(*data)
    mask = own.aux["message_mask"]
    assert torch.equal(record.aux["message_mask"], mask) and torch.equal(record.message[mask], own.message[mask])  # type: ignore[index]


def test_eggs_reconstruction_loss_with_our_receiver(core: Any) -> None:
    class Hearer(Namer):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(12, 6)

    loss, labels = core.ReconstructionLoss(2, 3, 16), torch.randint(3, (16, 2))
    game = Game(sequence_speaker(), SequenceChannel(Gumbel()), Hearer(), EggLoss(loss))
    sender, receiver, _ = in_egg(game, "ended", pair=False)
    total, _ = core.SenderReceiverRnnGS(sender, receiver, loss)(batch().sender_input, labels)
    total.backward()
    torch.testing.assert_close(total, total.clone())
    game(batch().sender_input, labels)[0].backward()


def test_eggs_loaders(core: Any) -> None:
    from egg.zoo.simple_autoenc.features import OneHotLoader

    def mean_squared_error(x: Tensor, _1: Any, _2: Any, output: Tensor, _3: Any, _4: Any) -> Any:
        return (x - output).square().mean(dim=1), {"acc": (x.argmax(dim=1) == output.argmax(dim=1)).float().mean()}

    sender = core.GumbelSoftmaxWrapper(Agent(8, 5), 1.0)
    receiver = core.SymbolReceiverWrapper(Agent(7, 8), 5, 7)
    for game in (
        core.SymbolGameGS(sender, receiver, mean_squared_error),
        Game(sender, EggChannel(), EggReceiver(receiver), EggLoss(mean_squared_error)),
    ):
        trainer = Trainer(
            game, torch.optim.Adam(game.parameters(), 1e-2), OneHotLoader(8, 20, 16, seed=1), device="cpu",
            validation_data=OneHotLoader(8, 3, 16, seed=2), accumulate=3, callbacks=[training.Console()],
        )  # fmt: skip
        trainer.train(2)
        _, record = trainer.eval()
        assert trainer.step == 14 and record.size == 48 and record.aux["acc"].shape == (48,)


def test_emcom_as_ssl_itself(core: Any) -> None:
    zoo = pytest.importorskip("egg.zoo.emcom_as_ssl.archs", reason=WHY)
    from egg.zoo.emcom_as_ssl.losses import get_loss

    def encoder() -> nn.Module:
        return nn.Sequential(nn.Flatten(), nn.Linear(48, 16), nn.BatchNorm1d(16), nn.ReLU())

    views = [torch.randn(16, 3, 4, 4), torch.randn(16, 3, 4, 4)]
    for shared, kind, hard in ((True, "xent", True), (False, "ntxent", False)):
        agents = zoo.EmSSLSender(16, 12, 8, straight_through=hard), zoo.Receiver(16, 12, 8)
        game = zoo.EmComSSLSymbolGame(*agents, get_loss(0.1, "cosine", False, kind))
        theirs = zoo.VisionGameWrapper(game, zoo.VisionModule(encoder(), None if shared else encoder()))
        twin = copy.deepcopy(theirs)
        ours = ssl_game(twin)
        torch.manual_seed(1)
        expected, _ = theirs(views, None)
        torch.manual_seed(1)
        loss, _ = ours(views)
        torch.testing.assert_close(loss, expected)
        loss.backward(), expected.backward()
        for (name, p), q in zip(theirs.named_parameters(), twin.parameters(), strict=True):
            torch.testing.assert_close(q.grad, p.grad, msg=name)
        theirs.eval(), ours.eval()
        (expected, log), (loss, record) = theirs(views, None), ours(*views[:1], None, views[1])
        torch.testing.assert_close(loss, expected)
        assert torch.equal(record.message[:, 0], log.aux["message_like"].argmax(dim=1))
