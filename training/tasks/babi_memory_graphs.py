"""A memory network as the graphs of a bundle: `tell`, `ask` and `answer`.

A session's state is what is kept of each sentence told, without its time: times are those of the moment of a question.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from tapehead.v1.manifest_pb2 import Manifest

from ..experiment import Array
from ..networks.memory_network import MemoryNetwork
from .babi_graphs import ages, describe
from .babi_words import Words


class Tell(nn.Module):
    """Takes a sentence in: the others move one slot towards the front."""

    def __init__(self, network: MemoryNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, sentence: Tensor, memory: Tensor, length: Tensor) -> tuple[Tensor, Tensor]:
        """sentence [batch, words] and the state -> the next state."""
        kept = self.network.encode(sentence).flatten(1)
        return torch.cat([memory[:, 1:], kept.unsqueeze(1)], dim=1), length + 1


class Ask(nn.Module):
    """Answers a question about what was told. Hops that write do so to a copy: no state is given back."""

    def __init__(self, network: MemoryNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, question: Tensor, memory: Tensor, length: Tensor) -> tuple[Tensor, Tensor]:
        """question [batch, words] and the state -> probabilities [batch, answers], attention [batch, hops, slots]."""
        network = self.network
        kept = memory.reshape(-1, network.memory, network.kept, network.size)
        present, times = ages(network.memory, length)
        scores, looks = network(kept, present, times, network.encode_question(question))
        return torch.softmax(scores, dim=-1), looks


class Answer(nn.Module):
    """Answers a question about a story given whole: no state, no empty slots."""

    def __init__(self, network: MemoryNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, story: Tensor, question: Tensor) -> tuple[Tensor, Tensor]:
        """story [batch, sentences, words], oldest first; question [batch, words] -> as `Ask`."""
        network, sentences = self.network, story.shape[1]
        times = (sentences - torch.arange(sentences)).unsqueeze(0).expand(story.shape[0], -1)
        scores, looks = network(network.encode(story), times > 0, times, network.encode_question(question))
        return torch.softmax(scores, dim=-1), looks


def modules(network: MemoryNetwork) -> dict[str, nn.Module]:
    """The graphs by entry."""
    return {"tell": Tell(network), "ask": Ask(network), "answer": Answer(network)}


def initial(network: MemoryNetwork) -> Mapping[str, Array]:
    """The state before anything was told."""
    return {
        "memory": np.zeros((network.memory, network.kept * network.size), np.float32),
        "length": np.zeros(1, np.int64),
    }


def manifest(network: MemoryNetwork, words: Words) -> Manifest:
    """What the network's graphs take and give, and how text becomes their input."""
    return describe(
        words,
        hops=network.hops,
        memory=network.memory,
        initial=initial(network),
        described={"memory": "what is kept of each sentence, newest last", "length": "how many sentences were told"},
        description="Answers questions about a story with a memory network",
    )
