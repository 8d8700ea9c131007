"""The fingerprint changes with whatever may change a bit, and with nothing else."""

from pathlib import Path

import pytest

from service.hosting import fingerprint
from service.hosting.fingerprint import compute_fingerprint, describe_cpu
from tapehead.bundle import read_manifest
from tapehead.v1.manifest_pb2 import Manifest
from tests.bundles import list_file, write_two_states

X86 = """processor\t: 0
vendor_id\t: AuthenticAMD
cpu family\t: 25
model\t\t: 17
model name\t: AMD EPYC
cpu MHz\t\t: {mhz}
flags\t\t: fpu fma avx2 avx sse4_1 {flags}

processor\t: 1
vendor_id\t: Other
"""


@pytest.fixture
def manifest(tmp_path: Path) -> Manifest:
    return read_manifest(write_two_states(tmp_path))


def test_it_is_a_sha256_in_hexadecimal(manifest: Manifest):
    assert len(bytes.fromhex(compute_fingerprint(manifest))) == 32


@pytest.mark.parametrize("path", ["step.onnx", "initial/hidden.bin"])
def test_other_weights_or_initial_states_give_another(manifest: Manifest, path: str):
    before = compute_fingerprint(manifest)
    list_file(manifest, path).sha256 = "0" * 64

    assert compute_fingerprint(manifest) != before


def test_another_mapping_of_names_gives_another(manifest: Manifest):
    before = compute_fingerprint(manifest)
    manifest.state[0].graph_output = "y"

    assert compute_fingerprint(manifest) != before


def test_cards_and_words_about_the_model_do_not_count(manifest: Manifest):
    before = compute_fingerprint(manifest)
    manifest.files.add(path="README.md", sha256="1" * 64, size=1)
    manifest.description = "Better explained"
    manifest.state[0].description = "what it remembers"

    assert compute_fingerprint(manifest) == before


@pytest.mark.parametrize("name", ["OPTIMISATION", "PROVIDER"])
def test_another_way_to_compute_gives_another(manifest: Manifest, monkeypatch: pytest.MonkeyPatch, name: str):
    before = compute_fingerprint(manifest)
    monkeypatch.setattr(fingerprint, name, "another")

    assert compute_fingerprint(manifest) != before


def test_other_padding_gives_another(manifest: Manifest):
    assert (
        compute_fingerprint(manifest, {"step": 2}) != compute_fingerprint(manifest, {}) == compute_fingerprint(manifest)
    )


def test_another_class_of_cpu_gives_another(manifest: Manifest, monkeypatch: pytest.MonkeyPatch):
    before = compute_fingerprint(manifest)
    monkeypatch.setattr(fingerprint, "cpu_class", lambda: "another")

    assert compute_fingerprint(manifest) != before


def test_a_cpu_is_described_by_its_class_and_not_by_its_clock():
    described = describe_cpu(X86.format(mhz="2600.1", flags="pni"))

    assert described == "vendor_id=AuthenticAMD cpu family=25 model=17 flags=avx,avx2,fma,sse4_1"
    assert described == describe_cpu(X86.format(mhz="3100.7", flags="nx rdseed"))
    assert described != describe_cpu(X86.format(mhz="2600.1", flags="avx512f"))
