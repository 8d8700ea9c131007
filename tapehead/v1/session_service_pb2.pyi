import datetime

from google.protobuf import duration_pb2 as _duration_pb2
from tapehead.v1 import portable_pb2 as _portable_pb2
from tapehead.v1 import session_pb2 as _session_pb2
from tapehead.v1 import tensor_pb2 as _tensor_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class CreateSessionRequest(_message.Message):
    __slots__ = ("session_id", "model_id", "model_version", "request_id", "labels", "durability", "window", "ttl", "keep_every", "keep_most", "constants", "start_inputs")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    MODEL_ID_FIELD_NUMBER: _ClassVar[int]
    MODEL_VERSION_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    DURABILITY_FIELD_NUMBER: _ClassVar[int]
    WINDOW_FIELD_NUMBER: _ClassVar[int]
    TTL_FIELD_NUMBER: _ClassVar[int]
    KEEP_EVERY_FIELD_NUMBER: _ClassVar[int]
    KEEP_MOST_FIELD_NUMBER: _ClassVar[int]
    CONSTANTS_FIELD_NUMBER: _ClassVar[int]
    START_INPUTS_FIELD_NUMBER: _ClassVar[int]
    session_id: str
    model_id: str
    model_version: int
    request_id: str
    labels: _containers.ScalarMap[str, str]
    durability: _session_pb2.Durability
    window: int
    ttl: _duration_pb2.Duration
    keep_every: int
    keep_most: int
    constants: _containers.RepeatedCompositeFieldContainer[_tensor_pb2.Tensor]
    start_inputs: _containers.RepeatedCompositeFieldContainer[_tensor_pb2.Tensor]
    def __init__(self, session_id: _Optional[str] = ..., model_id: _Optional[str] = ..., model_version: _Optional[int] = ..., request_id: _Optional[str] = ..., labels: _Optional[_Mapping[str, str]] = ..., durability: _Optional[_Union[_session_pb2.Durability, str]] = ..., window: _Optional[int] = ..., ttl: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., keep_every: _Optional[int] = ..., keep_most: _Optional[int] = ..., constants: _Optional[_Iterable[_Union[_tensor_pb2.Tensor, _Mapping]]] = ..., start_inputs: _Optional[_Iterable[_Union[_tensor_pb2.Tensor, _Mapping]]] = ...) -> None: ...

class CreateSessionResponse(_message.Message):
    __slots__ = ("session",)
    SESSION_FIELD_NUMBER: _ClassVar[int]
    session: _session_pb2.Session
    def __init__(self, session: _Optional[_Union[_session_pb2.Session, _Mapping]] = ...) -> None: ...

class GetSessionRequest(_message.Message):
    __slots__ = ("session_id", "incarnation", "minimum_step")
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    INCARNATION_FIELD_NUMBER: _ClassVar[int]
    MINIMUM_STEP_FIELD_NUMBER: _ClassVar[int]
    session_id: str
    incarnation: str
    minimum_step: int
    def __init__(self, session_id: _Optional[str] = ..., incarnation: _Optional[str] = ..., minimum_step: _Optional[int] = ...) -> None: ...

class GetSessionResponse(_message.Message):
    __slots__ = ("session",)
    SESSION_FIELD_NUMBER: _ClassVar[int]
    session: _session_pb2.Session
    def __init__(self, session: _Optional[_Union[_session_pb2.Session, _Mapping]] = ...) -> None: ...

class ListSessionsRequest(_message.Message):
    __slots__ = ("page_size", "page_token", "model_id", "labels", "state", "all_owners")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    MODEL_ID_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    ALL_OWNERS_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    model_id: str
    labels: _containers.ScalarMap[str, str]
    state: _session_pb2.Session.State
    all_owners: bool
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., model_id: _Optional[str] = ..., labels: _Optional[_Mapping[str, str]] = ..., state: _Optional[_Union[_session_pb2.Session.State, str]] = ..., all_owners: _Optional[bool] = ...) -> None: ...

