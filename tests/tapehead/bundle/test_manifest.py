"""Manifests and the files they list are read as they were written, or refused."""

import hashlib
import json
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from google.protobuf.json_format import Parse, ParseError
from hypothesis import given, settings
from hypothesis import strategies as st

from tapehead.bundle import (
    BundleError,
    check_manifest,
    find_entry,
    initial_state,
    read_file,
    read_manifest,
    write_manifest,
)
from tapehead.v1.manifest_pb2 import Manifest
from tests.bundles import write_accumulator, write_two_states
from tests.qa_bundles import write_tiny_qa


def edit(folder: Path, change: Any) -> None:
    """Changes the manifest's JSON in place, as somebody with an editor would."""
    place = folder / "manifest.json"
    content = json.loads(place.read_text())
    change(content)
    place.write_text(json.dumps(content))


def test_a_manifest_round_trips(tmp_path: Path):
    folder = write_two_states(tmp_path)
    manifest = read_manifest(folder)

    write_manifest(folder, manifest)

    assert read_manifest(folder) == manifest
    assert [place.name for place in folder.glob(".*")] == []


def test_entries_are_found_by_name(tmp_path: Path):
    manifest = read_manifest(write_accumulator(tmp_path))

    assert find_entry(manifest, "step") == manifest.entries[0]
    assert find_entry(manifest, "ask") is None


def test_the_initial_state_comes_from_its_file_or_is_zero(tmp_path: Path):
    folder = write_two_states(tmp_path)

    state = initial_state(folder, read_manifest(folder))

    np.testing.assert_array_equal(state["hidden"], np.full((2, 4), 0.25, np.float32))
    assert state["count"].tolist() == [0]
    with pytest.raises(ValueError, match="read-only"):
        state["count"][0] = 1


def test_a_missing_manifest_is_refused_by_name(tmp_path: Path):
    with pytest.raises(BundleError, match=r"manifest\.json: cannot be read"):
        read_manifest(tmp_path)


@pytest.mark.parametrize("text", [b"{", b"[]", b'{"format": 1, "colour": "red"}', b"\xff"])
def test_what_is_no_manifest_is_refused(tmp_path: Path, text: bytes):
    (tmp_path / "manifest.json").write_bytes(text)

    with pytest.raises(BundleError, match=r"manifest\.json"):
        read_manifest(tmp_path)


def test_an_endless_manifest_is_refused_unread(tmp_path: Path):
    with (tmp_path / "manifest.json").open("wb") as file:
        file.truncate(2**40)  # sparse

    with pytest.raises(BundleError, match="at most"):
        read_manifest(tmp_path)


def test_a_changed_file_is_refused_by_its_hash(tmp_path: Path):
    folder = write_accumulator(tmp_path)
    graph = bytearray((folder / "model.onnx").read_bytes())
    graph[-1] ^= 1
    (folder / "model.onnx").write_bytes(graph)

    with pytest.raises(BundleError, match=r"model\.onnx: expected sha256"):
        read_manifest(folder)


def test_a_file_of_another_size_is_refused(tmp_path: Path):
    folder = write_accumulator(tmp_path)
    (folder / "model.onnx").write_bytes(b"")

    with pytest.raises(BundleError, match=r"model\.onnx: expected \d+ bytes"):
        read_manifest(folder)


def test_a_missing_file_is_refused(tmp_path: Path):
    folder = write_accumulator(tmp_path)
    (folder / "model.onnx").unlink()

    with pytest.raises(BundleError, match="not there"):
        read_manifest(folder)


def test_a_folder_in_place_of_a_file_is_refused(tmp_path: Path):
    folder = write_accumulator(tmp_path)
    (folder / "model.onnx").unlink()
    (folder / "model.onnx").mkdir()

    with pytest.raises(BundleError, match="expected a plain file"):
        read_manifest(folder)


@pytest.mark.parametrize(
    "path", ["/etc/hostname", "../model.onnx", "a/../../x", "./x", "a//b", "a\\b", "", "C:x", "x\0", "manifest.json"]
)
def test_paths_that_could_leave_the_bundle_are_refused(tmp_path: Path, path: str):
    folder = write_accumulator(tmp_path)
    edit(folder, lambda content: content["files"].append({"path": path, "sha256": "0", "size": 0}))

    with pytest.raises(BundleError, match="file "):
        read_manifest(folder)


@pytest.mark.parametrize("linked", ["model.onnx", "."])
def test_a_link_out_of_the_bundle_is_refused(tmp_path: Path, linked: str):
    """Even to a file with the right content: what it points to may change after the check."""
    folder = write_accumulator(tmp_path / "models")
    outside = tmp_path / "outside"
    outside.mkdir()
    content = (folder / "model.onnx").read_bytes()
    (outside / "model.onnx").write_bytes(content)
    path = "model.onnx"
    if linked == ".":
        (folder / "deep").symlink_to(outside)
        path = "deep/model.onnx"
        edit(
            folder,
            lambda manifest: manifest["files"].append(
                {"path": path, "sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}
            ),
        )
    else:
        (folder / path).unlink()
        (folder / path).symlink_to(outside / "model.onnx")

    with pytest.raises(BundleError, match="leads out of the bundle"):
        read_manifest(folder)


def test_links_in_a_circle_are_refused(tmp_path: Path):
    folder = write_accumulator(tmp_path)
    (folder / "model.onnx").unlink()
    (folder / "model.onnx").symlink_to("model.onnx")

    with pytest.raises(BundleError, match="not there"):
        read_manifest(folder)


def test_only_listed_files_are_read(tmp_path: Path):
    folder = write_accumulator(tmp_path)
    (folder / "stranger.bin").write_bytes(b"1")

    with pytest.raises(BundleError, match="not listed"):
        read_file(folder, read_manifest(folder), "stranger.bin")


def test_an_initial_state_of_another_size_is_refused(tmp_path: Path):
    folder = write_two_states(tmp_path)
    manifest = read_manifest(folder)
    manifest.state[0].shape[:] = [2, 5]

    with pytest.raises(BundleError, match=r"state 'hidden' needs 40 bytes, got 32"):
        initial_state(folder, manifest)


@pytest.fixture(scope="module")
def tiny_qa() -> str:
    """The text of a sound manifest."""
    with tempfile.TemporaryDirectory() as folder:
        return (write_tiny_qa(Path(folder)) / "manifest.json").read_text()


JSON_VALUES = st.sampled_from([None, "", "x", "-1", 0, -1, 2**40, 1.5, True, [], {}, ["x"], {"x": 1}, "NaN"])


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_whatever_a_manifest_says_it_is_read_or_refused(tiny_qa: str, data: st.DataObject):
    """Values of the wrong kind or size raise BundleError and nothing else."""
    content = json.loads(tiny_qa)
    place: Any = content
    while True:
        key = data.draw(st.sampled_from(sorted(place) if isinstance(place, dict) else range(len(place))))
        if not isinstance(place[key], dict | list) or not place[key] or data.draw(st.integers(0, 3)) == 0:
            break
        place = place[key]
    place[key] = data.draw(JSON_VALUES)

    with suppress(BundleError, ParseError):
        check_manifest(Parse(json.dumps(content), Manifest()))
