"""Running a model writes nothing outside the folders that were named, and reports nothing to anybody."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.bundles import write_accumulator

ROOT = Path(__file__).parents[2]
WAYS = {
    "service": "from service.hosting.repository import Repository; Repository.load(models, max_batch=2)",
    "bundle": "from tapehead.bundle import verify; verify(next(models.glob('*/*')))",
}


@pytest.mark.parametrize("way", WAYS)
def test_a_model_is_run_without_a_trace_in_the_users_home(way: str, tmp_path: Path) -> None:
    """onnxruntime keeps an identifier of the device there, for its vendor, unless it is told not to."""
    home, models = tmp_path / "home", tmp_path / "models"
    home.mkdir()
    write_accumulator(models)
    program = f"from pathlib import Path; models = Path({str(models)!r}); {WAYS[way]}"
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("ORT_", "XDG_"))}

    subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, env={**environment, "HOME": str(home)}, check=True, timeout=60
    )

    assert [path for path in home.rglob("*") if path.is_file()] == []
