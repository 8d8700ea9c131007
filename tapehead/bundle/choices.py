"""What people say of a graph beside what it says itself. Pure."""

from __future__ import annotations

import fnmatch
import json
import shlex
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from tapehead.bundle.errors import BundleError

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Choices:
    """What is known of a graph. Names are the graph's; * and ? in one stand for any part of it."""

    states: Mapping[str, str] = field(default_factory=dict)  # input -> output
    not_states: frozenset[str] = frozenset()
    constants: frozenset[str] = frozenset()  # given once a session
    batch_axes: Mapping[str, int] = field(default_factory=dict)  # -1: none
    step_axes: Mapping[str, int | None] = field(default_factory=dict)  # None: its axis of time is within one step
    maxima: Mapping[str, int] = field(default_factory=dict)  # of the axes of a state that grow
    lengths: Mapping[str, int] = field(default_factory=dict)  # of the axes of an input that are of any length
    carries: Mapping[str, int] = field(default_factory=dict)  # how much of an input is put in front of the next one
    initials: Mapping[str, str] = field(default_factory=dict)  # the file (NumPy's) of what a state begins with

    def options(self, values: Mapping[str, object]) -> str:
        """Returns the options that say the same on a command line, each with a space behind; `values` are those of
        constants.
        """
        axes = {name: "none" if axis is None else axis for name, axis in self.step_axes.items()}
        said = [
            *(("state", f"{one}={other}") for one, other in self.states.items()),
            *(("not-state", name) for name in sorted(self.not_states)),
            *(("constant", f"{name}={json.dumps(value)}") for name, value in values.items()),
            *(("batch-axis", f"{name}={axis}") for name, axis in self.batch_axes.items()),
            *(("step-axis", f"{name}={axis}") for name, axis in axes.items()),
            *(("maximum", f"{name}={length}") for name, length in self.maxima.items()),
            *(("length", f"{name}={length}") for name, length in self.lengths.items()),
            *(("carry", f"{name}={count}") for name, count in self.carries.items()),
            *(("initial", f"{name}={file}") for name, file in self.initials.items()),
        ]
        return "".join(f"--{option} {shlex.quote(value)} " for option, value in said)

    def check(self, inputs: Sequence[str], outputs: Sequence[str]) -> None:
        """Raises BundleError where a choice names nothing of the graph, such as one that is misspelt."""
        every = [*inputs, *outputs]
        for what, names, known in (
            ("not-state", self.not_states, inputs),
            ("constant", self.constants, inputs),
            ("batch-axis", self.batch_axes, every),
            ("step-axis", self.step_axes, every),
            ("maximum", self.maxima, inputs),
            ("length", self.lengths, inputs),
            ("carry", self.carries, inputs),
            ("initial", self.initials, inputs),
        ):
            for pattern in names:
                if not any(matches((pattern,), name) for name in known):
                    raise BundleError(f"--{what} {pattern}: expected one of {', '.join(known)}")
        for what, lengths in (("maximum", self.maxima), ("length", self.lengths), ("carry", self.carries)):
            for name, length in lengths.items():
                if length < 1:
                    raise BundleError(f"--{what} {name}: expected 1 or more, got {length}")


def choice(choices: Mapping[str, T], name: str) -> T | None:
    """Returns what was chosen for a name; None if nothing, or if that was it."""
    return next((one for pattern, one in choices.items() if matches((pattern,), name)), None)


def is_told(choices: Mapping[str, object], name: str) -> bool:
    """Whether anything was chosen for a name."""
    return matches(choices, name)


def matches(patterns: Collection[str], name: str) -> bool:
    return any(name == pattern or fnmatch.fnmatchcase(name, pattern) for pattern in patterns)
