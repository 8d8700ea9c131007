"""One thread for PyTorch, as training itself has it."""

from __future__ import annotations

import pytest
import torch


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    """Threads wait for each other longer than such small tensors take, and longer still beside other tests."""
    torch.set_num_threads(1)
