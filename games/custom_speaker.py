"""PatchGame with a speaker of one's own, who names the colours of patches and prefers patches with much contrast."""

from dataclasses import dataclass

import torch
import tyro
from torch import Tensor, nn

from patchgame_egg import Game, SymmetricInfoNCE, agents, channels, data, training, views


@dataclass
class Options:
    vocab: int = 32  # colours that have a name
    keep: int = 8  # patches that speak, of 16
    scenes: int = 2048  # images to train on
    epochs: int = 15
    seed: int = 0  # of weights, noise and views


class ColourSpeaker(nn.Module):  # a symbol is a colour, which is learnt; a patch says the nearest
    def __init__(self, vocab: int) -> None:
        super().__init__()
        self.palette = nn.Parameter(torch.randn(vocab, 3))

    def forward(self, images: Tensor, aux_input: object = None) -> agents.PatchFeatures:
        patches = nn.functional.unfold(images, 8, stride=8).unflatten(1, (3, 64)).transpose(1, 3)  # [B, P, 64, 3]
        distances = torch.cdist(patches.mean(dim=2), self.palette)  # [B, P, V]
        return agents.PatchFeatures(-4 * distances[:, :, None].square(), scores=patches.std(dim=2).mean(dim=2))


def main(argv: list[str] | None = None) -> None:
    o = tyro.cli(Options, prog="python -m games.custom_speaker", description=__doc__, args=argv)
    torch.manual_seed(o.seed)
    speaker = ColourSpeaker(o.vocab)
    channel = channels.PatchChannel(channels.Gumbel(), keep=o.keep, rank_spread=0.29, seed=o.seed)

    text = agents.TextEncoder(o.vocab, slots=16, dim=48, depth=1)
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
    for row in message.symbols[0].where(message.mask[0], -1).view(4, 4).tolist():
        print(*(" ." if symbol < 0 else f"{symbol:2}" for symbol in row))


if __name__ == "__main__":
    main()
