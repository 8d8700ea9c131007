"""The family of translation: sentences of a small grammar into a language with another order and with agreement."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from tapehead.v1.manifest_pb2 import EntryTensor
from tapehead.v1.tensor_pb2 import DATA_TYPE_INT64

from ..config import Config, read_table
from ..experiment import Array
from ..networks.attention import AttentionNetwork
from .attention_experiment import TEST_SEED, VALIDATION_SEED, AttentionExperiment
from .attention_task import Pairs, padded_words
from .grammar import LONGEST, Sentence, draw_sentence, english_words, translated_words

TRAINING_SEED = 3_000_017  # fixed as well: another seed of a run sees the same sentences

NOTES = """
English sentences of 5 to {longest} words from a small grammar, and their translation into a made-up language: the verb
stands last and the adverb first, adjectives follow their noun, articles and adjectives agree with it in gender and
number, and the verb carries number and tense. Training sees {count} sentences, over and over. The test has others only:
one in ten of all that the grammar can make is kept for it; "new pairs" are sentences in which an adjective stands with
a noun that it never stood with in training.
"""


@dataclass(frozen=True)
class TranslationOptions:
    """The [task] table."""

    training_sentences: int = 400  # different ones, drawn once; all that training ever sees
    validation_sentences: int = 500
    test_sentences: int = 1000


class Start(nn.Module):
    """Takes a sentence in: tokens [B, LONGEST], padded with 0 -> the state."""

    def __init__(self, network: AttentionNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, tokens: Tensor) -> tuple[Tensor, ...]:
        return tuple(self.network.start(tokens, (tokens != 0).sum(1)))


class Translation:
    """Sentences with their translations; a `Task`."""

    source_words = ("", *english_words())
    words = ("<end>", *translated_words())
    limit = 2 * LONGEST
    description = f"Translates English sentences of up to {LONGEST} words of a small grammar, one word a step"
    position = "source word"

    def __init__(self, options: TranslationOptions) -> None:
        self.options = options
        self._source_id = {word: number for number, word in enumerate(self.source_words)}
        self._target_id = {word: number for number, word in enumerate(self.words)}
        random = np.random.default_rng(TRAINING_SEED)
        self._training = self._sentences(options.training_sentences, random, is_for_training)
        self._by_length = torch.argsort(self._training.lengths, stable=True)
        self.notes = NOTES.format(longest=LONGEST, count=options.training_sentences)

    def front(self, size: int) -> nn.Module:
        return nn.Embedding(len(self.source_words), size)

    def draw(self, count: int, generator: torch.Generator, grown: float = 1.0) -> Pairs:
        known = max(1, int(grown * len(self._by_length)))
        rows = self._by_length[torch.randint(known, (count,), generator=generator)]
        return Pairs(self._training.source[rows], self._training.lengths[rows], self._training.targets[rows])

    def validation(self) -> Pairs:
        random = np.random.default_rng(VALIDATION_SEED)
        return self._sentences(self.options.validation_sentences, random, is_held_out)

    def tests(self) -> Mapping[str, Pairs]:
        random, count = np.random.default_rng(TEST_SEED), self.options.test_sentences
        return {
            "": self._sentences(count, random, is_held_out),
            "_new_pairs": self._sentences(count, random, lambda sentence: sentence.has_new_pair),
        }

    def _sentences(self, count: int, random: np.random.Generator, wanted: Callable[[Sentence], bool]) -> Pairs:
        """Draws different sentences."""
        drawn: dict[Sentence, None] = {}
        while len(drawn) < count:
            sentence = draw_sentence(random)
            if wanted(sentence):
                drawn[sentence] = None
        sentences = list(drawn)
        lengths = [len(sentence.english) for sentence in sentences]
        source = np.zeros((count, max(lengths)), np.int64)
        for number, sentence in enumerate(sentences):
            source[number, : lengths[number]] = [self._source_id[word] for word in sentence.english]
        targets = padded_words([[self._target_id[word] for word in sentence.translated] for sentence in sentences])
        return Pairs(torch.from_numpy(source), torch.tensor(lengths), targets)

    def labels(self, pairs: Pairs, number: int) -> list[str]:
        return [self.source_words[token] for token in pairs.source[number, : int(pairs.lengths[number])].tolist()]

    def pictures(self, pairs: Pairs, number: int) -> Array | None:
        return None

    def source_as_text(self, pairs: Pairs, number: int) -> str:
        return " ".join(self.labels(pairs, number))

    def start(self, network: AttentionNetwork) -> nn.Module:
        return Start(network)

    def start_inputs(self) -> Sequence[EntryTensor]:
        return [
            EntryTensor(
                name="tokens",
                dtype=DATA_TYPE_INT64,
                shape=[LONGEST],
                description="the sentence as word ids, padded with 0 at the end",
                words=self.source_words,
            )
        ]

    def given(self, pairs: Pairs, number: int) -> dict[str, Array]:
        tokens = np.zeros(LONGEST, np.int64)
        tokens[: pairs.source.shape[1]] = pairs.source[number].numpy()
        return {"tokens": tokens}

    def anything(self, random: np.random.Generator) -> dict[str, Array]:
        tokens = random.integers(1, len(self.source_words), LONGEST)
        tokens[random.integers(1, LONGEST + 1) :] = 0
        return {"tokens": tokens}


def is_for_training(sentence: Sentence) -> bool:
    """Whether training may see a sentence."""
    return not (sentence.is_held_out or sentence.has_new_pair)


def is_held_out(sentence: Sentence) -> bool:
    """Whether a sentence is kept out of training by chance alone, and not for what it says."""
    return sentence.is_held_out and not sentence.has_new_pair


def build(config: Config) -> AttentionExperiment:
    """Builds the experiment of a configuration of this family."""
    return AttentionExperiment(
        config, Translation(read_table(TranslationOptions, config.task, f"{config.where}: [task]"))
    )
