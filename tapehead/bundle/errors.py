"""What can be wrong with a bundle, or with text for its model."""

from __future__ import annotations


class BundleError(ValueError):
    """The bundle cannot be used as it is; the message says where, what was expected and what was found."""


class UnknownWordError(BundleError):
    """A word is not in the vocabulary and the model does not take unknown words."""

    def __init__(self, word: str, nearest: tuple[str, ...]) -> None:
        self.word = word
        self.nearest = nearest
        hint = f"; nearest known words: {', '.join(nearest)}" if nearest else ""
        super().__init__(f"the model does not know the word {word!r}{hint}")


class TooManyWordsError(BundleError):
    """A sentence has more words than the model takes."""

    def __init__(self, limit: int, got: int) -> None:
        self.limit = limit
        self.got = got
        super().__init__(f"a sentence may have {limit} words, got {got}")
