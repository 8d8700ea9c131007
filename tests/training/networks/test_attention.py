"""The encoder-decoder with attention: the formulas, what padding must not change, and writing word by word."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from training.errors import TrainingError
from training.networks.attention import (
    END,
    AttentionNetwork,
    AttentionOptions,
    Encoder,
    Writing,
    real_positions,
    real_steps,
)

WORDS, ROOM = 7, 6
LENGTHS = torch.tensor([6, 3, 1, 4])


def network(seed: int = 1, directions: int = 2) -> AttentionNetwork:
    torch.manual_seed(seed)
    options = AttentionOptions(size=5, units=4, directions=directions, decoder=6, attention=3)
    return AttentionNetwork(nn.Embedding(9, 5), WORDS, options, "even", "config").eval()


def source(seed: int = 2) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randint(1, 9, (len(LENGTHS), ROOM), generator=generator)
    return torch.where(real_positions(LENGTHS.unsqueeze(1), ROOM), tokens, 0)


def test_the_encoder_computes_what_pytorchs_layer_computes_on_packed_sequences() -> None:
    torch.manual_seed(3)
    ours, theirs = Encoder(5, 4, 2), nn.GRU(5, 4, bidirectional=True, batch_first=True)
    weights = dict(theirs.named_parameters())
    with torch.no_grad():
        for cell, end in zip(ours.cells, ("", "_reverse"), strict=True):
            for name, weight in cell.named_parameters():
                weight.copy_(weights[f"{name}_l0{end}"])
        features = torch.randn(len(LENGTHS), ROOM, 5)
        packed = nn.utils.rnn.pack_padded_sequence(features, LENGTHS, batch_first=True, enforce_sorted=False)
        expected = nn.utils.rnn.pad_packed_sequence(theirs(packed)[0], batch_first=True)[0]

        torch.testing.assert_close(ours(features, real_positions(LENGTHS.unsqueeze(1), ROOM)), expected)


def test_weights_are_those_of_the_formula() -> None:
    """e_j = v . tanh(W s + U h_j), softmax over the real positions, for the first word."""
    one = network()
    with torch.no_grad():
        state = one.start(source(), LENGTHS)
        _, _, weights, _ = one.step(state)
        for row, length in enumerate(LENGTHS.tolist()):
            query = one.query.weight @ state.hidden[row] + one.query.bias
            scores = [
                one.compare.weight[0] @ torch.tanh(query + one.key.weight @ annotation)
                for annotation in state.memory[row, :length]
            ]
            torch.testing.assert_close(weights[row, :length], torch.softmax(torch.stack(scores), 0))
            assert not weights[row, length:].any()


@pytest.mark.parametrize("directions", [1, 2])
def test_padding_changes_nothing(directions: int) -> None:
    """A source by itself, and padded beside longer ones with garbage that is not to be looked at."""
    one, tokens = network(directions=directions), source()
    tokens = torch.where(real_positions(LENGTHS.unsqueeze(1), ROOM), tokens, 8)
    with torch.no_grad():
        together, looks = one.write(tokens, LENGTHS, 10)
        for row, length in enumerate(LENGTHS.tolist()):
            alone, looked = one.write(tokens[row : row + 1, :length], LENGTHS[row : row + 1], 10)
            count = alone.shape[1]
            assert alone[0].tolist() == together[row, :count].tolist()
            torch.testing.assert_close(looks[row, :count, :length], looked[0])
            assert not looks[row, :, length:].any()


def test_writing_step_by_step_is_reading_what_was_written() -> None:
    """The scores with the written words given are those that the steps chose from."""
    one, tokens = network(), source()
    with torch.no_grad():
        words, looks = one.write(tokens, LENGTHS, 8)
        scores, weights = one(tokens, LENGTHS, words)
    steps = real_steps(words)

    assert torch.equal(scores.argmax(2)[steps], words[steps])
    torch.testing.assert_close(weights[steps], looks[steps])


def test_after_the_end_comes_the_end_and_the_state_stays() -> None:
    one = network()
    with torch.no_grad():
        state = one.start(source(), LENGTHS)
        ended = Writing(state.memory, state.length, state.hidden, torch.tensor([[END], [2], [END], [3]]))
        word, probabilities, weights, after = one.step(ended)

    only_end = torch.zeros(WORDS)
    only_end[END] = 1
    for row in (0, 2):
        assert word[row] == END
        assert torch.equal(probabilities[row], only_end)
        assert not weights[row].any()
        assert torch.equal(after.hidden[row], state.hidden[row])
    for row in (1, 3):
        assert weights[row].sum().item() == pytest.approx(1)
        assert not torch.equal(after.hidden[row], state.hidden[row])


def test_the_empty_state_and_one_from_outside_are_borne() -> None:
    one = network()
    empty = Writing(
        torch.zeros(1, ROOM, 8), torch.zeros(1, 1, dtype=torch.int64), torch.zeros(1, 6), torch.tensor([[99]])
    )
    with torch.no_grad():
        _, probabilities, weights, _ = one.step(empty)

    assert torch.isfinite(probabilities).all()
    assert torch.isfinite(weights).all()


def test_real_steps_end_with_the_first_end() -> None:
    targets = torch.tensor([[3, END, END, 5], [END, END, END, END], [1, 2, 3, 4]])

    assert real_steps(targets).tolist() == [
        [True, True, False, False],
        [True, False, False, False],
        [True, True, True, True],
    ]


def test_directions_are_one_or_two() -> None:
    with pytest.raises(TrainingError, match=r"config: \[network\]: directions: expected 1 or 2, got 3"):
        network(directions=3)
