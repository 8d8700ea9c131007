"""Bounds of a bundle, so that a hostile or broken one fails early and says why."""

from __future__ import annotations

MAX_MANIFEST_BYTES = 16 * 2**20  # most of it recorded probes
MAX_FILE_BYTES = 2**30  # one file; a graph also has to fit into one protobuf message (2 GiB)
MAX_FILES = 256
MAX_ENTRIES = 8
MAX_TENSORS = 256  # inputs, outputs or state tensors of one entry
MAX_RANK = 8
MAX_STATE_BYTES = 64 * 2**20  # one session; it is written at every commit
MAX_CONSTANT_BYTES = 4096  # what a session is given once; it lies beside the facts of its birth
MAX_TENSOR_ELEMENTS = 2**28  # one tensor inside a graph; 1 GiB of float32
MAX_GRAPH_DEPTH = 64  # graphs within attributes of nodes within graphs, counted in protobuf messages
MAX_WORDS = 1_000_000
MAX_SENTENCE_WORDS = 4096
MAX_MEMORY_SENTENCES = 65_536
