"""What a session object asks for when it opens its stream, the first time and every time after a loss."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from tapehead.errors import TensorMismatch
from tapehead.results import durability_number
from tapehead.resume import StepLog
from tapehead.resume_file import ResumeFile
from tapehead.resume_token import ResumeToken
from tapehead.signature import Signature
from tapehead.tensors import cast, to_message
from tapehead.v1.session_service_pb2 import CreateSessionRequest, StreamOpen


def create_request(
    model_id: str,
    session_id: str | None = None,
    *,
    model_version: int = 0,
    labels: Mapping[str, str] | None = None,
    durability: str | None = None,
    window: int = 0,
    ttl: float | None = None,
    keep_every: int = 0,
    keep_most: int = 0,
) -> CreateSessionRequest:
    """A creation that may be sent again: its request id is drawn here, once. `ttl` is in seconds."""
    request = CreateSessionRequest(
        session_id=session_id or "",
        model_id=model_id,
        model_version=model_version,
        request_id=str(uuid.uuid4()),
        labels=labels,
        durability=durability_number(durability),
        window=window,
        keep_every=keep_every,
        keep_most=keep_most,
    )
    if ttl is not None:
        request.ttl.FromTimedelta(timedelta(seconds=ttl))
    return request


@dataclass(frozen=True, slots=True)
class Opening:
    """Either a session to create or find, or a token to go on from."""

    session_id: str = ""
    create: CreateSessionRequest | None = None
    resume: ResumeToken | None = None
    outputs: Sequence[str] = ()
    durable_token: bool = False
    file: ResumeFile | None = None  # keeps token and inputs for a later object
    strict_fingerprint: bool = False
    start: Mapping[str, object] = field(default_factory=dict)  # inputs of the model's entry `start`
    constants: Mapping[str, object] = field(default_factory=dict)
    client_id: str = field(default_factory=lambda: uuid.uuid4().hex)

    def __post_init__(self) -> None:
        if not self.session_id and self.create is None and self.resume is None:
            raise ValueError("session: expected a model, a session_id or a token to resume from")

    def complete(self, signature: Signature) -> None:
        """Puts what the session is given once into the creation, in the types of the model."""
        if self.create is None or self.create.constants or self.create.start_inputs:
            return
        for values, dtypes, into, role in (
            (self.constants, signature.constants, self.create.constants, "constants"),
            (self.start, signature.start, self.create.start_inputs, "start inputs"),
        ):
            if unknown := sorted(values.keys() - dtypes.keys()):
                expected = ", ".join(dtypes) or "none"
                raise TensorMismatch(
                    f"model '{signature.model_id}' takes the {role} {expected}; got {', '.join(unknown)}"
                )
            into.extend(to_message(name, cast(name, value, dtypes[name])) for name, value in values.items())

    def message(self, log: StepLog) -> StreamOpen:
        """The first message of the next stream. Once an incarnation is known, nothing is ever created."""
        return StreamOpen(
            session_id=log.session_id or self.session_id,
            incarnation=log.incarnation,
            last_received_step=log.last_received_step,
            client_id=self.client_id,
            previous_client_id=self.resume.client_id if self.resume else "",
            create=None if log.incarnation else self.create,
            outputs=self.outputs,
            strict_fingerprint=self.strict_fingerprint,
        )