class ListSessionsResponse(_message.Message):
    __slots__ = ("sessions", "next_page_token")
    SESSIONS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    sessions: _containers.RepeatedCompositeFieldContainer[_session_pb2.Session]
    next_page_token: str
    def __init__(self, sessions: _Optional[_Iterable[_Union[_session_pb2.Session, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class DeleteSessionRequest(_message.Message):
    __slots__ = ("session_id", "incarnation")
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    INCARNATION_FIELD_NUMBER: _ClassVar[int]
    session_id: str
    incarnation: str
    def __init__(self, session_id: _Optional[str] = ..., incarnation: _Optional[str] = ...) -> None: ...

class DeleteSessionResponse(_message.Message):
    __slots__ = ("committed_step",)
    COMMITTED_STEP_FIELD_NUMBER: _ClassVar[int]
    committed_step: int
    def __init__(self, committed_step: _Optional[int] = ...) -> None: ...

class StepRequest(_message.Message):
    __slots__ = ("session_id", "incarnation", "step", "step_count", "inputs", "outputs", "acknowledged_step", "client_id")
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    INCARNATION_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    STEP_COUNT_FIELD_NUMBER: _ClassVar[int]
    INPUTS_FIELD_NUMBER: _ClassVar[int]
    OUTPUTS_FIELD_NUMBER: _ClassVar[int]
    ACKNOWLEDGED_STEP_FIELD_NUMBER: _ClassVar[int]
    CLIENT_ID_FIELD_NUMBER: _ClassVar[int]
    session_id: str
    incarnation: str
    step: int
    step_count: int
    inputs: _containers.RepeatedCompositeFieldContainer[_tensor_pb2.Tensor]
    outputs: _containers.RepeatedScalarFieldContainer[str]
    acknowledged_step: int
    client_id: str
    def __init__(self, session_id: _Optional[str] = ..., incarnation: _Optional[str] = ..., step: _Optional[int] = ..., step_count: _Optional[int] = ..., inputs: _Optional[_Iterable[_Union[_tensor_pb2.Tensor, _Mapping]]] = ..., outputs: _Optional[_Iterable[str]] = ..., acknowledged_step: _Optional[int] = ..., client_id: _Optional[str] = ...) -> None: ...

class StepResponse(_message.Message):
    __slots__ = ("result", "incarnation")
    RESULT_FIELD_NUMBER: _ClassVar[int]
    INCARNATION_FIELD_NUMBER: _ClassVar[int]
    result: StepResult
    incarnation: str
    def __init__(self, result: _Optional[_Union[StepResult, _Mapping]] = ..., incarnation: _Optional[str] = ...) -> None: ...

class StepResult(_message.Message):
    __slots__ = ("step", "step_count", "outputs", "input_hash", "committed_step", "replayed")
    STEP_FIELD_NUMBER: _ClassVar[int]
    STEP_COUNT_FIELD_NUMBER: _ClassVar[int]
    OUTPUTS_FIELD_NUMBER: _ClassVar[int]
    INPUT_HASH_FIELD_NUMBER: _ClassVar[int]
    COMMITTED_STEP_FIELD_NUMBER: _ClassVar[int]
    REPLAYED_FIELD_NUMBER: _ClassVar[int]
    step: int
    step_count: int
    outputs: _containers.RepeatedCompositeFieldContainer[_tensor_pb2.Tensor]
    input_hash: bytes
    committed_step: int
    replayed: bool
    def __init__(self, step: _Optional[int] = ..., step_count: _Optional[int] = ..., outputs: _Optional[_Iterable[_Union[_tensor_pb2.Tensor, _Mapping]]] = ..., input_hash: _Optional[bytes] = ..., committed_step: _Optional[int] = ..., replayed: _Optional[bool] = ...) -> None: ...

class StreamStepsRequest(_message.Message):
    __slots__ = ("open", "step")
    OPEN_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    open: StreamOpen
    step: StreamStep
    def __init__(self, open: _Optional[_Union[StreamOpen, _Mapping]] = ..., step: _Optional[_Union[StreamStep, _Mapping]] = ...) -> None: ...

class StreamOpen(_message.Message):
    __slots__ = ("session_id", "incarnation", "last_received_step", "client_id", "previous_client_id", "create", "outputs", "strict_fingerprint")
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    INCARNATION_FIELD_NUMBER: _ClassVar[int]
    LAST_RECEIVED_STEP_FIELD_NUMBER: _ClassVar[int]
    CLIENT_ID_FIELD_NUMBER: _ClassVar[int]
    PREVIOUS_CLIENT_ID_FIELD_NUMBER: _ClassVar[int]
    CREATE_FIELD_NUMBER: _ClassVar[int]
    OUTPUTS_FIELD_NUMBER: _ClassVar[int]
    STRICT_FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    session_id: str
    incarnation: str
    last_received_step: int
    client_id: str
    previous_client_id: str
    create: CreateSessionRequest
    outputs: _containers.RepeatedScalarFieldContainer[str]
    strict_fingerprint: bool
    def __init__(self, session_id: _Optional[str] = ..., incarnation: _Optional[str] = ..., last_received_step: _Optional[int] = ..., client_id: _Optional[str] = ..., previous_client_id: _Optional[str] = ..., create: _Optional[_Union[CreateSessionRequest, _Mapping]] = ..., outputs: _Optional[_Iterable[str]] = ..., strict_fingerprint: _Optional[bool] = ...) -> None: ...

class StreamStep(_message.Message):
    __slots__ = ("step", "step_count", "inputs", "outputs", "acknowledged_step")
    STEP_FIELD_NUMBER: _ClassVar[int]
    STEP_COUNT_FIELD_NUMBER: _ClassVar[int]
    INPUTS_FIELD_NUMBER: _ClassVar[int]
    OUTPUTS_FIELD_NUMBER: _ClassVar[int]
    ACKNOWLEDGED_STEP_FIELD_NUMBER: _ClassVar[int]
    step: int
    step_count: int
    inputs: _containers.RepeatedCompositeFieldContainer[_tensor_pb2.Tensor]
    outputs: _containers.RepeatedScalarFieldContainer[str]
    acknowledged_step: int
    def __init__(self, step: _Optional[int] = ..., step_count: _Optional[int] = ..., inputs: _Optional[_Iterable[_Union[_tensor_pb2.Tensor, _Mapping]]] = ..., outputs: _Optional[_Iterable[str]] = ..., acknowledged_step: _Optional[int] = ...) -> None: ...

class StreamStepsResponse(_message.Message):
    __slots__ = ("opened", "result", "error", "heartbeat", "draining")
    OPENED_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_FIELD_NUMBER: _ClassVar[int]
    DRAINING_FIELD_NUMBER: _ClassVar[int]
    opened: StreamOpened
    result: StepResult
    error: StepError
    heartbeat: StreamHeartbeat
    draining: StreamDraining
    def __init__(self, opened: _Optional[_Union[StreamOpened, _Mapping]] = ..., result: _Optional[_Union[StepResult, _Mapping]] = ..., error: _Optional[_Union[StepError, _Mapping]] = ..., heartbeat: _Optional[_Union[StreamHeartbeat, _Mapping]] = ..., draining: _Optional[_Union[StreamDraining, _Mapping]] = ...) -> None: ...

class StreamOpened(_message.Message):
    __slots__ = ("session", "epoch", "committed_step", "window", "durability", "fingerprint", "fingerprint_changed")
    SESSION_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    COMMITTED_STEP_FIELD_NUMBER: _ClassVar[int]
    WINDOW_FIELD_NUMBER: _ClassVar[int]
    DURABILITY_FIELD_NUMBER: _ClassVar[int]
    FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    FINGERPRINT_CHANGED_FIELD_NUMBER: _ClassVar[int]
    session: _session_pb2.Session
    epoch: int
    committed_step: int
    window: int
    durability: _session_pb2.Durability
    fingerprint: str
    fingerprint_changed: bool
    def __init__(self, session: _Optional[_Union[_session_pb2.Session, _Mapping]] = ..., epoch: _Optional[int] = ..., committed_step: _Optional[int] = ..., window: _Optional[int] = ..., durability: _Optional[_Union[_session_pb2.Durability, str]] = ..., fingerprint: _Optional[str] = ..., fingerprint_changed: _Optional[bool] = ...) -> None: ...

class StepError(_message.Message):
    __slots__ = ("step", "code", "reason", "message", "metadata", "committed_step")
    class MetadataEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    STEP_FIELD_NUMBER: _ClassVar[int]
    CODE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    METADATA_FIELD_NUMBER: _ClassVar[int]
    COMMITTED_STEP_FIELD_NUMBER: _ClassVar[int]
    step: int
    code: int
    reason: str
    message: str
    metadata: _containers.ScalarMap[str, str]
    committed_step: int
    def __init__(self, step: _Optional[int] = ..., code: _Optional[int] = ..., reason: _Optional[str] = ..., message: _Optional[str] = ..., metadata: _Optional[_Mapping[str, str]] = ..., committed_step: _Optional[int] = ...) -> None: ...

class StreamHeartbeat(_message.Message):
    __slots__ = ("committed_step",)
    COMMITTED_STEP_FIELD_NUMBER: _ClassVar[int]
    committed_step: int
    def __init__(self, committed_step: _Optional[int] = ...) -> None: ...

class StreamDraining(_message.Message):
    __slots__ = ("committed_step",)
    COMMITTED_STEP_FIELD_NUMBER: _ClassVar[int]
    committed_step: int
    def __init__(self, committed_step: _Optional[int] = ...) -> None: ...

class ReadStateRequest(_message.Message):
    __slots__ = ("session_id", "incarnation", "step", "tensors", "minimum_step")
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    INCARNATION_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    TENSORS_FIELD_NUMBER: _ClassVar[int]
    MINIMUM_STEP_FIELD_NUMBER: _ClassVar[int]
    session_id: str
    incarnation: str
    step: int
    tensors: _containers.RepeatedScalarFieldContainer[str]
    minimum_step: int
    def __init__(self, session_id: _Optional[str] = ..., incarnation: _Optional[str] = ..., step: _Optional[int] = ..., tensors: _Optional[_Iterable[str]] = ..., minimum_step: _Optional[int] = ...) -> None: ...

class ReadStateResponse(_message.Message):
    __slots__ = ("step", "tensors")
    STEP_FIELD_NUMBER: _ClassVar[int]
    TENSORS_FIELD_NUMBER: _ClassVar[int]
    step: int
    tensors: _containers.RepeatedCompositeFieldContainer[_tensor_pb2.Tensor]
    def __init__(self, step: _Optional[int] = ..., tensors: _Optional[_Iterable[_Union[_tensor_pb2.Tensor, _Mapping]]] = ...) -> None: ...

class ForkSessionRequest(_message.Message):
    __slots__ = ("session_id", "incarnation", "step", "new_session_id", "request_id", "labels", "window", "ttl", "model_version")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    INCARNATION_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    NEW_SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    WINDOW_FIELD_NUMBER: _ClassVar[int]
    TTL_FIELD_NUMBER: _ClassVar[int]
    MODEL_VERSION_FIELD_NUMBER: _ClassVar[int]
    session_id: str
    incarnation: str
    step: int
    new_session_id: str
    request_id: str
    labels: _containers.ScalarMap[str, str]
    window: int
    ttl: _duration_pb2.Duration
    model_version: int
    def __init__(self, session_id: _Optional[str] = ..., incarnation: _Optional[str] = ..., step: _Optional[int] = ..., new_session_id: _Optional[str] = ..., request_id: _Optional[str] = ..., labels: _Optional[_Mapping[str, str]] = ..., window: _Optional[int] = ..., ttl: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., model_version: _Optional[int] = ...) -> None: ...

class ForkSessionResponse(_message.Message):
    __slots__ = ("session",)
    SESSION_FIELD_NUMBER: _ClassVar[int]
    session: _session_pb2.Session
    def __init__(self, session: _Optional[_Union[_session_pb2.Session, _Mapping]] = ...) -> None: ...

class RewindSessionRequest(_message.Message):
    __slots__ = ("session_id", "incarnation", "step", "to_step", "client_id")
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    INCARNATION_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    TO_STEP_FIELD_NUMBER: _ClassVar[int]
    CLIENT_ID_FIELD_NUMBER: _ClassVar[int]
    session_id: str
    incarnation: str
    step: int
    to_step: int
    client_id: str
    def __init__(self, session_id: _Optional[str] = ..., incarnation: _Optional[str] = ..., step: _Optional[int] = ..., to_step: _Optional[int] = ..., client_id: _Optional[str] = ...) -> None: ...

class RewindSessionResponse(_message.Message):
    __slots__ = ("result", "incarnation")
    RESULT_FIELD_NUMBER: _ClassVar[int]
    INCARNATION_FIELD_NUMBER: _ClassVar[int]
    result: StepResult
    incarnation: str
    def __init__(self, result: _Optional[_Union[StepResult, _Mapping]] = ..., incarnation: _Optional[str] = ...) -> None: ...
