"""Results beside each other: tables, pictures, and cards that are written again without training."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
from pathlib import Path

import pytest
from PIL import Image

from tapehead.bundle import read_manifest, verify, write_manifest
from training.comparison import by_size, by_task, comparison_table, group, load_results, related
from training.drawing import draw_all
from training.errors import TrainingError
from training.export import export
from training.plots import comparison_pngs
from training.refresh import KEPT, refresh
from training.results import read_result, write_result
from training.train import train

from .runs import tiny_config

ECHO = 'task={kind="delayed-echo",delay=1,length=4,test_lengths=[5]}'
LSTM = 'network={kind="lstm",inputs=3,outputs=2,units=8}'


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of results: two seeds of a machine, one of an LSTM on the same task, and one of another task."""
    folder = tmp_path_factory.mktemp("results")
    (folder / "files").mkdir()
    for name, seed, overrides in (
        ("machine-seed1", 1, ["recipe.batch=2"]),
        ("machine-seed2", 2, ["recipe.batch=2"]),
        ("lstm-seed1", 1, ["recipe.batch=2", LSTM, "task.test_lengths=[5,7]"]),
        ("other-seed1", 1, [ECHO, 'network={kind="lstm",inputs=1,outputs=1,units=4}']),
    ):
        run = folder / name
        result = train(tiny_config(folder, "updates=4", *overrides, seed=seed), run)
        write_result(folder / "files" / f"{name}.json", result)
    return folder


@pytest.fixture(scope="module")
def exported(results: Path) -> Path:
    return export(results / "machine-seed1", results / "models", 1, note="First.")


@pytest.fixture
def bundle(exported: Path, tmp_path: Path) -> Path:
    """The bundle of the first machine, to be changed."""
    return shutil.copytree(exported, tmp_path.joinpath(*exported.parts[-2:]))


def test_results_are_grouped_and_found_by_task(results: Path) -> None:
    found = load_results(results / "files")
    config = tiny_config(results).table()

    groups = group(related(config, found))

    assert [(one.name, len(one.results)) for one in groups] == [("lstm", 1), ("machine", 2)]
    table = comparison_table(groups)
    assert "| machine | " in table
    assert "| 8 |" in table  # sequences seen: 4 updates of 2
    assert "other" not in table


def test_sizes_and_tasks_are_read_from_names() -> None:
    figures = {"bits_at_40": 2.0, "bits_at_120": 3.0, "wrong_bits_at_40": 1.0, "task 2": 5.0, "task 10": 1.0}

    assert by_size(figures, "bits") == {40.0: 2.0, 120.0: 3.0}
    assert by_task(figures) == {2: 5.0, 10: 1.0}


def test_pictures_are_small_and_those_that_results_allow(results: Path) -> None:
    groups = group(related(tiny_config(results).table(), load_results(results / "files")))

    pictures = comparison_pngs(groups)

    assert set(pictures) == {"curves.png", "sizes.png"}
    for data in pictures.values():
        assert len(data) < 60 * 1024
        assert Image.open(io.BytesIO(data)).size[0] > 300


def test_a_card_is_written_again_without_touching_the_graph(results: Path, bundle: Path) -> None:
    before = {path.name: hashlib.sha256(path.read_bytes()).digest() for path in bundle.iterdir()}

    refresh(bundle, note="Second.", folder=results / "files")

    after = {path.name: hashlib.sha256(path.read_bytes()).digest() for path in bundle.iterdir()}
    changed = {name for name in before if before[name] != after[name]}
    assert changed <= {"README.md", "manifest.json", KEPT, *(name for name in before if name.endswith(".png"))}
    assert {"curves.png", "sizes.png"} <= set(after)
    card = (bundle / "README.md").read_text()
    assert "Second." in card
    assert "| lstm |" in card
    assert verify(bundle) <= 1e-4
    assert {file.path for file in read_manifest(bundle).files} == set(after) - {"manifest.json"}
    assert json.loads((bundle / KEPT).read_text())["note"] == "Second."


def test_a_bundle_that_has_kept_no_results_asks_for_them(results: Path, bundle: Path) -> None:
    manifest = read_manifest(bundle)
    manifest.files.remove(next(file for file in manifest.files if file.path == KEPT))
    write_manifest(bundle, manifest)
    (bundle / KEPT).unlink()

    with pytest.raises(TrainingError, match=f"has no {KEPT}; expected --result"):
        refresh(bundle, folder=results / "files")


def test_plot_draws_one_network_or_compares_several(results: Path, tmp_path: Path) -> None:
    one = draw_all([results / "machine-seed1"], tmp_path / "one")
    several = draw_all([results / "machine-seed1", results / "lstm-seed1"], tmp_path / "several")

    assert {path.name for path in one} == {"curve.png", "heads.png", "tape.png", "damage.png"}
    assert {path.name for path in several} == {"curves.png", "sizes.png"}
    with pytest.raises(TrainingError, match="expected --out FOLDER"):
        draw_all([results / "machine-seed1", results / "lstm-seed1"], None)


def test_a_result_file_that_lacks_something_is_named(tmp_path: Path) -> None:
    (tmp_path / "a-seed1.json").write_text('{"name": "a"}')
    with pytest.raises(TrainingError, match=r"a-seed1.json: expected a result with 'seed'"):
        read_result(tmp_path / "a-seed1.json")
    (tmp_path / "a-seed1.json").write_text("{")
    with pytest.raises(TrainingError, match=r"a-seed1.json: expected a result as JSON"):
        read_result(tmp_path / "a-seed1.json")
