"""The agents that the options describe: speakers with their channels, listeners, and the game that they play."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from games.options.config import Config
from games.runs.files import CHECKPOINT
from patchgame_egg.agents.listener import Listener, TextEncoder
from patchgame_egg.agents.patch_speaker import PatchRank, PatchSpeaker, PatchSymbol, PatchSymbols
from patchgame_egg.agents.sentences import SentenceReader
from patchgame_egg.agents.sequence_speaker import Decoder, RecurrentDecoder, SequenceSpeaker, TransformerDecoder
from patchgame_egg.agents.trunks import vision_trunk
from patchgame_egg.channels.channel import Channel
from patchgame_egg.channels.continuous import Continuous
from patchgame_egg.channels.estimator import Estimator
from patchgame_egg.channels.gumbel import Gumbel
from patchgame_egg.channels.patch import PatchChannel
from patchgame_egg.channels.quantised import Quantised
from patchgame_egg.channels.reinforce import LearntBaseline, Reinforce
from patchgame_egg.channels.sequence import SequenceChannel
from patchgame_egg.distributed.random_module import RandomModule
from patchgame_egg.game import Game
from patchgame_egg.losses import GroundedInfoNCE, SymmetricInfoNCE
from patchgame_egg.patches import patch_sizes
from patchgame_egg.population import FrozenSpeakerGame, Population
from patchgame_egg.training import checkpoint


def build_speaker(config: Config, seed: int) -> tuple[nn.Module, Channel]:
    """A speaker and its channel; the seed is the channel's, the weights come from torch's generator."""
    s, c, size = config.speaker, config.channel, config.images.image_size
    estimators: dict[str, Callable[[], Estimator]] = {
        "gumbel": lambda: Gumbel(c.gumbel_start),
        "reinforce": lambda: Reinforce(
            LearntBaseline(s.vocab + (s.speaker != "patch" and not s.fixed_len)) if c.baseline == "learnt" else None,
            c.entropy_start,
        ),
        "quantised": lambda: Quantised(c.code_dim, s.vocab, c.commitment, seed=seed + 3),
        "continuous": Continuous,
    }
    estimator = estimators[c.channel]()
    if s.speaker == "patch":
        # A codebook takes codes of any scale; of scale 1, the commitment loss is neither mute nor deafening.
        outputs, scale = (c.code_dim, 1.0) if c.channel == "quantised" else (s.vocab, s.logit_scale)
        symbols = [
            PatchSymbol(
                size,
                side,
                outputs,
                s.symbols_per_patch,
                s.symbol_hidden,
                scale,
                s.context,
                s.patch_network,
                s.released_symbol,
            )
            for side in patch_sizes(size, s.patch_size, s.patch_scales)
        ]
        patches = PatchSpeaker(
            symbols[0] if s.patch_scales == 1 else PatchSymbols(symbols),
            PatchRank(
                size, s.patch_size, s.rank_width, s.rank_dropout, s.patch_scales, s.rank_padding, s.rank_mirrored
            ),
            s.patch_scales,
        )
        return patches, PatchChannel(
            estimator, c.gate, config.keep, c.rank_strength, c.rank_spread, c.rank_op, c.speak_cost, seed + 1
        )
    encoder, width = vision_trunk(s.encoder, size, s.encoder_width)
    ends, scale = not s.fixed_len, s.logit_scale
    decoder: Decoder
    if s.speaker == "transformer":
        decoder = TransformerDecoder(s.vocab, s.max_len, s.decoder_dim, s.decoder_depth, s.decoder_heads, ends, scale)
    else:
        decoder = RecurrentDecoder(s.vocab, s.max_len, s.decoder_dim, s.speaker, s.decoder_depth, ends, scale)
    return SequenceSpeaker(encoder, width, decoder), SequenceChannel(estimator, c.speak_cost, seed + 1)


def build_listener(config: Config, captions: Sequence[Sequence[str]] = (), seed: int = 0) -> Listener:
    """A listener, with weights from torch's generator; the seed is that of the sentences that it reads."""
    h, size = config.listener, config.images.image_size
    text = TextEncoder(
        config.speaker.vocab, config.slots, h.text_dim, h.text_depth, h.text_heads, h.text_norm, h.silence
    )
    vision, vision_dim = vision_trunk(h.vision, size, h.vision_width)
    narrow = not config.loss.detach_negatives and not captions
    # Apart from the other weights, which are the same without sentences.
    with torch.random.fork_rng(devices=[]):
        sentences = SentenceReader(captions, h.text_dim, seed) if captions else None
    return Listener(text, vision, vision_dim, h.head_hidden, h.head_bottleneck, h.head_wide, narrow, sentences)


