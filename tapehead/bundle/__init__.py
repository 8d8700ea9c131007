"""The bundle: the file format in which a trained model reaches the service.

A bundle is a folder with a manifest, ONNX graphs, initial states and recorded probes. This package reads, checks,
writes and verifies it; it is shared by training and service and needs the extra `tapehead[bundle]`.
"""

from tapehead.bundle.build import write_bundle
from tapehead.bundle.chunk import add_chunk, takes_chunks
from tapehead.bundle.errors import BundleError, TooManyWordsError, UnknownWordError
from tapehead.bundle.files import MANIFEST_NAME, read_file
from tapehead.bundle.graph import check_graph, is_random
from tapehead.bundle.manifest import find_entry, initial_state, read_manifest, with_both_entries, write_manifest
from tapehead.bundle.ports import CHUNK, Plan, Port, graph_name, state_input, state_output, whole_state
from tapehead.bundle.rules import check_manifest
from tapehead.bundle.tensors import datatype_of, dtype_of, to_array, to_tensor
from tapehead.bundle.text import Encoded, Vocabulary
from tapehead.bundle.verify import check_next_state, replay_probes, verify

__all__ = [
    "CHUNK",
    "MANIFEST_NAME",
    "BundleError",
    "Encoded",
    "Plan",
    "Port",
    "TooManyWordsError",
    "UnknownWordError",
    "Vocabulary",
    "add_chunk",
    "check_graph",
    "check_manifest",
    "check_next_state",
    "datatype_of",
    "dtype_of",
    "find_entry",
    "graph_name",
    "initial_state",
    "is_random",
    "read_file",
    "read_manifest",
    "replay_probes",
    "state_input",
    "state_output",
    "takes_chunks",
    "to_array",
    "to_tensor",
    "verify",
    "whole_state",
    "with_both_entries",
    "write_bundle",
    "write_manifest",
]
