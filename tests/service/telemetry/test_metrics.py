"""What is told comes out under its name."""

from __future__ import annotations

import asyncio

from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from service.telemetry.loop_lag import watch_loop
from service.telemetry.metrics import Gauges, Metrics
from service.telemetry.tallies import Distribution


def samples(metrics: Metrics) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    text = generate_latest(metrics.registry).decode()
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def value(metrics: Metrics, name: str, **labels: str) -> float:
    return samples(metrics)[name, tuple(sorted(labels.items()))]


def test_steps_are_counted_and_timed_in_their_phases() -> None:
    metrics = Metrics()
    metrics.messages_done("m", 3, [0.5, 8.0], [0.25, 0.25], 0.125)
    metrics.answer_sent("m", 0.5)

    assert value(metrics, "tapehead_steps_total", model="m") == 3
    expected = {"queue": (8.5, 2), "infer": (0.5, 2), "commit": (0.25, 2), "send": (0.5, 1)}
    for phase, (seconds, messages) in expected.items():
        assert value(metrics, "tapehead_step_seconds_sum", model="m", phase=phase) == seconds
        assert value(metrics, "tapehead_step_seconds_count", model="m", phase=phase) == messages
    assert value(metrics, "tapehead_step_seconds_bucket", model="m", phase="queue", le="0.5") == 1


def test_a_repeat_is_a_duplicate_and_a_replay_while_a_resume_is_a_replay_alone() -> None:
    metrics = Metrics()
    metrics.replayed("m", 4)
    metrics.answers_replayed("m", 2)

    assert value(metrics, "tapehead_duplicate_steps_total", model="m") == 1
    assert value(metrics, "tapehead_replayed_answers_total", model="m") == 3


def test_everything_told_has_a_series() -> None:
    metrics = Metrics()
    metrics.batch_run("m", "step", 3, 0.1)
    metrics.question_done("m", 0.1, 0.2)
    metrics.fingerprint_changed("m")
    metrics.rejected("STEP_GAP")
    metrics.loop_lagged(0.01)
    metrics.set_build({"version": "1"})
    metrics.set_gauges(lambda: Gauges(attached_sessions=1, live_sessions=3, waiting_steps=7, streams=2))

    assert value(metrics, "tapehead_batch_size_bucket", model="m", entry="step", le="4.0") == 1
    assert value(metrics, "tapehead_batch_size_bucket", model="m", entry="step", le="2.0") == 0
    assert value(metrics, "tapehead_questions_total", model="m") == 1
    assert value(metrics, "tapehead_fingerprint_changes_total", model="m") == 1
    assert value(metrics, "tapehead_rejections_total", reason="STEP_GAP") == 1
    assert value(metrics, "tapehead_event_loop_lag_seconds_count") == 1
    assert value(metrics, "tapehead_build_info", version="1") == 1
    assert value(metrics, "tapehead_sessions", state="attached") == 1
    assert value(metrics, "tapehead_sessions", state="parked") == 2
    assert value(metrics, "tapehead_waiting_steps") == 7
    assert value(metrics, "tapehead_streams") == 2


def test_a_served_model_has_its_series_from_the_start() -> None:
    """A counter that is not there cannot be seen to rise from 0."""
    metrics = Metrics()
    metrics.set_models([{"model": "m", "version": "2"}])

    assert value(metrics, "tapehead_steps_total", model="m") == 0
    assert value(metrics, "tapehead_model_info", model="m", version="2") == 1


def test_calls_are_counted_as_other_grpc_servers_count_them() -> None:
    metrics = Metrics()
    tally = metrics.method("unary", "s", "Get")
    tally.started()
    tally.received += 1
    tally.handled("NotFound", 0.02)
    labels = {"grpc_type": "unary", "grpc_service": "s", "grpc_method": "Get"}

    assert metrics.method("unary", "s", "Get") is tally
    assert value(metrics, "grpc_server_started_total", **labels) == 1
    assert value(metrics, "grpc_server_msg_received_total", **labels) == 1
    assert value(metrics, "grpc_server_msg_sent_total", **labels) == 0
    assert value(metrics, "grpc_server_handled_total", **labels, grpc_code="NotFound") == 1
    assert value(metrics, "grpc_server_handling_seconds_bucket", **labels, le="0.025") == 1


def test_buckets_count_what_is_at_most_their_bound() -> None:
    distribution = Distribution((1.0, 2.0))
    for observed in (0.5, 1.0, 1.5, 9.0):
        distribution.observe(observed)

    assert distribution.buckets() == [("1.0", 2.0), ("2.0", 3.0), ("+Inf", 4.0)]
    assert distribution.total == 12.0


async def test_the_loop_tells_how_late_it_is() -> None:
    observed = asyncio.get_running_loop().create_future()

    def observe(seconds: float) -> None:
        if not observed.done():
            observed.set_result(seconds)

    watching = asyncio.create_task(watch_loop(observe))
    assert await observed >= 0
    watching.cancel()
