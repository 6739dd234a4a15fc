"""Which options are in range and go together: found before anything is built."""

from __future__ import annotations

import os

from games.options.config import Config


def check(config: Config) -> None:
    """Finds what is wrong before anything is built.

    Raises:
        ValueError: an option is out of its range, or does not go with another.
    """
    speaker, channel, training, images = config.speaker, config.channel, config.training, config.images
    _check_channel(config)
    name = os.path.normpath(config.run.name)
    if config.run.name and (os.path.isabs(name) or name.split(os.sep)[0] in (os.curdir, os.pardir)):
        raise ValueError(f"--name {config.run.name} leaves --out {config.run.out}: give the name of a folder in it")
    if config.load_size < images.image_size:
        raise ValueError(f"--load-size {images.load_size} is smaller than --image-size {images.image_size}")
    if images.annotations and images.data != "folder":
        raise ValueError(f"--annotations describes files: it goes with --data folder, not {images.data}")
    if images.captions and images.data != "folder":
        raise ValueError(f"--captions describes files: it goes with --data folder, not {images.data}")
    _check_ground(config)
    for name, value, least in (
        ("--vocab", speaker.vocab, 2),
        ("--max-len", speaker.max_len, 1),
        ("--encoder-width", speaker.encoder_width, 1),
        ("--decoder-dim", speaker.decoder_dim, 1),
        ("--decoder-depth", speaker.decoder_depth, 1),
        ("--decoder-heads", speaker.decoder_heads, 1),
        ("--code-dim", channel.code_dim, 2),
        ("--speak-cost", channel.speak_cost, 0),
        ("--entropy-start", channel.entropy_start, 0),
        ("--entropy-end", channel.entropy_end, 0),
        ("--commitment", channel.commitment, 0),
        ("--logit-scale", speaker.logit_scale, 0),
        ("--num-distractors", config.loss.num_distractors, 1),
        ("--speakers", speaker.speakers, 1),
        ("--listeners", config.listener.listeners, 1),
        ("--epochs", training.epochs, 1),
        ("--batch-size", training.batch_size, 2),
        ("--candidates", training.candidates, 2),
        ("--scenes", images.scenes, 2),
        ("--class-level", images.class_level, 1),
        ("--limit", 2 if images.limit is None else images.limit, 2),
        ("--symbol-hidden", speaker.symbol_hidden, 1),
        ("--rank-width", speaker.rank_width, 1),
        ("--text-dim", config.listener.text_dim, 1),
        ("--text-depth", config.listener.text_depth, 1),
        ("--text-heads", config.listener.text_heads, 1),
        ("--vision-width", config.listener.vision_width, 1),
        ("--head-hidden", config.listener.head_hidden, 1),
        ("--head-bottleneck", config.listener.head_bottleneck, 1),
        ("--head-wide", config.listener.head_wide, 0),
        ("--workers", images.workers or 0, 0),
        ("--accumulate", training.accumulate, 1),
        ("--micro-batch", training.micro_batch, 0),
        ("--freeze-epochs", training.freeze_epochs, 0),
        ("--seed", training.seed, 0),
        ("--checkpoint-every", config.run.checkpoint_every, 1),
        ("--analyse-every", config.run.analyse_every, 0),
    ):
        if value < least:
            raise ValueError(f"{name} {value}: must be at least {least}")
    for name, positive in (
        ("--lr", training.lr),
        ("--speaker-lr", config.speaker_lr),
        ("--timeout", config.run.timeout),
        ("--gumbel-start", channel.gumbel_start),
        ("--gumbel-end", channel.gumbel_end),
    ):
        if not positive > 0:
            raise ValueError(f"{name} {positive}: must be above 0")
    if images.val_share is not None and not 0 < images.val_share < 1:
        raise ValueError(f"--val-share {images.val_share}: must be above 0 and below 1")
    for name, share in (
        ("--anneal", channel.anneal),
        ("--rank-dropout", speaker.rank_dropout),
        ("--view-ramp", config.view_ramp),
    ):
        if not 0 <= share <= 1:
            raise ValueError(f"{name} {share}: must be between 0 and 1")
    if not config.loss.in_batch and not config.loss.distractors:
        raise ValueError("--no-in-batch leaves a message nothing to be matched with: give --distractors")
    if training.warmup < 0 or training.warmup > training.epochs:
        raise ValueError(f"--warmup {training.warmup}: must be between 0 and the {training.epochs} epochs")
    if training.freeze_epochs and not config.listener.head_wide:
        raise ValueError("--freeze-epochs freezes the heads' wide maps, and --head-wide is 0")


