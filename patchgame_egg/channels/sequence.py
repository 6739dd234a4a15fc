"""The channel of speakers that say one symbol after another until they end the message."""

from __future__ import annotations

import torch

from patchgame_egg.agents.sequence_speaker import SequenceFeatures
from patchgame_egg.channels.channel import Channel
from patchgame_egg.channels.estimator import Estimator
from patchgame_egg.channels.quantised import Quantised
from patchgame_egg.interaction import Message


class SequenceChannel(Channel):
    """One symbol after another, until the speaker ends its message or ``max_len`` symbols are said.

    The end is a choice of its own beside the V symbols; it is not passed on and not counted. After it, all slots are
    silent. With `Continuous` messages never end.

    Args:
        estimator: how the gradient gets past the choices; None: `Gumbel`. Not `Quantised`.
        speak_cost: price of a spoken symbol, in nats of the listener's loss.
        seed: seed of the noise.

    Raises:
        ValueError: an option is out of its range, or does not go with another.

    Example:
        >>> from patchgame_egg.agents.sequence_speaker import RecurrentDecoder
        >>> decoder = RecurrentDecoder(vocab_size=5, max_len=4, dim=8, ends=False)
        >>> message = SequenceChannel().eval()(SequenceFeatures(torch.zeros(2, 8), decoder))
        >>> tuple(message.vectors.shape), message.lengths.tolist()
        ((2, 4, 5), [4, 4])
    """

    def __init__(self, estimator: Estimator | None = None, speak_cost: float = 0.0, seed: int = 0) -> None:
        super().__init__(estimator, speak_cost, seed)
        if isinstance(self.estimator, Quantised):
            raise ValueError("a codebook takes patches alone: a decoder gives logits of symbols, not codes")

    def forward(self, features: SequenceFeatures) -> Message:
        """Speaks: T = ``max_len`` slots, the first `Message.lengths` of which are said.

        Raises:
            ValueError: the features are of another kind of speaker.
        """
        if not isinstance(features, SequenceFeatures):
            raise ValueError(
                f"the sender gave {type(features).__name__}: a SequenceChannel takes SequenceFeatures, a summary and a "
                "decoder; speakers of patches go with a PatchChannel"
            )
        decoder, length = features.decoder, features.decoder.max_len
        rows, vocab, device = features.summary.shape[0], decoder.vocab_size, features.summary.device
        scored, ends = self.estimator.scored and self.training, decoder.ends
        uniform = self.uniform(rows, length, decoder.choices, device=device) if self.training else None
        state, previous, expected = decoder.start(features.summary), None, None
        alive = torch.ones(rows, device=device)
        log_prob = entropy = torch.zeros(rows, device=device)
        vectors, gates = [], []
        for slot in range(length):
            logits, state = decoder.step(slot, state, previous)  # [B, C]
            if scored and slot == 0:
                expected = self.estimator.expect(logits)
            previous, _ = self.estimator.choose(logits, None if uniform is None else uniform[:, slot])
            if scored:
                log_probs = logits.log_softmax(dim=1)
                log_prob = log_prob + (log_probs * previous).sum(dim=1) * alive
                entropy = entropy - (log_probs.exp() * log_probs).sum(dim=1) * alive
            if ends and self.estimator.discrete:
                alive = alive * (1 - previous[:, vocab])
            vectors.append(previous[:, :vocab])
            gates.append(alive)
        said, gate = torch.stack(vectors, dim=1), torch.stack(gates, dim=1)
        return Message(
            symbols=said.detach().argmax(dim=2),
            vectors=said * gate[:, :, None],
            mask=gate.detach() > 0.5,
            gate=gate if ends and self.estimator.discrete and not self.estimator.scored else None,
            log_prob=log_prob if scored else None,
            entropy=entropy if scored else None,
            expected_loss=expected,
        )
