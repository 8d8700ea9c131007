"""A program that talks to a server with Triton's own client, as its users do; run in a process of its own.

    python -m tests.end_to_end.triton_peer ADDRESS SCENARIO [ARGUMENT ...]

prints what it got as one line of JSON. Its messages have the names of the service's, so the two cannot share a process.
"""

from __future__ import annotations

import asyncio
import json
import queue
import sys
from typing import Any

import numpy as np
import tritonclient.grpc as triton
import tritonclient.grpc.aio as triton_aio
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

MODEL = "accumulator"


def tensor(name: str, array: np.ndarray) -> Any:
    given = triton.InferInput(name, list(array.shape), np_to_triton_dtype(array.dtype))
    given.set_data_from_numpy(array)
    return given


def x(value: float, *, batched: bool = True) -> list[Any]:
    array = np.full(3, value, np.float32)
    return [tensor("x", array[np.newaxis] if batched else array)]


def total(result: Any) -> float:
    """The running sum, which every number of the output is."""
    return float(result.as_numpy("y").reshape(-1)[0])


def step(client: Any, sequence: int | str, value: float, **options: Any) -> float:
    return total(client.infer(MODEL, x(value), sequence_id=sequence, **options))


def refusal(act: Any) -> dict[str, str]:
    try:
        return {"answer": repr(act())}
    except InferenceServerException as error:
        return {"status": str(error.status()), "message": str(error.message())}


def describe(client: Any) -> Any:
    """What load tools ask before they begin."""
    config = client.get_model_config(MODEL, as_json=True)["config"]
    metadata = client.get_model_metadata(MODEL, as_json=True)
    step(client, 1, 1, sequence_start=True, sequence_end=True)
    statistics = client.get_inference_statistics(MODEL, as_json=True)["model_stats"][0]
    return {
        "live": client.is_server_live(),
        "ready": client.is_server_ready(),
        "model_ready": [client.is_model_ready(name) for name in (MODEL, "nobody")],
        "server": client.get_server_metadata(as_json=True),
        "config": config,
        "metadata": metadata,
        "index": client.get_model_repository_index(as_json=True),
        "statistics": statistics,
        "shared_memory": refusal(client.get_system_shared_memory_status),
        "log": refusal(client.get_log_settings),
    }


def sequence(client: Any) -> Any:
    values = [step(client, 42, 1, sequence_start=True), step(client, 42, 2), step(client, 42, 3, sequence_end=True)]
    named = [step(client, "a-name", 5, sequence_start=True), step(client, "a-name", 5)]
    odd = [step(client, "user@example.org #1", 2, sequence_start=True), step(client, "user@example.org #1", 2)]
    flat = client.infer(MODEL, x(1, batched=False), sequence_id="a-name")
    batched = client.infer(
        MODEL, x(1), sequence_id="a-name", request_id="r9", outputs=[triton.InferRequestedOutput("sum")]
    )
    parameters = batched.get_response().parameters
    return {
        "values": values,
        "named": named,
        "odd": odd,
        "flat": [list(flat.as_numpy("y").shape), total(flat)],
        "batched": [list(batched.as_numpy("sum").shape), float(batched.as_numpy("sum")[0, 0])],
        "id": batched.get_response().id,
        "step": parameters["step"].int64_param,
        "session_id": parameters["session_id"].string_param,
    }


def numbered(client: Any) -> Any:
    """A step with a number is one step, however often it is sent."""
    step(client, 7, 1, sequence_start=True)
    values = [step(client, 7, 5, parameters={"expected_step": 2}) for _ in range(3)]
    ahead = refusal(lambda: step(client, 7, 5, parameters={"expected_step": 9}))
    other = refusal(lambda: step(client, 7, 6, parameters={"expected_step": 2}))
    unnumbered = [step(client, 7, 5) for _ in range(2)]
    end = [step(client, 7, 1, sequence_end=True, request_id="last") for _ in range(2)]
    after = refusal(lambda: step(client, 7, 1))
    return {"values": values, "ahead": ahead, "other": other, "unnumbered": unnumbered, "end": end, "after": after}


def restart(client: Any) -> Any:
    values = [step(client, 9, 4, sequence_start=True, request_id="s"), step(client, 9, 4)]
    repeated = step(client, 9, 4, sequence_start=True, request_id="s")
    values += [step(client, 9, 4), step(client, 9, 1, sequence_start=True), step(client, 9, 1)]
    return {"values": values, "repeated": repeated}


def unload(client: Any) -> Any:
    """A model that no session needs goes and comes back, as Triton's clients ask for it."""
    client.unload_model("tiny-qa")
    states = [client.is_model_ready("tiny-qa")]
    client.load_model("tiny-qa")
    return {
        "ready": [*states, client.is_model_ready("tiny-qa")],
        "missing": refusal(lambda: client.load_model("nobody")),
        "config": refusal(lambda: client.load_model("tiny-qa", config="{}")),
    }


def errors(client: Any) -> Any:
    wrong = triton.InferInput("x", [1, 4], "FP32")
    wrong.set_data_from_numpy(np.zeros((1, 4), np.float32))
    return {
        "unknown": refusal(lambda: step(client, 999, 1)),
        "no_sequence": refusal(lambda: client.infer(MODEL, x(1))),
        "no_model": refusal(lambda: client.infer("nobody", x(1), sequence_id=1, sequence_start=True)),
        "no_model_later": refusal(lambda: client.infer("nobody", x(1), sequence_id=1)),
        "shape": refusal(lambda: client.infer(MODEL, [wrong], sequence_id=1, sequence_start=True)),
        "classes": refusal(
            lambda: client.infer(
                MODEL, x(1), sequence_id=1, sequence_start=True, outputs=[triton.InferRequestedOutput("y", 2)]
            )
        ),
    }


