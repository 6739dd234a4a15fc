"""Human sentences for the listener: which are read, what their loss is, what learns from them, what evaluation does."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from patchgame_egg.agents.listener import Listener, TextEncoder
from patchgame_egg.agents.sentences import SentenceReader
from patchgame_egg.interaction import Message
from patchgame_egg.losses import GroundedInfoNCE, SymmetricInfoNCE, grounding

CAPTIONS = [["A red cat."], [], ["no cat", "a dog"], ["..."]]


def message(count: int = 4) -> Message:
    symbols = torch.arange(count * 3).reshape(count, 3) % 5
    return Message(symbols, F.one_hot(symbols, 5).float(), mask=torch.ones(count, 3, dtype=torch.bool))


def listener(captions: list[list[str]]) -> Listener:
    torch.manual_seed(0)
    text, vision = TextEncoder(5, 3, dim=8, depth=2, heads=2), nn.Sequential(nn.Flatten(), nn.Linear(12, 6))
    sentences = SentenceReader(captions, 8, seed=1) if captions else None
    return Listener(text, vision, 6, head_hidden=8, head_bottleneck=4, sentences=sentences)


def test_one_sentence_of_each_image_is_read_and_every_one_in_time() -> None:
    reader = SentenceReader(CAPTIONS, dim=4, seed=3)
    names = {number: word for word, number in reader.vocabulary.items()}
    read: list[set[tuple[str, ...]]] = [set() for _ in CAPTIONS]
    for _ in range(40):
        vectors, mask, there = reader(torch.tensor([0, 1, 2, 3]))
        assert there.tolist() == [True, False, True, False] and not mask[~there].any()
        words = (vectors - reader.positions)[:, :, None] - reader.words
        numbers = words.norm(dim=3).argmin(dim=2)
        for row in (0, 2):
            read[row].add(tuple(names[int(n)] for n in numbers[row][mask[row]]))
    assert read == [{("a", "red", "cat")}, set(), {("no", "cat"), ("a", "dog")}, set()]
    with pytest.raises(ValueError, match="no caption holds a word"):
        SentenceReader([["..."], []], dim=4, seed=0)


def test_draws_go_on_where_a_checkpoint_stopped() -> None:
    reader, index = SentenceReader([["a", "b", "c"]] * 20, dim=4, seed=3), torch.arange(20)
    reader(index)
    kept = reader.state_dict()
    expected = reader(index)[0]
    again = SentenceReader([["a", "b", "c"]] * 20, dim=4, seed=3)
    again.load_state_dict(kept)
    assert torch.equal(again(index)[0], expected) and not any("tokens" in name for name in kept)


def test_the_loss_is_that_of_the_captioned_images_alone() -> None:
    torch.manual_seed(0)
    sentence, image = torch.randn(6, 5), torch.randn(6, 5)
    there = torch.tensor([1, 0, 1, 1, 0, 0]) > 0
    sentence = (sentence * there[:, None]).requires_grad_()
    found = grounding(sentence, image, 0.2)
    # The loop of the definition, over the three.
    a, b = F.normalize(sentence[there], dim=1), F.normalize(image[there], dim=1)
    similar = a @ b.T / 0.2
    right = -(similar.log_softmax(1).diagonal() + similar.log_softmax(0).diagonal()) / 2
    assert torch.allclose(found[there], right * 2, atol=1e-6) and not found[~there].any()
    assert found.mean().item() == pytest.approx(right.mean().item(), abs=1e-6)
    found.mean().backward()
    assert sentence.grad is not None and sentence.grad[there].any() and not sentence.grad[~there].any()
    assert not grounding(sentence * (torch.arange(6) == 0)[:, None], image).any(), "one image has no rivals"
    alike = grounding(torch.ones(4, 3), torch.ones(4, 3))
    assert alike.tolist() == pytest.approx([math.log(4)] * 4)


def test_sentences_teach_the_text_side_and_the_trunk_in_training_alone() -> None:
    heard, images, aux = message(), torch.randn(4, 3, 2, 2), {"index": torch.tensor([0, 1, 2, 0])}
    grounded, plain = listener(CAPTIONS), listener([])
    plain.load_state_dict({n: v for n, v in grounded.state_dict().items() if "sentences" not in n})
    text, image, sentence = grounded(heard, images, aux)
    assert torch.equal(torch.stack([text, image]), torch.stack(list(plain(heard, images))))
    assert sentence.any(dim=1).tolist() == [True, False, True, True]
    loss, more = GroundedInfoNCE()(None, None, None, (text, image, sentence), None, None)
    usual, _ = SymmetricInfoNCE()(None, None, None, (text, image), None, None)
    assert torch.allclose(loss, usual + more["ground_loss"])
    more_loss: Tensor = grounding(sentence, image)
    more_loss.mean().backward()
    taught = {name.split(".")[0] for name, p in grounded.named_parameters() if p.grad is not None and p.grad.any()}
    assert {"sentences", "text", "text_head", "vision"} <= taught
    assert grounded.text.symbols.grad is None, "only what is said moves the table of symbols"
    grounded.eval()
    assert len(grounded(heard, images, aux)) == 2
    assert len(GroundedInfoNCE()(None, None, None, (text, image), None, None)) == 2
    grounded.train()
    with pytest.raises(ValueError, match='no "index"'):
        grounded(heard, images)
    with pytest.raises(ValueError, match="narrow compares"):
        Listener(grounded.text, nn.Identity(), 6, narrow=True, sentences=grounded.sentences)
