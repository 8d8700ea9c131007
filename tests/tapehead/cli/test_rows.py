"""Where rows come from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tapehead.cli.rows import from_source


def test_a_file_of_lines(tmp_path: Path):
    file = tmp_path / "rows.csv"
    file.write_text("# a comment\n1, 2.5\n\n-3,4e-1\n")

    np.testing.assert_array_equal(list(from_source(str(file))), [[1, 2.5], [-3, 0.4]])


def test_an_array_of_objects_is_refused(tmp_path: Path):
    file = tmp_path / "rows.npy"
    np.save(file, np.array([{"a": 1}], dtype=object), allow_pickle=True)

    with pytest.raises(ValueError, match="allow_pickle"):
        from_source(str(file))


def test_a_single_number_is_no_sequence(tmp_path: Path):
    file = tmp_path / "rows.npy"
    np.save(file, np.float32(1))

    with pytest.raises(ValueError, match="expected an array with one row a step"):
        from_source(str(file))


def test_a_missing_file_is_noticed_before_anything_is_streamed():
    with pytest.raises(FileNotFoundError):
        from_source("/nowhere/rows.csv")
