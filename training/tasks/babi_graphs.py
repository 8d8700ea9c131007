"""A question-answering network as the graphs of a bundle: `tell`, `ask` and `answer`.

A session's state is its story as vectors: a sentence is encoded once, when it is told, and a question costs only the
hops. `answer` takes a whole story at once and gives the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from tapehead.v1.manifest_pb2 import MODEL_KIND_QUESTION_ANSWERING, Entry, EntryTensor, Manifest, QuestionAnswering
from tapehead.v1.tensor_pb2 import DATA_TYPE_FLOAT32, DATA_TYPE_INT64

from ..experiment import Array
from ..networks.rewriting_network import JointNetwork
from .babi_words import SENTENCE_WORDS, UNKNOWN, Words


class Tell(nn.Module):
    """Takes a sentence in: the others move one slot towards the front."""

    def __init__(self, network: JointNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(
        self, sentence: Tensor, memory: Tensor, residual: Tensor, length: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """sentence [batch, words] and the state -> the next state."""
        large, small = self.network.encode(sentence)
        memory = torch.cat([memory[:, 1:], large.unsqueeze(1)], dim=1)
        residual = torch.cat([residual[:, 1:], small.flatten(1).unsqueeze(1)], dim=1)
        return memory, residual, length + 1


class Ask(nn.Module):
    """Answers a question about what was told; the state stays as it is.

    The hops run over as many slots as the longest story of the batch fills: most stories are short.
    """

    def __init__(self, network: JointNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, question: Tensor, memory: Tensor, residual: Tensor, length: Tensor) -> tuple[Tensor, Tensor]:
        """question [batch, words] and the state -> probabilities [batch, answers], attention [batch, hops, slots]."""
        network, (batch, slots) = self.network, memory.shape[:2]
        told = cast(int, length.max().clamp(1, slots).item())  # no int(): the exporter follows the number
        # What the exporter cannot know by itself.
        torch._check(told >= 1)  # type: ignore[no-untyped-call]
        torch._check(told <= slots)  # type: ignore[no-untyped-call]
        kept = network.residual
        small = residual.reshape(-1, kept.memory, kept.kept, kept.size)
        y, added, looks, residual_looks = network.parts(
            (memory[:, slots - told :], *ages(told, length)),
            (small, *ages(kept.memory, length)),
            network.encode_question(question),
        )
        unused = memory.new_zeros(batch, network.rewriting.hops, slots)[:, :, told:]
        looks = torch.cat([unused, looks], dim=-1)
        residual_looks = nn.functional.pad(residual_looks, (slots - kept.memory, 0))
        return torch.softmax(y + added, dim=-1), network.seen(y, added, looks, residual_looks)


def ages(slots: int, length: Tensor) -> tuple[Tensor, Tensor]:
    """Which of the newest `slots` slots are filled, and how long ago: two of [batch, slots]; length is [batch, 1]."""
    times = (slots - torch.arange(slots)).unsqueeze(0)
    return times <= length, times.expand(length.shape[0], -1)


class Answer(nn.Module):
    """Answers a question about a story given whole: no state, no empty slots."""

    def __init__(self, network: JointNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, story: Tensor, question: Tensor) -> tuple[Tensor, Tensor]:
        """story [batch, sentences, words], oldest first; question [batch, words] -> as `Ask`."""
        asked = self.network.encode_question(question)
        sentences = story.shape[1]
        times = (sentences - torch.arange(sentences)).unsqueeze(0).expand(story.shape[0], -1)
        scores, looks = self.network(self.network.encode(story), times > 0, times, asked)
        return torch.softmax(scores, dim=-1), looks


def modules(network: JointNetwork) -> dict[str, nn.Module]:
    """The graphs by entry."""
    return {"tell": Tell(network), "ask": Ask(network), "answer": Answer(network)}


def initial(network: JointNetwork) -> Mapping[str, Array]:
    """The state before anything was told."""
    rewriting, residual = network.rewriting, network.residual
    return {
        "memory": np.zeros((rewriting.memory, rewriting.size), np.float32),
        "residual": np.zeros((residual.memory, residual.kept * residual.size), np.float32),
        "length": np.zeros(1, np.int64),
    }


def manifest(network: JointNetwork, words: Words) -> Manifest:
    """What the network's graphs take and give, and how text becomes their input."""
    return describe(
        words,
        hops=network.rewriting.hops,
        memory=network.rewriting.memory,
        initial=initial(network),
        described={
            "memory": "what the hops read of each sentence, newest last",
            "residual": "what the residual network keeps of the newest sentences, newest last",
            "length": "how many sentences were told",
        },
        description="Answers questions about a story, trained on the twenty bAbI tasks at once",
    )


def describe(
    words: Words,
    *,
    hops: int,
    memory: int,
    initial: Mapping[str, Array],
    described: Mapping[str, str],
    description: str,
) -> Manifest:
    """The manifest of any network here with the entries `tell`, `ask` and `answer`.

    `initial` has the state before anything was told, `described` says of each of its tensors what it is; one of them is
    `length`, [1] int64: how many sentences were told. `memory` sentences are kept; older ones are forgotten.
    """
    told = Manifest(
        kind=MODEL_KIND_QUESTION_ANSWERING,
        description=description,
        question_answering=QuestionAnswering(
            words=words.words,
            answers=words.answers,
            sentence_words=SENTENCE_WORDS,
            memory_sentences=memory,
            story_overflow=QuestionAnswering.STORY_OVERFLOW_FORGET_OLDEST,
            unknown_words=QuestionAnswering.UNKNOWN_WORDS_ALLOW,
            unknown_word_id=UNKNOWN,
            splitting=QuestionAnswering.SPLITTING_WORDS,
            length_state="length",
            probabilities_output="probabilities",
            attention_output="attention",
        ),
    )
    for name, value in initial.items():
        dtype = DATA_TYPE_INT64 if value.dtype == np.int64 else DATA_TYPE_FLOAT32
        told.state.add(name=name, dtype=dtype, shape=value.shape, description=described[name])
    answers = len(words.answers)
    told.entries.extend(
        [
            Entry(name="tell", file="tell.onnx", inputs=[_words("sentence")], reads_state=True, writes_state=True),
            Entry(
                name="ask",
                file="ask.onnx",
                inputs=[_words("question")],
                outputs=_outputs(answers, hops, memory),
                reads_state=True,
            ),
            Entry(
                name="answer",
                file="answer.onnx",
                inputs=[_words("story", -1), _words("question")],
                outputs=_outputs(answers, hops, -1),
            ),
        ]
    )
    return told


def _words(name: str, *sentences: int) -> EntryTensor:
    return EntryTensor(
        name=name, dtype=DATA_TYPE_INT64, shape=[*sentences, SENTENCE_WORDS], description="word ids, padded with 0"
    )


def _outputs(answers: int, hops: int, sentences: int) -> list[EntryTensor]:
    return [
        EntryTensor(name="probabilities", dtype=DATA_TYPE_FLOAT32, shape=[answers], description="of each answer"),
        EntryTensor(
            name="attention",
            dtype=DATA_TYPE_FLOAT32,
            shape=[hops, sentences],
            description="where each hop looked, newest sentence last",
        ),
    ]
