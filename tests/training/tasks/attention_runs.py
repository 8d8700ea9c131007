"""Tiny configurations of both families with attention."""

from __future__ import annotations

from pathlib import Path

from training.config import Config, load_config

TINY = {
    "captions": """
[task]
shortest = 2
longest = 3
test_lengths = [4]
validation_clips = 8
test_clips = 8

[network]
directions = 2
""",
    "translation": """
[task]
training_sentences = 30
validation_sentences = 8
test_sentences = 8

[network]
directions = 1         # every position costs nodes of the exported graph, and there are 12
""",
}
REST = """\
size = 8
units = 6
decoder = 10
attention = 5

[recipe]
batch = 4
coverage = 0.1
"""


def tiny_attention(folder: Path, family: str, *overrides: str) -> Config:
    """The tiny experiment of a family, from a file in `folder`."""
    path = folder / f"{family}.toml"
    head = f'name = "tiny-{family}"\nfamily = "{family}"\nupdates = 4\nevaluate_every = 2\n'
    path.write_text(head + TINY[family] + REST, encoding="utf-8")
    return load_config(path, overrides)
