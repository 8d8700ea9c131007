"""Logs: one line an event, for people or as JSON, on stderr, without secrets and without what users say."""

from __future__ import annotations

import logging
import sys
from typing import Literal

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

Level = Literal["debug", "info", "warning", "error"]
Format = Literal["console", "json"]

GRPC = "grpc._cython.cygrpc"  # what grpc calls its logger

# Nobody logs these on purpose. What a careless line would hold never reaches the output.
PRIVATE = frozenset({"authorization", "token", "password", "story", "sentence", "sentences", "question", "text"})


def set_up_logs(level: Level, kind: Format) -> None:
    """Sends everything that is logged, by us and by the libraries, through one formatter."""
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        hide_private,
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.PositionalArgumentsFormatter(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processors=_render(kind)))
    logging.getLogger(GRPC).addFilter(tell_ended_call)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())


def hide_private(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Replaces what must not be logged."""
    return {name: "[hidden]" if name in PRIVATE else value for name, value in event.items()}


def tell_ended_call(record: logging.LogRecord) -> bool:
    """Makes one line of the traceback that grpc logs where a call that it ended by itself has no use for our status."""
    kind = record.exc_info[0] if record.exc_info else None
    if kind is not None and kind.__name__ == "ExecuteBatchError":
        call = record.getMessage().partition("[")[2].partition("]")[0]
        record.msg, record.args = f"grpc ended the call {call} by itself, as at a message above its own limit", ()
        record.exc_info, record.levelno, record.levelname = None, logging.WARNING, "WARNING"
    return True


def _render(kind: Format) -> list[Processor]:
    # Tracebacks come without the values of variables: those may be anybody's story.
    remove: Processor = structlog.stdlib.ProcessorFormatter.remove_processors_meta
    if kind == "json":
        return [remove, structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    plain = structlog.dev.plain_traceback
    return [remove, structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=plain)]
