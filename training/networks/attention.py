"""An encoder-decoder with attention: a source is read once, then words are written, each with a look at the source.

Sources: Bahdanau, Cho and Bengio (2015), "Neural machine translation by jointly learning to align and translate",
appendix A, for additive attention and an encoder in both directions; Xu et al. (2015), "Show, attend and tell", for a
decoder that begins from the mean of what was encoded and writes from word, state and context.

    e_j = v . tanh(W s + U h_j);   alpha = softmax(e) over the real positions;   c = sum_j alpha_j h_j
    s' = GRU([embed(word); c], s);   scores = O tanh(P [s'; c; embed(word)])

Shapes: B batch, L positions of the source (padded), F features of a position, E of an annotation h_j, D units of the
decoder, V words, T words of a target.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ..errors import TrainingError
from .coverage import Coverage

END = 0  # the word that ends a text; whatever follows it is END again
FAR = -1e9  # the score of a position that is not there: its weight is 0 in float32, and nothing is infinite


@dataclass(frozen=True)
class AttentionOptions:
    """The [network] table."""

    size: int = 32  # of an embedded word and of a position's features
    units: int = 48  # of the encoder, in each direction
    directions: int = 2  # 2: a position's annotation knows what follows it, too
    decoder: int = 96  # units
    attention: int = 48  # units of the layer that compares state and annotation
    dropout: float = 0.0  # of annotations and of what words are written from


class Writing(NamedTuple):
    """Everything that the next word depends on; the state of a session."""

    memory: Tensor  # [B, L, E] the annotations, 0 where the source is padded
    length: Tensor  # [B, 1] int64: how many positions are real
    hidden: Tensor  # [B, D] the decoder
    last_word: Tensor  # [B, 1] int64: the word written last; V, which no word has, before the first


class AttentionNetwork(nn.Module):
    """The network; `front` turns a padded source into features [B, L, F] and knows what kind of source it is."""

    def __init__(self, front: nn.Module, words: int, options: AttentionOptions, tau: float | str, where: str) -> None:
        if options.directions not in (1, 2):
            raise TrainingError(f"{where}: [network]: directions: expected 1 or 2, got {options.directions}")
        super().__init__()
        self.options, self.words = options, words
        annotation = options.directions * options.units
        self.front = front
        self.encoder = Encoder(options.size, options.units, options.directions)
        self.begin = nn.Linear(annotation, options.decoder)
        self.embed = nn.Embedding(words + 1, options.size)  # the last row stands before the first word
        self.query = nn.Linear(options.decoder, options.attention)
        self.key = nn.Linear(annotation, options.attention, bias=False)
        self.compare = nn.Linear(options.attention, 1, bias=False)
        self.decoder = nn.GRUCell(options.size + annotation, options.decoder)
        self.prepare = nn.Linear(options.decoder + annotation + options.size, options.decoder)
        self.output = nn.Linear(options.decoder, words)
        self.dropout = nn.Dropout(options.dropout)
        self.coverage = Coverage(tau, where)

    def start(self, source: Tensor, lengths: Tensor) -> Writing:
        """Reads a padded source, of which the first `lengths` [B] positions are real."""
        features = self.front(source)
        real = real_positions(lengths.unsqueeze(1), features.shape[1])
        memory = self.dropout(self.encoder(features, real))
        mean = memory.sum(1) / lengths.clamp(min=1).unsqueeze(1)
        last_word = torch.full_like(lengths, self.words).unsqueeze(1)
        return Writing(memory, lengths.unsqueeze(1), torch.tanh(self.begin(mean)), last_word)

    def forward(self, source: Tensor, lengths: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """The scores [B, T, V] of each next word where the words before are those of `targets` [B, T], and weights."""
        state = self.start(source, lengths)
        hidden, keys = state.hidden, self.key(state.memory)
        real = real_positions(state.length, keys.shape[1])
        before = self.embed(torch.cat([state.last_word, targets[:, :-1]], dim=1))
        scores, weights = [], []
        for word in before.unbind(1):
            score, hidden, weight = self._advance(word, hidden, state.memory, keys, real)
            scores.append(score)
            weights.append(weight)
        return torch.stack(scores, 1), torch.stack(weights, 1)

    def step(self, state: Writing) -> tuple[Tensor, Tensor, Tensor, Writing]:
        """Writes the likeliest next word: (word [B], probabilities [B, V], weights [B, L], the next state).

        After END comes END with probability 1; it looks nowhere and leaves the state as it is.
        """
        memory, length, before, last_word = state
        real = real_positions(length, memory.shape[1])
        known = last_word.clamp(0, self.words).squeeze(1)  # a state may come from outside
        scores, hidden, weights = self._advance(self.embed(known), before, memory, self.key(memory), real)
        over = last_word == END
        only_end = torch.arange(self.words, device=scores.device) == END
        probabilities = torch.where(over, only_end.to(scores.dtype), torch.softmax(scores, dim=1))
        word = torch.where(over.squeeze(1), END, scores.argmax(1))
        state = Writing(memory, length, torch.where(over, before, hidden), word.unsqueeze(1))
        return word, probabilities, torch.where(over, 0.0, weights), state

    def write(self, source: Tensor, lengths: Tensor, limit: int) -> tuple[Tensor, Tensor]:
        """Writes until all have ended, `limit` words at most: words [B, T] and weights [B, T, L]."""
        state = self.start(source, lengths)
        words, weights = [], []
        for _ in range(limit):
            word, _, weight, state = self.step(state)
            words.append(word)
            weights.append(weight)
            if bool((word == END).all()):
                break
        return torch.stack(words, 1), torch.stack(weights, 1)

    def _advance(
        self, word: Tensor, hidden: Tensor, memory: Tensor, keys: Tensor, real: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """One step from an embedded word [B, F]: (scores [B, V], hidden [B, D], weights [B, L])."""
        agreement = self.compare(torch.tanh(self.query(hidden).unsqueeze(1) + keys)).squeeze(2)
        weights = torch.softmax(agreement.masked_fill(~real, FAR), dim=1)
        context = (weights.unsqueeze(1) @ memory).squeeze(1)
        hidden = self.decoder(torch.cat([word, context], dim=1), hidden)
        prepared = torch.tanh(self.prepare(torch.cat([hidden, context, word], dim=1)))
        return self.output(self.dropout(prepared)), hidden, weights


class Encoder(nn.Module):
    """A GRU over the positions, forwards and, with two directions, also backwards."""

    def __init__(self, size: int, units: int, directions: int) -> None:
        super().__init__()
        self.units = units
        self.cells = nn.ModuleList(nn.GRUCell(size, units) for _ in range(directions))

    def forward(self, features: Tensor, real: Tensor) -> Tensor:
        """Features [B, L, F] and which positions are real [B, L] -> annotations [B, L, E], 0 where padded.

        A padded position leaves the unit as it was: the way back begins at the last real one.
        """
        annotations = []
        for direction, cell in enumerate(self.cells):
            order = range(features.shape[1])
            hidden, outputs = features.new_zeros(features.shape[0], self.units), {}
            for position in reversed(order) if direction else order:
                present = real[:, position, None]
                hidden = torch.where(present, cell(features[:, position], hidden), hidden)
                outputs[position] = torch.where(present, hidden, 0.0)
            annotations.append(torch.stack([outputs[position] for position in order], dim=1))
        return torch.cat(annotations, dim=2)


def real_positions(length: Tensor, longest: int) -> Tensor:
    """Which of `longest` positions are real: length [B, 1] -> [B, longest]."""
    return torch.arange(longest, device=length.device) < length


def real_steps(targets: Tensor) -> Tensor:
    """Which steps of padded targets [B, T] are real: all up to the first END and that one, [B, T]."""
    ends = (targets == END).long()
    return ends.cumsum(1) - ends == 0
