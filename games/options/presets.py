"""Where the options start: a laptop, the paper's text, the authors' release."""

from __future__ import annotations

from dataclasses import replace

from games.options.config import (
    Config,
    DataOptions,
    ListenerOptions,
    LossOptions,
    RunOptions,
    SpeakerOptions,
    TrainingOptions,
)

# The text's sizes (section 3); where it is silent, the release's (heads, views).
PAPER = Config(
    speaker=SpeakerOptions(
        patch_size=32, symbol_hidden=768, rank_width=64, max_len=48, encoder="resnet18",
        decoder_dim=512, rank_mirrored=False,
    ),
    listener=ListenerOptions(
        text_dim=192, text_depth=12, vision="resnet18", head_hidden=2048, head_bottleneck=256,
        head_wide=65536,
    ),
    loss=LossOptions(temperature=0.07, reduction="sum"),
    images=DataOptions(
        image_size=224, min_area=0.14, jitter=0.8, grey=0.2, blur=(1.0, 0.1), solarise=(0.0, 0.2), view_ramp=0.0
    ),
    training=TrainingOptions(
        epochs=100, batch_size=512, candidates=512, optimizer="sgd", lr=1e-4, min_lr=0.0, warmup=10, weight_decay=1e-4,
        grad_norm=None,
    ),
    run=RunOptions(checkpoint_every=1000),
)  # fmt: skip

# What the authors' release does where it differs from the text.
RELEASED = replace(
    PAPER,
    speaker=replace(
        PAPER.speaker, logit_scale=0.0, context=True, released_symbol=True, rank_padding="zeros", rank_dropout=0.1
    ),
    channel=replace(PAPER.channel, gate="released", rank_spread=0.0, gumbel_start=5.0, gumbel_end=1.0),
    listener=replace(PAPER.listener, text_norm="post", silence="attend"),
    loss=LossOptions(temperature=0.07, learn_temperature=True, detach_negatives=True),
    training=replace(
        PAPER.training, optimizer="adamw", lr=2e-4, min_lr=1e-5, warmup=30, weight_decay=0.04, weight_decay_end=0.4,
        freeze_epochs=1,
    ),
)  # fmt: skip

PRESETS = {"small": Config(), "paper": PAPER, "released": RELEASED}
