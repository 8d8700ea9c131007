"""Which input and which output of a graph are the same state, by their names, types and shapes. Pure: it reads what
the graph declares and runs nothing.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from tapehead.bundle.errors import BundleError
from tapehead.v1.tensor_pb2 import DataType

# A length; a name that the graph gives to an open one; None for an open one without a name.
Length = int | str | None

# What exporters write before or behind the name of a state, on the way in and on the way out. Names are compared in
# lower case with `_` between their words.
_IN_FRONT = re.compile(r"^(?:past_key_values|past|prev|previous|in|input|old|init|initial|cur|current|last)_(?=.)")
_IN_BEHIND = re.compile(r"(?<=.)_(?:in|input|prev|previous|old|init|initial|0)$|(?<=[a-z])0$")
_OUT_FRONT = re.compile(r"^(?:present_key_values|present|next|new|updated|final|out|output)_(?=.)")
_OUT_BEHIND = re.compile(r"(?<=.)_(?:out|output|next|new|updated|final|n)$|(?<=[a-z0-9])n$")
_WORD_EDGE = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|[^A-Za-z0-9]+")

# Names of what a model is given or gives, and of nothing in particular: sharing one says nothing about a state.
_PLAIN = frozenset(
    re.findall(
        r"\w+",
        "action actions arg args audio batch clean data embedding embeddings fbank feat feats feature features frame "
        "frames i id ids image images in input inputs len length lens logits mag magnitude mask mel mix noisy o obs "
        "observation observations out output outputs pixel pixels prob probs sample samples seq sequence signal spec "
        "spectrogram spectrum speech target tensor text token tokens wav wave waveform x y z",
    )
)


@dataclass(frozen=True, slots=True)
class Value:
    """An input or output as the graph declares it."""

    name: str
    dtype: DataType
    shape: tuple[Length, ...] | None  # None: the graph does not even say how many axes there are

    def __str__(self) -> str:
        dtype = DataType.Name(self.dtype).removeprefix("DATA_TYPE_").lower()
        if self.shape is None:
            return f"'{self.name}' {dtype} of unknown shape"
        return f"'{self.name}' {dtype} [{', '.join('any' if one is None else str(one) for one in self.shape)}]"


@dataclass(frozen=True, slots=True)
class Pairing:
    """What was found."""

    sure: Mapping[str, str]  # input -> output
    possible: Mapping[str, tuple[str, ...]]  # input -> outputs that have its type and shape, but not its name
    considered: tuple[str, ...]  # in words, for those who expected more


def pair_states(
    inputs: Sequence[Value], outputs: Sequence[Value], told: Mapping[str, str], not_states: Collection[str]
) -> Pairing:
    """Pairs state inputs with state outputs.

    told: Pairs that are known, output by input. Raises BundleError where one is not in the graph or does not fit.
    not_states: Inputs that are known to be none.
    """
    sure = _told_pairs(inputs, outputs, told)
    free = [value for value in inputs if value.name not in sure and value.name not in not_states]
    left = [value for value in outputs if value.name not in sure.values()]
    wishes = {value.name: _namesakes(value, left) for value in free}
    wanted = [output for one in wishes.values() for output in one]
    for name, found in wishes.items():
        if len(found) == 1 and wanted.count(found[0]) == 1:
            sure[name] = found[0]
    left = [value for value in left if value.name not in sure.values()]
    free = [value for value in free if value.name not in sure]
    alike = {value.name: [other for other in left if fits(value, other)] for value in free}
    named = {value.name: value for value in free}
    considered = [f"input {named[name]} with output {other}" for name, others in alike.items() for other in others]
    considered += [
        f"input {value} with output {other}, which has its name but not its type and shape"
        for value in free
        for other in left
        if common_root(value.name, other.name) and not fits(value, other)
    ]
    possible = {
        name: tuple(other.name for other in others)
        for name, others in alike.items()
        if others and not is_plain(_words(name))
    }
    return Pairing(sure, possible, tuple(considered))


def common_root(before: str, after: str) -> str:
    """Returns the longest name that is left of an input's and an output's without what marks them; empty if none."""
    shared = set(_roots(before, _IN_FRONT, _IN_BEHIND)) & set(_roots(after, _OUT_FRONT, _OUT_BEHIND))
    return max(shared, key=len, default="")


def is_plain(root: str) -> bool:
    """Whether a name is that of any input, or of none."""
    return all(word.isdigit() or word in _PLAIN for word in root.split("_"))


def fits(before: Value, after: Value) -> bool:
    """Whether an output can be the next value of an input; what a graph leaves open fits anything."""
    if before.dtype != after.dtype or before.shape is None:
        return False
    if after.shape is None:
        return True
    return len(before.shape) == len(after.shape) and all(
        not isinstance(one, int) or not isinstance(other, int) or one == other
        for one, other in zip(before.shape, after.shape, strict=True)
    )


def _namesakes(value: Value, outputs: Sequence[Value]) -> list[str]:
    """The outputs that share the longest root with an input, if that says something."""
    roots = {other.name: common_root(value.name, other.name) for other in outputs if fits(value, other)}
    longest = max((len(root) for root in roots.values() if not is_plain(root)), default=0)
    return [name for name, root in roots.items() if longest and len(root) == longest and not is_plain(root)]


def _told_pairs(inputs: Sequence[Value], outputs: Sequence[Value], told: Mapping[str, str]) -> dict[str, str]:
    before, after = {value.name: value for value in inputs}, {value.name: value for value in outputs}
    for name, output in told.items():
        if name not in before:
            raise BundleError(f"state {name}={output}: the graph has no input {name!r}; it has {sorted(before)}")
        if output not in after:
            raise BundleError(f"state {name}={output}: the graph has no output {output!r}; it has {sorted(after)}")
        if not fits(before[name], after[output]):
            raise BundleError(
                f"state {name}={output}: expected an output of the type and shape of input {before[name]}, "
                f"got {after[output]}"
            )
    if len(set(told.values())) < len(told):
        raise BundleError(f"state: expected another output for each input, got {dict(told)}")
    return dict(told)


def _roots(name: str, front: re.Pattern[str], behind: re.Pattern[str]) -> Iterator[str]:
    """A name, and what is left of it with one mark after the other taken off."""
    waiting, seen = [_words(name)], set[str]()
    while waiting:
        root = waiting.pop()
        if root not in seen:
            seen.add(root)
            yield root
            waiting += [front.sub("", root), behind.sub("", root)]


def _words(name: str) -> str:
    return _WORD_EDGE.sub("_", name).strip("_").lower()