def question(client: Any) -> Any:
    story = ["Mary went to the kitchen.", "John went to the garden."]
    asked = tensor("question", np.array(["Where is Mary?"], object))
    found = client.infer("tiny-qa", [tensor("story", np.array(story, object)), asked])
    counted = client.get_inference_statistics("tiny-qa", as_json=True)["model_stats"][0]["inference_stats"]
    one = client.infer("tiny-qa", [tensor("story", np.array(["\n".join(story)], object)), asked])
    return {
        "answer": found.as_numpy("answer").tolist()[0].decode(),
        "again": one.as_numpy("answer").tolist()[0].decode(),
        "probability": float(found.as_numpy("probability")[0]),
        "attention": list(found.as_numpy("attention").shape),
        "counts": sorted(int(counted[f"compute_{part}"]["count"]) for part in ("input", "infer", "output")),
    }


def stream(client: Any, wants_status: str = "") -> Any:
    """Two sequences over one stream, their requests mixed, and a request that fails between them."""
    got: queue.Queue[Any] = queue.Queue()
    headers = {"triton_grpc_error": "true"} if wants_status else {}
    client.start_stream(lambda result, error: got.put((result, error)), headers=headers)
    count = 0
    for index in range(5):
        for name in (11, 12):
            client.async_stream_infer(
                MODEL,
                x(name),
                request_id=f"{name}-{index}",
                sequence_id=name,
                sequence_start=index == 0,
                sequence_end=index == 4,
                enable_empty_final_response=True,
            )
            count += 1
        if index == 2:
            client.async_stream_infer(MODEL, x(1), request_id="bad", sequence_id=999)
            count += 1
    answers: dict[str, float] = {}
    failures, finals = [], 0
    for _ in range(1 if wants_status else count):
        result, error = got.get(timeout=30)
        while wants_status and error is None:
            result, error = got.get(timeout=30)
        if error is not None:
            failures.append([str(error.message()), str(error.status())])
        else:
            answers[result.get_response().id] = total(result)
            finals += result.get_response().parameters["triton_final_response"].bool_param
    client.stop_stream(cancel_requests=bool(wants_status))
    return {"answers": answers, "failures": failures, "finals": finals}


def survive(client: Any, count: str) -> Any:
    """Steps a sequence while its server is killed again and again: what fails is sent again under its number."""
    values, failures = [], 0
    for number in range(1, int(count) + 1):
        while True:
            try:
                values.append(
                    step(
                        client,
                        "survivor",
                        1,
                        sequence_start=number == 1,
                        request_id=str(number),
                        parameters={"expected_step": number},
                        client_timeout=5.0,
                    )
                )
                break
            except InferenceServerException as error:
                if str(error.status()) not in ("StatusCode.UNAVAILABLE", "StatusCode.DEADLINE_EXCEEDED"):
                    raise
                failures += 1
        print(number, flush=True)
    return {"values": values, "failures": failures}


def wander(client: Any, elsewhere: str) -> Any:
    """Sequences whose every step may come to another server, one of them with each step sent to both."""
    with triton.InferenceServerClient(elsewhere) as other:
        values, again = [], []
        for number in range(1, 13):
            here, there = (client, other) if number % 3 else (other, client)
            flags = {"sequence_start": number == 1, "sequence_end": number == 12, "request_id": str(number)}
            for server, answers in ((here, values), (there, again)):
                answers.append(step(server, "wanderer", 1, **flags, parameters={"expected_step": number}))
        plain = [step(other if number % 2 else client, 5, 1, sequence_start=number == 0) for number in range(8)]
    return {"values": values, "again": again, "plain": plain}


def constants(client: Any) -> Any:
    """A program made for a server that keeps no sample rate brings it with every step; this one has two ways to."""

    def rated(rate: np.ndarray | None, **flags: bool) -> float:
        given = [tensor("x", np.ones((1, 2), np.float32)), *([] if rate is None else [tensor("rate", rate)])]
        return total(client.infer("rated", given, sequence_id=3, **flags))

    return {
        "values": [rated(np.array(8), sequence_start=True), rated(np.array(8)), rated(np.array([[8]])), rated(None)],
        "other": refusal(lambda: rated(np.array(9))),
    }


def go_on(client: Any, count: str) -> Any:
    """So many more steps of a sequence that somebody began."""
    return [step(client, 5, 1) for _ in range(int(count))]


def side_by_side(client: Any) -> Any:
    """The asynchronous client: twenty sequences at once."""

    async def one(asynchronous: Any, name: int) -> list[float]:
        return [
            total(await asynchronous.infer(MODEL, x(name), sequence_id=name, sequence_start=index == 0))
            for index in range(3)
        ]

    async def all_of_them() -> list[list[float]]:
        async with triton_aio.InferenceServerClient(client) as asynchronous:
            return await asyncio.gather(*(one(asynchronous, name) for name in range(100, 120)))

    return asyncio.run(all_of_them())


SCENARIOS = {
    act.__name__: act
    for act in (
        describe,
        sequence,
        numbered,
        restart,
        unload,
        errors,
        question,
        stream,
        survive,
        wander,
        constants,
        go_on,
    )
}


def main(address: str, scenario: str, *arguments: str) -> None:
    if scenario == "side_by_side":
        print(json.dumps(side_by_side(address)))
        return
    with triton.InferenceServerClient(address) as client:
        print(json.dumps(SCENARIOS[scenario](client, *arguments)))


if __name__ == "__main__":
    main(*sys.argv[1:])
