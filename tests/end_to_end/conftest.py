"""Models that take no time to load."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.bundles import write_accumulator
from tests.qa_bundles import write_tiny_qa


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundles")
    write_accumulator(folder)
    write_tiny_qa(folder)
    return folder
