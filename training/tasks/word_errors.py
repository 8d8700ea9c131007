"""How a written text differs from the expected one: the fewest words to change, add or drop, and repeated ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class WordErrors:
    """The counts of one text."""

    wrong: int  # another word in the place of the expected one
    missing: int
    extra: int
    repeated: int  # of the extra ones: like the word before or behind

    @property
    def all(self) -> int:
        """The edit distance."""
        return self.wrong + self.missing + self.extra


def word_errors(expected: Sequence[int], written: Sequence[int]) -> WordErrors:
    """Aligns both as Levenshtein (1966) does, and counts; of equally short alignments the one with more pairs."""
    distance = [[row + column for column in range(len(written) + 1)] for row in range(len(expected) + 1)]
    for row, wanted in enumerate(expected, start=1):
        for column, word in enumerate(written, start=1):
            distance[row][column] = min(
                distance[row - 1][column - 1] + (wanted != word),
                distance[row - 1][column] + 1,
                distance[row][column - 1] + 1,
            )
    row, column = len(expected), len(written)
    wrong = missing = extra = repeated = 0
    while row or column:
        here = distance[row][column]
        differs = bool(row and column) and expected[row - 1] != written[column - 1]
        if row and column and here == distance[row - 1][column - 1] + differs:
            wrong, row, column = wrong + differs, row - 1, column - 1
        elif row and here == distance[row - 1][column] + 1:
            missing, row = missing + 1, row - 1
        else:
            extra, column = extra + 1, column - 1
            repeated += written[column] in (*written[column - 1 : column], *written[column + 1 : column + 2])
    return WordErrors(wrong, missing, extra, repeated)
