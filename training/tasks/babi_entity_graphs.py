"""A network with a memory of fixed size as the graphs of a bundle: `tell`, `ask` and `answer`."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn
from torch._higher_order_ops.scan import scan

from tapehead.v1.manifest_pb2 import MODEL_KIND_QUESTION_ANSWERING, Entry, EntryTensor, Manifest, QuestionAnswering
from tapehead.v1.tensor_pb2 import DATA_TYPE_FLOAT32, DATA_TYPE_INT64

from ..experiment import Array, Call
from ..networks.entity_network import EntityNetwork, Memory
from .babi_entity_stories import WholeStories
from .babi_probes import calls
from .babi_words import SENTENCE_WORDS, UNKNOWN, Words

PROBED = range(2, 21)  # sentences of a story that is recorded: every probe lies in the bundle with all it gave


class Tell(nn.Module):
    """Takes a sentence in."""

    def __init__(self, network: EntityNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, sentence: Tensor, memory: Tensor, plain: Tensor, length: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """sentence [batch, words] and the state -> the next state."""
        return *self.network.tell(sentence, (memory, plain)), length + 1


class Ask(nn.Module):
    """Answers a question about what was told; the state stays as it is."""

    def __init__(self, network: EntityNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, question: Tensor, memory: Tensor, plain: Tensor, length: Tensor) -> tuple[Tensor, Tensor]:
        """question [batch, words] and state -> probabilities [batch, answers], attention [batch, hops, matrices]."""
        scores, looks = self.network.ask(question, (memory, plain))
        return torch.softmax(scores, dim=-1), looks


class Answer(nn.Module):
    """Answers a question about a story given whole: tells it, sentence by sentence, and asks."""

    def __init__(self, network: EntityNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, story: Tensor, question: Tensor) -> tuple[Tensor, Tensor]:
        """story [batch, sentences, words], oldest first; question [batch, words] -> as `Ask`."""
        rows = torch.zeros_like(question[:, 0], dtype=torch.float32)[:, None, None, None]  # one for each of the batch
        before = tuple(memory + rows for memory in self.network.initial_memory(1))

        def step(memory: Memory, sentence: Tensor) -> tuple[Memory, Tensor]:
            return self.network.tell(sentence, memory), sentence[:, :1].clone()  # a scan has to give something

        memory, _ = scan(step, before, story.transpose(0, 1))
        scores, looks = self.network.ask(question, memory)
        return torch.softmax(scores, dim=-1), looks


def modules(network: EntityNetwork) -> dict[str, nn.Module]:
    """The graphs by entry."""
    return {"tell": Tell(network), "ask": Ask(network), "answer": Answer(network)}


def initial(network: EntityNetwork) -> Mapping[str, Array]:
    """The state before anything was told."""
    memory, plain = (part[0].detach().cpu().numpy() for part in network.initial_memory(1))
    return {"memory": memory, "plain": plain, "length": np.zeros(1, np.int64)}


def manifest(network: EntityNetwork, words: Words) -> Manifest:
    """What the network's graphs take and give, and how text becomes their input."""
    told = Manifest(
        kind=MODEL_KIND_QUESTION_ANSWERING,
        description="Answers questions about a story of any length from a memory of fixed size, "
        "trained on the twenty bAbI tasks at once",
        question_answering=QuestionAnswering(
            words=words.words,
            answers=words.answers,
            sentence_words=SENTENCE_WORDS,
            story_overflow=QuestionAnswering.STORY_OVERFLOW_ABSORB,
            unknown_words=QuestionAnswering.UNKNOWN_WORDS_ALLOW,
            unknown_word_id=UNKNOWN,
            splitting=QuestionAnswering.SPLITTING_WORDS,
            length_state="length",
            probabilities_output="probabilities",
            attention_output="attention",
            attention_columns=QuestionAnswering.ATTENTION_COLUMNS_SLOTS,
        ),
    )
    meanings = {
        "memory": "what was told, as matrices from addresses to values: [matrix, address, value]",
        "plain": "the same for plain hops, one matrix each: [hop, address, value]",
        "length": "how many sentences were told",
    }
    for name, value in initial(network).items():
        dtype = DATA_TYPE_INT64 if value.dtype == np.int64 else DATA_TYPE_FLOAT32
        told.state.add(name=name, dtype=dtype, shape=value.shape, description=meanings[name])
    deep = network.deep
    given = [
        EntryTensor(
            name="probabilities", dtype=DATA_TYPE_FLOAT32, shape=[len(words.answers)], description="of each answer"
        ),
        EntryTensor(
            name="attention",
            dtype=DATA_TYPE_FLOAT32,
            shape=[deep.options.hops, deep.matrices],
            description="how much of what each hop found came from each matrix of the deep memory",
        ),
    ]
    tell = Entry(name="tell", file="tell.onnx", inputs=[_words("sentence")], reads_state=True, writes_state=True)
    ask = Entry(name="ask", file="ask.onnx", inputs=[_words("question")], outputs=given, reads_state=True)
    whole = [_words("story", -1), _words("question")]
    told.entries.extend([tell, ask, Entry(name="answer", file="answer.onnx", inputs=whole, outputs=given)])
    return told


def _words(name: str, *sentences: int) -> EntryTensor:
    return EntryTensor(
        name=name, dtype=DATA_TYPE_INT64, shape=[*sentences, SENTENCE_WORDS], description="word ids, padded with 0"
    )


def probes(stories: WholeStories) -> list[list[Call]]:
    """Of every task a real story: told, asked its last question, and asked once more with the story given whole."""
    runs = []
    for task in np.unique(stories.task):
        fitting = np.flatnonzero((stories.task == task) & np.isin(stories.lengths, PROBED))
        for number in fitting[:1]:
            question, after, _ = stories.asked[number][:, -1]
            story = stories.sentences[stories.told[number][:after]]
            runs.append(calls(story, stories.sentences[question]))
    return runs


def checks(words: int, seed: int = 7) -> list[list[Call]]:
    """Random words: stories of many lengths, and a question before anything was told."""
    random = np.random.default_rng(seed)
    runs: list[list[Call]] = [[("ask", {"question": random.integers(1, words, SENTENCE_WORDS)})]]
    for sentences in (1, 2, 19, 60, 150):
        story = random.integers(0, words, (sentences, SENTENCE_WORDS))
        runs.append(calls(story, random.integers(1, words, SENTENCE_WORDS)))
    return runs
