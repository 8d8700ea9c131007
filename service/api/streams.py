"""StreamSteps: how a stream begins, and how many there may be."""

from __future__ import annotations

import asyncio
from collections import Counter

from tapehead.v1 import session_service_pb2 as pb

from ..errors import Draining, MalformedMessage, OverCapacity, QuotaExceeded, TokenInvalid
from ..sessions.attachment import Attachment
from ..sessions.lifecycle import Lifecycle, OpenSpec
from ..sessions.owners import Owners
from ..store.base import Durability
from .call import EOF, Call
from .interceptors.draining import Drain
from .registration import Unreadable
from .steps import StepCodec
from .stream import StepStream, StreamObserver
from .views import create_spec, durability_view, incarnation_of, session_view

RETRY_AFTER = 1.0  # seconds; streams are long
OPEN_SECONDS = 30.0  # for the first message: whoever sends none holds a place that others want
_NO_LONGER_KNOWN = "one that is no longer known"


class Streams:
    """Opens streams and serves them."""

    def __init__(
        self,
        lifecycle: Lifecycle,
        drain: Drain,
        observer: StreamObserver,
        owners: Owners,
        *,
        max_streams: int,
        heartbeat: float,
    ) -> None:
        """`heartbeat` is in seconds."""
        self._lifecycle = lifecycle
        self._drain = drain
        self._observer = observer
        self._max_streams = max_streams
        self._heartbeat = heartbeat
        self._owners = owners
        self._count_of: Counter[str] = Counter()  # streams by owner
        self._open: dict[Call, Attachment] = {}
        self.count = 0

    async def serve(self, call: Call) -> None:
        """Serves one call from its first message to its end."""
        if self.count >= self._max_streams:
            raise OverCapacity("streams", self._max_streams, retry_after=RETRY_AFTER)
        quota = self._owners.quota_of(call.owner).streams
        if 0 < quota <= self._count_of[call.owner]:
            raise QuotaExceeded("streams", quota, retry_after=RETRY_AFTER)
        self.count += 1
        self._count_of[call.owner] += 1
        try:
            await self._serve(call)
        finally:
            self.count -= 1
            self._count_of[call.owner] -= 1
            if not self._count_of[call.owner]:
                del self._count_of[call.owner]

    def end_unknown(self) -> None:
        """Ends the streams of those who would not be recognised any more."""
        for call, attachment in list(self._open.items()):
            if not self._owners.is_current(call.caller):
                attachment.end(TokenInvalid(_NO_LONGER_KNOWN))

    def _require_current(self, call: Call) -> None:
        """Raises TokenInvalid if the caller, who was recognised a while ago, would not be any more."""
        if not self._owners.is_current(call.caller):
            raise TokenInvalid(_NO_LONGER_KNOWN)

    async def _serve(self, call: Call) -> None:
        message = await self._first_message(call)
        self._require_current(call)
        attachment = await self._lifecycle.open(call.owner, _open_spec(message))
        self._open[call] = attachment
        try:
            self._require_current(call)  # from here on `end_unknown` sees the stream
            codec = StepCodec(attachment.model, message.outputs)
            if attachment.fingerprint_changed:
                self._observer.fingerprint_changed(attachment.model.model_id)
            if attachment.replays:
                self._observer.answers_replayed(attachment.model.model_id, len(attachment.replays))
            stream = StepStream(call, attachment, codec, self._drain, self._observer, self._heartbeat)
            await stream.run([opened(attachment, self._lifecycle.store_durability), *attachment.replays])
        finally:
            del self._open[call]
            attachment.detach()

    async def _first_message(self, call: Call) -> pb.StreamOpen:
        reading = asyncio.ensure_future(call.read())
        with self._drain.watched() as draining:
            try:
                await asyncio.wait({reading, draining}, timeout=OPEN_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            finally:
                if not reading.done():
                    reading.cancel()
        if reading.cancelled() or not reading.done():
            if self._drain.has_begun:
                raise Draining
            raise MalformedMessage(f"expected `open` within {OPEN_SECONDS:.0f} s, got nothing")
        message = reading.result()
        if type(message) is Unreadable:
            raise message.error
        kind = None if message is EOF else message.WhichOneof("message")
        if kind != "open":
            raise MalformedMessage(f"expected `open` as the first message, got {'`step`' if kind else 'none'}")
        opening: pb.StreamOpen = message.open
        return opening


def _open_spec(message: pb.StreamOpen) -> OpenSpec:
    return OpenSpec(
        session_id=message.session_id,
        incarnation=incarnation_of(message.incarnation),
        last_received_step=message.last_received_step if message.HasField("last_received_step") else None,
        client_id=message.client_id,
        previous_client_id=message.previous_client_id,
        create=create_spec(message.create) if message.HasField("create") else None,
        strict_fingerprint=message.strict_fingerprint,
        suits=lambda model: StepCodec(model, message.outputs),
    )


def opened(attachment: Attachment, durability: Durability) -> pb.StreamStepsResponse:
    """Returns the first reply of a stream."""
    head, model = attachment.head, attachment.model
    return pb.StreamStepsResponse(
        opened=pb.StreamOpened(
            session=session_view(attachment.session_id, head, is_attached=True, durability=durability),
            epoch=head.epoch,
            committed_step=head.committed_step,
            window=head.birth.window,
            durability=durability_view(durability),
            fingerprint=model.fingerprint,
            fingerprint_changed=attachment.fingerprint_changed,
        )
    )
