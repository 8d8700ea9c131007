"""A small grammar: English sentences and their translation into a made-up language of another order.

    the old dogs do not chase a small house today
    hod li kani sivi uno domo malo ne jagun      (today, the dogs old, a house small, not, chase)

The verb stands last, after "ne" where it is denied; the adverb stands first; adjectives follow their noun, the one
nearest to it first. Article, noun and adjectives agree in gender and number, the verb with its subject in number; its
tense is English's, which says it with "did" in a denial.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np

# English singular and plural, the other language's stem and whether it is feminine.
NOUNS = (
    ("dog", "dogs", "kan", False),
    ("cat", "cats", "fel", True),
    ("bird", "birds", "orn", True),
    ("child", "children", "pued", False),
    ("house", "houses", "dom", False),
    ("tree", "trees", "arb", True),
    ("stone", "stones", "lit", False),
    ("river", "rivers", "flum", True),
)
ADJECTIVES = {"small": "mal", "old": "siv", "red": "rub", "green": "verd", "quick": "rap", "quiet": "tas"}
# English infinitive, third person and past; the other language's stem.
VERBS = (
    ("see", "sees", "saw", "vid"),
    ("chase", "chases", "chased", "jag"),
    ("find", "finds", "found", "trov"),
    ("like", "likes", "liked", "gust"),
    ("carry", "carries", "carried", "port"),
    ("hear", "hears", "heard", "aud"),
)
ADVERBS = {"today": "hod", "often": "oft", "here": "tie"}
NOUN_ENDINGS = {(False, False): "o", (False, True): "i", (True, False): "a", (True, True): "e"}  # (feminine, plural)
VERB_ENDINGS = {(False, False): "at", (True, False): "un", (False, True): "ab", (True, True): "uv"}  # (plural, past)
DEFINITE, INDEFINITE = "l", "un"
LONGEST = 12  # words of the longest English sentence

NEW_PAIRS = frozenset(  # adjective and noun that no phrase of the training data has together
    {("small", "river"), ("old", "tree"), ("red", "dog"), ("green", "child"), ("quick", "stone"), ("quiet", "cat")}
)
HELD_OUT = 10  # one in so many sentences is kept out of training


@dataclass(frozen=True)
class Sentence:
    """A sentence with its translation, as words."""

    english: tuple[str, ...]
    translated: tuple[str, ...]
    has_new_pair: bool

    @property
    def is_held_out(self) -> bool:
        """Whether it is kept out of training, as by chance but for ever the same."""
        return zlib.crc32(" ".join(self.english).encode()) % HELD_OUT == 0


@dataclass(frozen=True)
class _Phrase:
    """A noun with what belongs to it."""

    noun: int
    plural: bool
    definite: bool
    adjectives: tuple[str, ...]

    @property
    def english(self) -> list[str]:
        article = "the" if self.definite else "some" if self.plural else "a"
        one, many = NOUNS[self.noun][:2]
        return [article, *self.adjectives, many if self.plural else one]

    @property
    def translated(self) -> list[str]:
        stem, feminine = NOUNS[self.noun][2:]
        ending = NOUN_ENDINGS[feminine, self.plural]
        article = DEFINITE if self.definite else INDEFINITE
        adjectives = [ADJECTIVES[word] + ending for word in reversed(self.adjectives)]
        return [article + ending, stem + ending, *adjectives]

    @property
    def has_new_pair(self) -> bool:
        return any((adjective, NOUNS[self.noun][0]) in NEW_PAIRS for adjective in self.adjectives)


def draw_sentence(random: np.random.Generator) -> Sentence:
    """Draws a sentence of 5 to LONGEST words, of any kind."""
    subject, thing = _phrase(random), _phrase(random)
    infinitive, third, past, stem = VERBS[random.integers(len(VERBS))]
    in_past, denied = random.random() < 0.4, random.random() < 0.35
    adverb = list(ADVERBS)[random.integers(len(ADVERBS))] if random.random() < 0.4 else ""
    if denied:
        verb = ["did" if in_past else "do" if subject.plural else "does", "not", infinitive]
    else:
        verb = [past if in_past else infinitive if subject.plural else third]
    english = [*subject.english, *verb, *thing.english, adverb]
    translated = [ADVERBS.get(adverb, ""), *subject.translated, *thing.translated, "ne" if denied else ""]
    translated.append(stem + VERB_ENDINGS[subject.plural, in_past])
    return Sentence(
        tuple(word for word in english if word),
        tuple(word for word in translated if word),
        subject.has_new_pair or thing.has_new_pair,
    )


def _phrase(random: np.random.Generator) -> _Phrase:
    count = int(random.random() * 3)
    adjectives = tuple(list(ADJECTIVES)[number] for number in random.permutation(len(ADJECTIVES))[:count])
    noun, plural, definite = int(random.random() * len(NOUNS)), random.random() < 0.5, random.random() < 0.5
    return _Phrase(noun, plural, definite, adjectives)


def english_words() -> list[str]:
    """Every word of an English sentence."""
    nouns = [word for one, many, *_ in NOUNS for word in (one, many)]
    verbs = [word for *forms, _ in VERBS for word in forms]
    return ["the", "a", "some", *nouns, *ADJECTIVES, "do", "does", "did", "not", *verbs, *ADVERBS]


def translated_words() -> list[str]:
    """Every word of a translation."""
    articles = [article + ending for article in (DEFINITE, INDEFINITE) for ending in NOUN_ENDINGS.values()]
    nouns = [stem + NOUN_ENDINGS[feminine, plural] for *_, stem, feminine in NOUNS for plural in (False, True)]
    adjectives = [stem + ending for stem in ADJECTIVES.values() for ending in NOUN_ENDINGS.values()]
    verbs = [verb[3] + ending for verb in VERBS for ending in VERB_ENDINGS.values()]
    return [*articles, *nouns, *adjectives, "ne", *verbs, *ADVERBS.values()]
