import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from tapehead.v1 import session_pb2 as _session_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class GetServerRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetServerResponse(_message.Message):
    __slots__ = ("version", "store", "durability", "settings", "start_time", "components")
    class SettingsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    class ComponentsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    VERSION_FIELD_NUMBER: _ClassVar[int]
    STORE_FIELD_NUMBER: _ClassVar[int]
    DURABILITY_FIELD_NUMBER: _ClassVar[int]
    SETTINGS_FIELD_NUMBER: _ClassVar[int]
    START_TIME_FIELD_NUMBER: _ClassVar[int]
    COMPONENTS_FIELD_NUMBER: _ClassVar[int]
    version: str
    store: str
    durability: _session_pb2.Durability
    settings: _containers.ScalarMap[str, str]
    start_time: _timestamp_pb2.Timestamp
    components: _containers.ScalarMap[str, str]
    def __init__(self, version: _Optional[str] = ..., store: _Optional[str] = ..., durability: _Optional[_Union[_session_pb2.Durability, str]] = ..., settings: _Optional[_Mapping[str, str]] = ..., start_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., components: _Optional[_Mapping[str, str]] = ...) -> None: ...

class GetStatisticsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetStatisticsResponse(_message.Message):
    __slots__ = ("committed_step_count", "question_count", "batch_count", "replayed_answer_count", "attached_session_count", "live_session_count", "waiting_step_count")
    COMMITTED_STEP_COUNT_FIELD_NUMBER: _ClassVar[int]
    QUESTION_COUNT_FIELD_NUMBER: _ClassVar[int]
    BATCH_COUNT_FIELD_NUMBER: _ClassVar[int]
    REPLAYED_ANSWER_COUNT_FIELD_NUMBER: _ClassVar[int]
    ATTACHED_SESSION_COUNT_FIELD_NUMBER: _ClassVar[int]
    LIVE_SESSION_COUNT_FIELD_NUMBER: _ClassVar[int]
    WAITING_STEP_COUNT_FIELD_NUMBER: _ClassVar[int]
    committed_step_count: int
    question_count: int
    batch_count: int
    replayed_answer_count: int
    attached_session_count: int
    live_session_count: int
    waiting_step_count: int
    def __init__(self, committed_step_count: _Optional[int] = ..., question_count: _Optional[int] = ..., batch_count: _Optional[int] = ..., replayed_answer_count: _Optional[int] = ..., attached_session_count: _Optional[int] = ..., live_session_count: _Optional[int] = ..., waiting_step_count: _Optional[int] = ...) -> None: ...
