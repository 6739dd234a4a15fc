"""Human text, and noise, as languages to hold others against."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from analysis.corpus.caption_files import read_captions
from analysis.corpus.captions import describe_scene
from analysis.corpus.corpus import Corpus
from analysis.corpus.json_lines import as_table
from patchgame_egg.data.scenes import Scenes
from patchgame_egg.text_files import read_lines

# Scenes that the built-in sentences are about, where no file is given.
_SCENES = 2000


def read_sentences(path: Path | None) -> list[list[str]]:
    """Sentences as words in lower case.

    Args:
        path: a file of captions (JSON lines or CSV with file and caption), or any other text with a sentence a line;
            None: sentences about the built-in scenes, which a rule made: English words, and no human's syntax.

    Returns:
        Sentences with a word at least.

    Raises:
        ValueError: the file cannot be read, or holds no word.
    """
    if path is None:
        scenes = Scenes(_SCENES)
        texts = [describe_scene(scenes.scene(i)) for i in range(_SCENES)]
    elif path.suffix in (".jsonl", ".csv"):
        texts = [sentence for sentences in read_captions(path).by_name.values() for sentence in sentences]
    else:
        try:
            texts = read_lines(path)
        except OSError as error:
            raise ValueError(f"{path} cannot be read ({error.strerror}): give captions or a text") from error
    found = [words for text in texts if (words := re.findall(r"\w+", text.lower()))]
    if not found:
        raise ValueError(f"{path} holds no word")
    return found


def text_corpus(sentences: Sequence[Sequence[str]], count: int) -> Corpus:
    """Sentences as messages whose symbols are words.

    Args:
        sentences: at least one.
        count: of messages; fewer where there are not as many sentences.

    Example:
        >>> corpus = text_corpus([["a", "red", "cat"], ["a", "dog"], ["no"]], 2)
        >>> corpus.symbols.tolist(), corpus.mask.sum(axis=1).tolist(), corpus.vocab_size
        ([[0, 3, 1], [0, 2, 0]], [3, 2], 4)
    """
    chosen = sentences[:count]
    number = {word: i for i, word in enumerate(sorted({word for words in chosen for word in words}))}
    symbols, mask, _ = as_table([[number[word] for word in words] for words in chosen])
    return Corpus(symbols, mask, len(number))


def random_corpus(corpus: Corpus, seed: int = 0) -> Corpus:
    """Messages as many, as long and with their holes where they are, of the symbols in use, drawn alike.

    Args:
        corpus: what it is to be like; of what is known of its items, attributes and classes stay.
        seed: of the draw.

    Example:
        >>> said = np.arange(3) < np.array([[1], [3]])
        >>> random_corpus(Corpus(np.array([[7, 0, 0], [7, 2, 7]]), said, 9)).mask.tolist()
        [[True, False, False], [True, True, True]]
    """
    used = np.unique(corpus.symbols[corpus.mask])
    drawn = np.random.default_rng(seed).choice(used if len(used) else np.zeros(1, np.int64), corpus.symbols.shape)
    return replace(
        Corpus(drawn, corpus.mask, corpus.vocab_size, grid=corpus.grid, scales=corpus.scales),
        attributes=corpus.attributes, attribute_names=corpus.attribute_names, value_names=corpus.value_names,
        labels=corpus.labels, label_names=corpus.label_names,
    )  # fmt: skip
