import datetime

from google.protobuf import duration_pb2 as _duration_pb2
from tapehead.v1 import session_pb2 as _session_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ExportSessionRequest(_message.Message):
    __slots__ = ("session_id", "incarnation", "minimum_step")
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    INCARNATION_FIELD_NUMBER: _ClassVar[int]
    MINIMUM_STEP_FIELD_NUMBER: _ClassVar[int]
    session_id: str
    incarnation: str
    minimum_step: int
    def __init__(self, session_id: _Optional[str] = ..., incarnation: _Optional[str] = ..., minimum_step: _Optional[int] = ...) -> None: ...

class ExportSessionResponse(_message.Message):
    __slots__ = ("data", "total_bytes", "committed_step")
    DATA_FIELD_NUMBER: _ClassVar[int]
    TOTAL_BYTES_FIELD_NUMBER: _ClassVar[int]
    COMMITTED_STEP_FIELD_NUMBER: _ClassVar[int]
    data: bytes
    total_bytes: int
    committed_step: int
    def __init__(self, data: _Optional[bytes] = ..., total_bytes: _Optional[int] = ..., committed_step: _Optional[int] = ...) -> None: ...

class ImportSessionRequest(_message.Message):
    __slots__ = ("open", "data")
    OPEN_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    open: ImportOpen
    data: bytes
    def __init__(self, open: _Optional[_Union[ImportOpen, _Mapping]] = ..., data: _Optional[bytes] = ...) -> None: ...

class ImportOpen(_message.Message):
    __slots__ = ("session_id", "request_id", "labels", "ttl", "durability", "strict_fingerprint")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    TTL_FIELD_NUMBER: _ClassVar[int]
    DURABILITY_FIELD_NUMBER: _ClassVar[int]
    STRICT_FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    session_id: str
    request_id: str
    labels: _containers.ScalarMap[str, str]
    ttl: _duration_pb2.Duration
    durability: _session_pb2.Durability
    strict_fingerprint: bool
    def __init__(self, session_id: _Optional[str] = ..., request_id: _Optional[str] = ..., labels: _Optional[_Mapping[str, str]] = ..., ttl: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., durability: _Optional[_Union[_session_pb2.Durability, str]] = ..., strict_fingerprint: _Optional[bool] = ...) -> None: ...

class ImportSessionResponse(_message.Message):
    __slots__ = ("session",)
    SESSION_FIELD_NUMBER: _ClassVar[int]
    session: _session_pb2.Session
    def __init__(self, session: _Optional[_Union[_session_pb2.Session, _Mapping]] = ...) -> None: ...
