"""ONNX files that are served without a bundle: made into one once, again when they change, never into another's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx import helper

from service.hosting.lone import adopt_files
from service.hosting.repository import Repository
from tapehead.bundle import BundleError
from tests.bundles import onnx_bytes, value, write_accumulator
from tests.foreign import decoder


def write(place: Path, weight: float = 1) -> Path:
    """h = h + weight x."""
    place.parent.mkdir(exist_ok=True)
    nodes = [
        helper.make_node("Mul", ["x", "weight"], ["scaled"]),
        helper.make_node("Add", ["h_in", "scaled"], ["y"]),
        helper.make_node("Identity", ["y"], ["h_out"]),
    ]
    shape: list[str | int] = ["batch", 2]
    ports = [value("x", shape), value("h_in", shape)], [value("y", shape), value("h_out", shape)]
    place.write_bytes(onnx_bytes(nodes, *ports, {"weight": np.array(weight, np.float32)}))
    return place


def test_a_file_becomes_a_bundle_once(tmp_path: Path):
    file, kept = write(tmp_path / "My Model.onnx"), tmp_path / "kept"

    [bundle] = adopt_files([file], kept, ())
    written = (bundle / "manifest.json").stat().st_mtime_ns

    assert bundle == kept / "my-model" / "1"
    assert adopt_files([file], kept, ()) == [bundle]
    assert (bundle / "manifest.json").stat().st_mtime_ns == written


def test_a_file_that_changes_is_the_next_version_and_sessions_keep_theirs(tmp_path: Path):
    file, kept = write(tmp_path / "m.onnx", 1), tmp_path / "kept"
    adopt_files([file], kept, ())
    write(file, 2)
    adopt_files([file], kept, ())
    write(file, 1)

    bundles = adopt_files([file], kept, ())

    assert [bundle.name for bundle in bundles] == ["1", "2", "3"]
    repository = Repository.load(None, also=bundles, max_batch=2)
    assert not repository.broken
    assert repository.versions("m") == [3, 2, 1]


def test_a_bundle_that_was_damaged_is_made_anew(tmp_path: Path):
    file, kept = write(tmp_path / "m.onnx"), tmp_path / "kept"
    [bundle] = adopt_files([file], kept, ())
    (bundle / "model.onnx").write_bytes(b"")

    assert [bundle.name for bundle in adopt_files([file], kept, ())] == ["1", "2"]


def test_it_is_served_beside_a_folder_of_bundles(tmp_path: Path):
    write_accumulator(tmp_path / "models")
    bundles = adopt_files([write(tmp_path / "m.onnx")], tmp_path / "kept", {"accumulator"})

    repository = Repository.load(tmp_path / "models", also=bundles, max_batch=2)

    assert [model.model_id for model in repository.models()] == ["accumulator", "m"]


def test_an_id_belongs_to_one(tmp_path: Path):
    one, other = write(tmp_path / "m.onnx"), write(tmp_path / "b" / "M.onnx")

    with pytest.raises(BundleError, match="'m' is served from --models already"):
        adopt_files([one], tmp_path / "kept", {"m"})
    with pytest.raises(BundleError, match=r"'m' is served from .*m.onnx already"):
        adopt_files([one, other], tmp_path / "kept", ())


def test_what_a_file_leaves_open_is_asked(tmp_path: Path):
    with pytest.raises(BundleError, match=r"(?s)How long may it be.*tapehead bundle build .*--maximum"):
        adopt_files([decoder(tmp_path / "d.onnx")], tmp_path / "kept", ())