def _check_ground(config: Config) -> None:
    loss, data = config.loss, config.images.data
    if not 0 < loss.ground_share <= 1:
        raise ValueError(f"--ground-share {loss.ground_share}: must be above 0 and at most 1; without --ground it is 0")
    if not loss.ground:
        if loss.ground_share != 1:
            raise ValueError("--ground-share is a share of the sentences of --ground, which is not given")
        return
    if data not in ("scenes", "folder") or (data == "scenes") != (loss.ground == "scenes"):
        raise ValueError(
            f"--ground {loss.ground} does not go with --data {data}: give --ground scenes for the built-in scenes, a "
            "file of captions for a folder"
        )
    if loss.distractors:
        raise ValueError("--ground does not go with --distractors: sentences are matched to the images of a batch")
    if config.channel.channel == "reinforce":
        raise ValueError("--ground does not go with --channel reinforce, which would take its loss for the speaker's")


def _check_channel(config: Config) -> None:
    speaker, channel = config.speaker, config.channel
    fixes_number = channel.keep is not None or channel.keep_fraction is not None
    if channel.keep is not None and channel.keep_fraction is not None:
        raise ValueError("--keep and --keep-fraction say the same thing twice: give one of them")
    if channel.channel == "continuous" and (channel.speak_cost or fixes_number):
        raise ValueError("--channel continuous always says everything: leave out --speak-cost and --keep")
    if speaker.speaker == "patch":
        _check_patches(config, fixes_number)
    elif speaker.patch_scales != 1:
        raise ValueError(f"--patch-scales goes with --speaker patch, not {speaker.speaker}")
    elif fixes_number:
        raise ValueError(f"--keep chooses among patches; the length of --speaker {speaker.speaker} is --max-len")
    elif channel.channel == "quantised":
        raise ValueError(f"--channel quantised goes with --speaker patch, not {speaker.speaker}")
    elif channel.speak_cost and speaker.fixed_len:
        raise ValueError("--speak-cost needs messages that can be shorter: leave out --fixed-len")
    if channel.channel == "quantised" and config.training.micro_batch:
        raise ValueError("--channel quantised learns its codebook while it speaks, once: leave out --micro-batch")
    if config.run.frozen_speaker and (speaker.speakers > 1 or config.listener.listeners > 1):
        raise ValueError("--frozen-speaker teaches one listener: leave out --speakers and --listeners")


def _check_patches(config: Config, fixes_number: bool) -> None:
    channel, patches, speaker = config.channel, config.patches, config.speaker
    if speaker.patch_network == "conv" and (speaker.context or speaker.released_symbol):
        other = "--context" if speaker.context else "--released-symbol"
        raise ValueError(f"--patch-network conv is a network of its own: it does not go with {other}")
    if speaker.patch_network == "conv" and speaker.patch_size < 5:
        raise ValueError(f"--patch-size {speaker.patch_size}: --patch-network conv needs patches of at least 5 px")
    if channel.keep_fraction is not None and not 0 < channel.keep_fraction <= 1:
        raise ValueError(f"--keep-fraction {channel.keep_fraction}: must be above 0 and at most 1")
    if channel.keep is not None and not 1 <= channel.keep <= patches:
        raise ValueError(f"--keep {channel.keep}: an image of {config.images.image_size} px has {patches} patches")
    if channel.gate == "released" and channel.channel != "gumbel":
        raise ValueError(f"--gate released goes with --channel gumbel, not {channel.channel}")
    if channel.gate == "released" and fixes_number:
        raise ValueError("--gate released lets every patch speak: leave out --keep")
    if channel.speak_cost and (channel.gate != "free" or fixes_number):
        raise ValueError("--speak-cost needs --gate free and no --keep: elsewhere the length is fixed")