def build_game(config: Config, captions: Sequence[Sequence[str]] = ()) -> Game | Population:
    """The speakers, channels, listeners and loss that the options describe, with weights drawn from the seed.

    Args:
        config: the options.
        captions: sentences about each image to train on, by number, that listeners read; none: they do not.

    Raises:
        ValueError: an option is out of its range.
    """
    seed = config.training.seed
    with torch.random.fork_rng(devices=[]):
        # Weights are drawn on the CPU; torch.manual_seed would also reseed every GPU, for good.
        torch.default_generator.manual_seed(seed)
        speakers = [build_speaker(config, seed + 1000 * n) for n in range(config.speaker.speakers)]
        listeners = [build_listener(config, captions, seed + 5 + 1000 * n) for n in range(config.listener.listeners)]
    own, contrast = config.loss, GroundedInfoNCE if captions else SymmetricInfoNCE
    loss = contrast(own.temperature, own.learn_temperature, own.detach_negatives, own.in_batch)
    micro = config.training.micro_batch
    if len(speakers) > 1 or len(listeners) > 1:
        return Population([s for s, _ in speakers], [c for _, c in speakers], listeners, loss, seed + 4, micro)
    kind = FrozenSpeakerGame if config.run.frozen_speaker else Game
    return kind(*speakers[0], listeners[0], loss, micro)


def compile_networks(game: Game | Population) -> None:
    """Compiles, in place, the networks whose inputs keep their shape; names and weights stay as they are.

    These are the speaker's two networks, or its encoder, and the listener's vision trunk and heads. The text encoder
    is not compiled: it sees the longest message of each batch, and would be compiled for many lengths.
    """
    speakers = game.senders if isinstance(game, Population) else [game.sender]
    listeners = game.receivers if isinstance(game, Population) else [game.receiver]
    for speaker in speakers:
        networks = [speaker.encoder] if isinstance(speaker, SequenceSpeaker) else [speaker.symbol, speaker.rank]
        for network in networks:
            assert isinstance(network, nn.Module)
            network.compile()
    for listener in listeners:
        assert isinstance(listener, Listener)
        for network in (listener.vision, listener.text_head.mlp, listener.vision_head.mlp):
            network.compile()


def load_agents(game: nn.Module, state: Mapping[str, Any]) -> None:
    """Copies what agents have learnt, but for the human words of listeners, which belong to a file of captions.

    Raises:
        RuntimeError: these are other agents.
    """
    words = [name for name in game.state_dict() if ".sentences." in name]
    own = {name: game.state_dict()[name] for name in words}
    game.load_state_dict({name: value for name, value in state.items() if ".sentences." not in name} | own)


def take_over_agents(game: nn.Module, run: Path) -> None:
    """Copies what the agents of a run have learnt; what is random in them starts anew.

    Raises:
        ValueError: the run has no checkpoint, or one of other agents.
    """
    try:
        load_agents(game, checkpoint.load(run / CHECKPOINT, "cpu")["game"])
    except (RuntimeError, KeyError) as error:
        first = " ".join(str(error).split())[:300]
        raise ValueError(f"--init-from {run}: its checkpoint is of other agents: {first}") from error
    for module in game.modules():
        if isinstance(module, RandomModule):
            module.draws = 0


def take_over_speaker(game: Game, run: Path) -> None:
    """Copies the weights of a run's speaker and its channel; of a population, of the first.

    Raises:
        ValueError: the run has no checkpoint, or one that does not fit its options.
    """
    state = checkpoint.load(run / CHECKPOINT, "cpu")["game"]
    for module, names in ((game.sender, ("sender.", "senders.0.")), (game.channel, ("channel.", "channels.0."))):
        weights = {k.removeprefix(name): v for name in names for k, v in state.items() if k.startswith(name)}
        try:
            module.load_state_dict(weights)
        except RuntimeError as error:
            first = " ".join(str(error).split())[:300]
            raise ValueError(f"--frozen-speaker {run}: its checkpoint does not fit its options: {first}") from error
