"""Every metric by its name: what the parts tell goes in, what Prometheus reads comes out.

Labels are models, entries, phases, reasons and RPCs: never a session, a client or a word.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, GCCollector, ProcessCollector
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from .tallies import ROWS, SECONDS, Distribution, MethodTally, ModelTally

_RPC = ["grpc_type", "grpc_service", "grpc_method"]  # as other gRPC servers name them, so that dashboards fit


@dataclass(frozen=True, slots=True)
class Gauges:
    """The state of the moment."""

    attached_sessions: int
    live_sessions: int  # in memory, the attached ones among them
    waiting_steps: int
    streams: int


class Metrics(Collector):
    """Takes what the edge and the engine tell; a scrape collects it."""

    def __init__(self) -> None:
        self._methods: dict[tuple[str, str, str], MethodTally] = {}
        self._models: defaultdict[str, ModelTally] = defaultdict(ModelTally)
        self._rejections: defaultdict[str, int] = defaultdict(int)
        self._loop_lag = Distribution(SECONDS)
        self._gauges: Callable[[], Gauges] | None = None
        self._build: Mapping[str, str] = {}
        self._model_info: list[Mapping[str, str]] = []
        self.registry = CollectorRegistry()
        self.registry.register(self)
        ProcessCollector(registry=self.registry)
        GCCollector(registry=self.registry)

    # --- what is told -------------------------------------------------------------------------------------------------

    def method(self, kind: str, service: str, name: str) -> MethodTally:
        """Returns where the counts of an RPC go."""
        return self._methods.setdefault((kind, service, name), MethodTally(kind, service, name))

    def answer_sent(self, model_id: str, seconds: float) -> None:
        self._models[model_id].step_phases["send"].observe(seconds)

    def answers_replayed(self, model_id: str, count: int) -> None:
        """A stream was opened with so many stored answers."""
        self._models[model_id].replayed_answers += count

    def rejected(self, reason: str) -> None:
        self._rejections[reason] += 1

    def batch_run(self, model_id: str, entry: str, size: int, seconds: float) -> None:
        batches = self._models[model_id].batches
        if entry not in batches:
            batches[entry] = Distribution(ROWS)
        batches[entry].observe(size)

    def messages_done(
        self, model_id: str, steps: int, queue: Sequence[float], infer: Sequence[float], commit: float
    ) -> None:
        tally = self._models[model_id]
        tally.steps += steps
        phases = tally.step_phases
        phases["queue"].observe_all(queue)
        phases["infer"].observe_all(infer)
        phases["commit"].observe(commit, len(queue))

    def question_done(self, model_id: str, queue: float, infer: float) -> None:
        tally = self._models[model_id]
        tally.questions += 1
        tally.question_phases["queue"].observe(queue)
        tally.question_phases["infer"].observe(infer)

    def replayed(self, model_id: str, steps: int) -> None:
        """A message that was sent before came again, and got its stored answer."""
        tally = self._models[model_id]
        tally.duplicates += 1
        tally.replayed_answers += 1

    def fingerprint_changed(self, model_id: str) -> None:
        self._models[model_id].fingerprint_changes += 1

    def sequence_replaced(self, model_id: str) -> None:
        """A START came on a sequence that ran."""
        self._models[model_id].replaced_sequences += 1

    def tally_of(self, model_id: str) -> ModelTally:
        """What was counted of a model."""
        return self._models[model_id]

    def loop_lagged(self, seconds: float) -> None:
        self._loop_lag.observe(seconds)

    def describe(self) -> Iterable[Metric]:
        return ()  # what is collected changes with the models

    def set_build(self, components: Mapping[str, str]) -> None:
        self._build = components

    def set_models(self, models: Iterable[Mapping[str, str]]) -> None:
        """Each with `model`, its version, and what else is told of it; its series are there from the start."""
        self._model_info = list(models)
        for model in self._model_info:
            self._models[model["model"]]

    def set_gauges(self, gauges: Callable[[], Gauges]) -> None:
        """`gauges` is called by scrapes, in their thread."""
        self._gauges = gauges

    # --- what is read -------------------------------------------------------------------------------------------------

    def collect(self) -> Iterator[Metric]:
        yield from self._collect_calls()
        yield from self._collect_models()
        yield from self._collect_server()

    def _collect_calls(self) -> Iterator[Metric]:
        started = CounterMetricFamily("grpc_server_started", "Calls begun.", labels=_RPC)
        handled = CounterMetricFamily(
            "grpc_server_handled", "Calls ended, by status code.", labels=[*_RPC, "grpc_code"]
        )
        received = CounterMetricFamily("grpc_server_msg_received", "Messages received.", labels=_RPC)
        sent = CounterMetricFamily("grpc_server_msg_sent", "Messages sent.", labels=_RPC)
        seconds = HistogramMetricFamily(
            "grpc_server_handling_seconds", "Time from begin to end of a call.", labels=_RPC
        )
        for tally in list(self._methods.values()):
            started.add_metric(tally.labels, tally.started_count)
            received.add_metric(tally.labels, tally.received)
            sent.add_metric(tally.labels, tally.sent)
            for code, count in list(tally.handled_by_code.items()):
                handled.add_metric([*tally.labels, code], count)
            _add(seconds, tally.labels, tally.handling)
        yield from (started, handled, received, sent, seconds)

    def _collect_models(self) -> Iterator[Metric]:
        steps = CounterMetricFamily("tapehead_steps", "Steps committed.", labels=["model"])
        questions = CounterMetricFamily("tapehead_questions", "Questions answered.", labels=["model"])
        replayed = CounterMetricFamily("tapehead_replayed_answers", "Stored answers sent again.", labels=["model"])
        duplicates = CounterMetricFamily(
            "tapehead_duplicate_steps", "Messages that were sent before and came again.", labels=["model"]
        )
        changes = CounterMetricFamily(
            "tapehead_fingerprint_changes",
            "Sessions opened under another fingerprint than their last.",
            labels=["model"],
        )
        restarts = CounterMetricFamily(
            "tapehead_replaced_sequences",
            "Running sequences of the Open Inference Protocol that were begun anew.",
            labels=["model"],
        )
        step_seconds = HistogramMetricFamily(
            "tapehead_step_seconds", "Time of a step, or of a chunk, in each phase.", labels=["model", "phase"]
        )
        question_seconds = HistogramMetricFamily(
            "tapehead_question_seconds", "Time of a question in each phase.", labels=["model", "phase"]
        )
        batches = HistogramMetricFamily("tapehead_batch_size", "Rows of a run.", labels=["model", "entry"])
        for model, tally in list(self._models.items()):
            steps.add_metric([model], tally.steps)
            questions.add_metric([model], tally.questions)
            replayed.add_metric([model], tally.replayed_answers)
            duplicates.add_metric([model], tally.duplicates)
            changes.add_metric([model], tally.fingerprint_changes)
            restarts.add_metric([model], tally.replaced_sequences)
            for phase, distribution in tally.step_phases.items():
                _add(step_seconds, [model, phase], distribution)
            for phase, distribution in tally.question_phases.items():
                _add(question_seconds, [model, phase], distribution)
            for entry, distribution in list(tally.batches.items()):
                _add(batches, [model, entry], distribution)
        yield from (steps, questions, replayed, duplicates, changes, restarts)
        yield from (step_seconds, question_seconds, batches)

    def _collect_server(self) -> Iterator[Metric]:
        rejections = CounterMetricFamily("tapehead_rejections", "Calls and steps that failed.", labels=["reason"])
        for reason, count in list(self._rejections.items()):
            rejections.add_metric([reason], count)
        lag = HistogramMetricFamily("tapehead_event_loop_lag_seconds", "How late the event loop wakes a sleeper.")
        _add(lag, [], self._loop_lag)
        yield from (rejections, lag)
        yield InfoMetricFamily("tapehead_build", "Versions of the parts.", value=dict(self._build))
        models = GaugeMetricFamily("tapehead_model_info", "Models served.", labels=_info_labels(self._model_info))
        for model in self._model_info:
            models.add_metric(list(model.values()), 1)
        yield models
        if self._gauges is not None:
            yield from _collect_gauges(self._gauges())


def _collect_gauges(gauges: Gauges) -> Iterator[Metric]:
    sessions = GaugeMetricFamily(
        "tapehead_sessions",
        "Sessions in memory: attached to a stream, or parked between calls. The others lie in the store.",
        labels=["state"],
    )
    sessions.add_metric(["attached"], gauges.attached_sessions)
    sessions.add_metric(["parked"], gauges.live_sessions - gauges.attached_sessions)
    yield sessions
    yield GaugeMetricFamily("tapehead_waiting_steps", "Steps and questions that wait to be run.", gauges.waiting_steps)
    yield GaugeMetricFamily("tapehead_streams", "Streams being served.", gauges.streams)


def _info_labels(infos: list[Mapping[str, str]]) -> list[str]:
    return list(infos[0]) if infos else ["model"]


def _add(family: HistogramMetricFamily, labels: list[str], distribution: Distribution) -> None:
    family.add_metric(labels, buckets=distribution.buckets(), sum_value=distribution.total)
