"""What `make` installs is found from any folder."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def test_a_folder_of_the_same_name_does_not_hide_the_package(tmp_path: Path) -> None:
    """Whoever cloned the repository has one where they cloned it."""
    (tmp_path / "tapehead").mkdir()

    program = "import tapehead; print(tapehead.connect.__module__)"
    found = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True)

    assert found.stdout.startswith("tapehead."), found.stderr
