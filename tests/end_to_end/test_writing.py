"""A trained model that writes: its session begins from a source, and its words go on where a kill stopped them."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

import tapehead
from tapehead.v1.manifest_pb2 import Entry
from tests.end_to_end.server_process import START_SECONDS, ServerProcess

pytestmark = pytest.mark.end_to_end

ROOT = Path(__file__).parents[2]
MODEL = "attention-translate"
SENTENCES = {
    "the small birds did not chase the old red house here": "tie le orne male lo domo rubo sivo ne jaguv",
    "a quiet dog sees some trees": "uno kano taso une arbe vidat",
    "the river hears the quick child today": "hod la fluma lo puedo rapo audat",
    "some children carry a green stone": "uni puedi uno lito verdo portun",
}
Written = list[tuple[int, str, bytes, bytes]]  # step, word, probabilities, attention


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundles")
    shutil.copytree(ROOT / "models" / MODEL, folder / MODEL)
    return folder


async def entries(client: tapehead.aio.Client) -> dict[str, Entry]:
    manifest = (await client.models.get(MODEL)).manifest
    assert manifest is not None
    return {entry.name: entry for entry in manifest.entries}


async def write(client: tapehead.aio.Client, sentence: str, wait: Sequence[asyncio.Event] = ()) -> Written:
    """The words of a new session up to the end; after the third it says so and waits, if there is somebody to wait for.

    wait: set by us, set by them.
    """
    known = await entries(client)
    ids = [list(known["start"].inputs[0].words).index(word) for word in sentence.split()]
    tokens = np.pad(ids, (0, known["start"].inputs[0].shape[0] - len(ids)))
    words, written = known["step"].outputs[0].words, Written()
    outputs = ("word", "probabilities", "attention")
    async with client.session(MODEL, start={"tokens": tokens}, outputs=outputs) as session:
        while not written or written[-1][1] != "<end>":
            result = await session.step()
            word, probabilities, attention = (result.outputs[name] for name in outputs)
            written.append((result.step, words[int(word)], probabilities.tobytes(), attention.tobytes()))
            assert len(written) < 30
            if len(written) == 3 and wait:
                wait[0].set()
                await wait[1].wait()
    return written


def text(written: Written) -> str:
    return " ".join(word for _, word, *_ in written[:-1])


async def test_sentences_are_translated_word_by_word_together_as_alone(tmp_path: Path, models: Path) -> None:
    with ServerProcess(tmp_path, "--models", str(models), store="memory:") as server:
        async with tapehead.aio.connect(server.grpc) as client:
            together = await asyncio.gather(*(write(client, sentence) for sentence in SENTENCES))
            alone = [await write(client, sentence) for sentence in SENTENCES]

    assert [text(written) for written in together] == [*SENTENCES.values()]
    assert together == alone


async def test_a_sentence_goes_on_where_a_kill_stopped_it(tmp_path: Path, models: Path) -> None:
    sentence = next(iter(SENTENCES))
    with ServerProcess(tmp_path, "--models", str(models)) as server:
        async with tapehead.aio.connect(server.grpc, reconnect_timeout=START_SECONDS) as client:
            quiet = await write(client, sentence)
            three, restarted = asyncio.Event(), asyncio.Event()
            writing = asyncio.create_task(write(client, sentence, (three, restarted)))
            await three.wait()
            server.kill()
            await server.restart()
            restarted.set()
            killed = await writing

    assert [step for step, *_ in killed] == list(range(1, len(quiet) + 1))
    assert killed == quiet


async def test_after_the_end_comes_only_the_end(tmp_path: Path, models: Path) -> None:
    with ServerProcess(tmp_path, "--models", str(models), store="memory:") as server:
        async with tapehead.aio.connect(server.grpc) as client:
            tokens = np.zeros(12, np.int64)
            tokens[0] = 1
            async with client.session(MODEL, start={"tokens": tokens}, outputs=("word", "attention")) as session:
                results = [await session.step() for _ in range(40)]
    words = [int(result.outputs["word"]) for result in results]

    assert 0 in words
    assert not any(words[words.index(0) :])
    assert not any(result.outputs["attention"].any() for result in results[words.index(0) + 1 :])


async def test_a_session_without_its_source_is_refused(tmp_path: Path, models: Path) -> None:
    with ServerProcess(tmp_path, "--models", str(models), store="memory:") as server:
        async with tapehead.aio.connect(server.grpc) as client:
            with pytest.raises(tapehead.TapeheadError, match="tokens"):
                async with client.session(MODEL):
                    pass
