"""What is new in the folder is served once it has passed; what was served goes on, whatever comes."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

import pytest

from service.errors import ModelNotFound
from service.hosting.errors import ModelBroken, ModelInUse
from service.hosting.model import Model
from service.hosting.repository import Repository, load_model
from service.hosting.shelf import RETIRE_SECONDS, Shelf
from service.versions import VersionPolicy
from tapehead.bundle import MANIFEST_NAME
from tests.bundles import write_accumulator
from tests.contract.clocks import HandClock
from tests.qa_bundles import write_tiny_qa

ID = "accumulator"


class Library:
    """A folder of models, and a shelf over it."""

    def __init__(self, folder: Path, policy: str = "all") -> None:
        self.folder = folder
        self.needed: Counter[tuple[str, int]] = Counter()
        self.let_go: list[tuple[str, int]] = []
        self.changes = 0
        self.loads = 0
        self.clock = HandClock()
        self.repository = Repository.load(folder, max_batch=2)
        self.shelf = Shelf(
            self.repository,
            folder,
            VersionPolicy.parse(policy),
            self.clock,
            load=self._load,
            needed=self._needed,
            let_go=lambda model: self.let_go.append((model.model_id, model.version)),
            changed=self._changed,
        )

    def _load(self, place: Path) -> Model:
        self.loads += 1
        return load_model(place, max_batch=2)

    async def _needed(self) -> Counter[tuple[str, int]]:
        return self.needed

    def _changed(self) -> None:
        self.changes += 1

    async def look(self, times: int = 2) -> None:
        """Twice is what a new bundle takes to count."""
        for _ in range(times):
            await self.shelf.look()

    @property
    def versions(self) -> list[int]:
        return self.repository.versions(ID)

    @property
    def newest(self) -> int:
        return self.repository.get(ID).version


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_accumulator(tmp_path)
    return tmp_path


async def test_nothing_is_loaded_again_that_was_loaded_at_the_start(folder: Path) -> None:
    library = Library(folder)

    await library.look(3)

    assert (library.loads, library.changes, library.versions) == (0, 0, [1])


async def test_a_new_version_and_a_new_model_are_served_without_a_restart(folder: Path) -> None:
    library = Library(folder)
    await library.look()
    write_accumulator(folder, version=2)
    write_tiny_qa(folder)

    await library.look()

    assert (library.newest, library.versions) == (2, [2, 1])
    assert library.repository.get("tiny-qa").version == 1
    assert library.changes == 2


async def test_a_bundle_counts_once_it_has_looked_the_same_twice(folder: Path) -> None:
    library = Library(folder)
    await library.look()
    write_accumulator(folder, version=2)

    await library.look(1)
    assert library.newest == 1
    (folder / ID / "2" / "model.onnx").touch()  # somebody is still writing
    await library.look(1)
    assert library.newest == 1
    await library.look(1)

    assert (library.newest, library.loads) == (2, 1)


async def test_a_broken_version_never_replaces_a_good_one(folder: Path) -> None:
    """It is tried once, told of with the reason, and tried again when its files change."""
    library = Library(folder, "latest:1")
    graph = write_accumulator(folder, version=2) / "model.onnx"
    whole = graph.read_bytes()
    graph.write_bytes(whole[:-1])

    await library.look(4)
    assert (library.newest, library.loads) == (1, 1)
    assert "model.onnx: expected" in library.repository.broken[f"{ID}/2"]

    graph.write_bytes(whole)
    await library.look()
    assert library.newest == 2
    assert library.repository.broken == {}


async def test_files_that_change_under_a_served_version_change_nothing(folder: Path) -> None:
    library = Library(folder)
    await library.look()
    served = library.repository.get(ID)
    before = {path: path.read_bytes() for path in (folder / ID / "1").iterdir() if path.is_file()}
    write_accumulator(folder, allow_non_finite=True)

    await library.look(3)
    assert library.repository.get(ID) is served
    assert "files have changed while it is served" in library.repository.broken[f"{ID}/1"]

    for path, content in before.items():
        path.write_bytes(content)
    await library.look()
    assert library.repository.broken == {}


async def test_what_the_policy_no_longer_offers_serves_the_sessions_that_have_it(folder: Path) -> None:
    library = Library(folder, "latest:1")
    library.needed[ID, 1] = 3
    await library.look()
    write_accumulator(folder, version=2)

    await library.look()
    assert (library.newest, library.versions) == (2, [2, 1])
    assert library.repository.is_retired(library.repository.get(ID, 1))

    library.needed.clear()
    await library.look()
    assert library.versions == [2, 1], "sessions are not counted all the time"
    library.clock.advance(RETIRE_SECONDS)
    await library.look()

    assert (library.versions, library.let_go) == ([2], [(ID, 1)])
    await library.look()
    assert (library.versions, library.loads) == ([2], 1)


async def test_a_version_comes_back_when_the_newer_one_is_taken_away(folder: Path) -> None:
    write_accumulator(folder, version=2)
    library = Library(folder, "latest:1")
    await library.look()
    assert library.versions == [2]

    shutil.rmtree(folder / ID / "2")
    await library.look()

    assert library.newest == 1


async def test_a_model_whose_folder_is_gone_is_offered_to_nobody(folder: Path) -> None:
    library = Library(folder)
    library.needed[ID, 1] = 1
    await library.look()
    shutil.rmtree(folder / ID)

    await library.look()

    assert library.repository.get(ID, 1).version == 1
    with pytest.raises(ModelNotFound):
        library.repository.get(ID)


async def test_unloading_says_how_many_sessions_need_it_and_force_does_it(folder: Path) -> None:
    library = Library(folder)
    library.needed[ID, 1] = 3
    await library.look()

    with pytest.raises(ModelInUse) as refused:
        await library.shelf.unload(ID)
    assert refused.value.facts["sessions"] == "3"
    assert library.versions == [1]

    assert await library.shelf.unload(ID, force=True) == ([1], 3)
    await library.look(3)
    assert (library.versions, library.let_go) == ([], [(ID, 1)])

    assert (await library.shelf.load(ID)).version == 1
    with pytest.raises(ModelNotFound):
        await library.shelf.unload("nobody")


async def test_what_was_unloaded_comes_back_by_itself_when_its_files_change(folder: Path) -> None:
    library = Library(folder)
    await library.look()
    await library.shelf.unload(ID)
    write_accumulator(folder, allow_non_finite=True)

    await library.look()

    assert not library.repository.get(ID).state[0].reject_non_finite


async def test_a_version_that_is_loaded_by_name_stays_whatever_the_policy(folder: Path) -> None:
    write_accumulator(folder, version=2)
    library = Library(folder, "latest:1")
    await library.look()
    assert library.versions == [2]

    assert (await library.shelf.load(ID, 1)).version == 1
    library.clock.advance(RETIRE_SECONDS)
    await library.look(3)

    assert (library.versions, library.newest) == ([2, 1], 2)


async def test_loading_what_is_broken_or_missing_says_so(folder: Path) -> None:
    library = Library(folder)
    (write_accumulator(folder, version=2) / MANIFEST_NAME).write_text("{")

    with pytest.raises(ModelBroken):
        await library.shelf.load(ID, 2)
    with pytest.raises(ModelBroken):
        await library.shelf.load(ID)
    assert library.newest == 1
    for model_id, version in (("nobody", 0), (ID, 7)):
        with pytest.raises(ModelNotFound):
            await library.shelf.load(model_id, version)


async def test_a_folder_that_cannot_be_read_changes_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(_folder: Path) -> list[Path]:
        raise OSError(5, "input/output error")

    library = Library(folder)
    await library.look()
    monkeypatch.setattr("service.hosting.shelf.find_bundles", fails)

    await library.look()

    assert library.newest == 1
