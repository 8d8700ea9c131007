"""An LMDB store in a folder of its own, under a clock that the test moves."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from service.store.base import Durability
from service.store.lmdb import LmdbStore
from tests.contract.clocks import HandClock


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
async def store(folder: Path, clock: HandClock) -> AsyncIterator[LmdbStore]:
    store = LmdbStore.at(folder, Durability.PROCESS, clock=clock)
    yield store
    await store.close()
