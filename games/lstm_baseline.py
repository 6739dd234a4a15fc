"""PatchGame with another speaker and channel: an LSTM says one symbol after another about the whole image.

All the rest is as in PatchGame, and as in games/custom_speaker.py.
"""

from dataclasses import dataclass

import torch
import tyro

from patchgame_egg import Game, SymmetricInfoNCE, agents, channels, data, training, views


@dataclass
class Options:
    vocab: int = 64  # symbols that carry meaning; the end of a message is one more choice
    max_len: int = 8  # the most symbols that a message has
    scenes: int = 2048  # images to train on
    epochs: int = 15
    seed: int = 0  # of weights, noise and views


def main(argv: list[str] | None = None) -> None:
    o = tyro.cli(Options, prog="python -m games.lstm_baseline", description=__doc__, args=argv)
    torch.manual_seed(o.seed)
    eye, features = agents.vision_trunk("resnet9", 32, width=8)
    decoder = agents.RecurrentDecoder(o.vocab, o.max_len, dim=96, cell="lstm", logit_scale=6.0)
    speaker = agents.SequenceSpeaker(eye, features, decoder)
    channel = channels.SequenceChannel(channels.Gumbel(), seed=o.seed)

    text = agents.TextEncoder(o.vocab, slots=o.max_len, dim=48, depth=1, silence="gate")
    vision, features = agents.vision_trunk("resnet9", 32, width=8)
    listener = agents.Listener(text, vision, features, head_hidden=128, head_bottleneck=64)
    patchgame = Game(speaker, channel, listener, SymmetricInfoNCE())

    crops = views.ViewStrength(min_area=0.8, jitter=0, grey=0, blur=0)  # the colours stay
    images = data.ImageLoader(data.Scenes(o.scenes, 36), 64, o.seed)
    train = views.ViewLoader(images, views.RandomViews(32, o.seed, crops, crops), "cpu")
    held_out = data.ImageLoader(data.Scenes(512, 36, split="val"), 128, shuffle=False)
    test = views.ViewLoader(held_out, views.EvaluationView(32), "cpu")

    adam = torch.optim.AdamW(patchgame.parameters(), lr=2e-3)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(adam, o.epochs * len(train))
    log, chance = [training.Console()], lambda _: {"candidates": 128.0}
    trainer = training.Trainer(patchgame, adam, train, cosine, test, "cpu", log, 1.0, metrics=chance)
    trainer.train(o.epochs)

    message = patchgame.eval().channel(speaker(next(iter(test)).sender_input))
    for symbols, said in list(zip(message.symbols, message.mask, strict=True))[:5]:
        print(*symbols[said].tolist())


if __name__ == "__main__":
    main()
