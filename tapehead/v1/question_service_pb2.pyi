from tapehead.v1 import manifest_pb2 as _manifest_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class AskRequest(_message.Message):
    __slots__ = ("story", "session_id", "model_id", "model_version", "question", "answer_count", "incarnation", "minimum_step")
    STORY_FIELD_NUMBER: _ClassVar[int]
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    MODEL_ID_FIELD_NUMBER: _ClassVar[int]
    MODEL_VERSION_FIELD_NUMBER: _ClassVar[int]
    QUESTION_FIELD_NUMBER: _ClassVar[int]
    ANSWER_COUNT_FIELD_NUMBER: _ClassVar[int]
    INCARNATION_FIELD_NUMBER: _ClassVar[int]
    MINIMUM_STEP_FIELD_NUMBER: _ClassVar[int]
    story: Story
    session_id: str
    model_id: str
    model_version: int
    question: str
    answer_count: int
    incarnation: str
    minimum_step: int
    def __init__(self, story: _Optional[_Union[Story, _Mapping]] = ..., session_id: _Optional[str] = ..., model_id: _Optional[str] = ..., model_version: _Optional[int] = ..., question: _Optional[str] = ..., answer_count: _Optional[int] = ..., incarnation: _Optional[str] = ..., minimum_step: _Optional[int] = ...) -> None: ...

class Story(_message.Message):
    __slots__ = ("sentences",)
    SENTENCES_FIELD_NUMBER: _ClassVar[int]
    sentences: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, sentences: _Optional[_Iterable[str]] = ...) -> None: ...

class AskResponse(_message.Message):
    __slots__ = ("answers", "unknown_words", "hops", "model_id", "model_version", "step", "forgotten_sentence_count", "attention_columns")
    ANSWERS_FIELD_NUMBER: _ClassVar[int]
    UNKNOWN_WORDS_FIELD_NUMBER: _ClassVar[int]
    HOPS_FIELD_NUMBER: _ClassVar[int]
    MODEL_ID_FIELD_NUMBER: _ClassVar[int]
    MODEL_VERSION_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    FORGOTTEN_SENTENCE_COUNT_FIELD_NUMBER: _ClassVar[int]
    ATTENTION_COLUMNS_FIELD_NUMBER: _ClassVar[int]
    answers: _containers.RepeatedCompositeFieldContainer[RankedAnswer]
    unknown_words: _containers.RepeatedScalarFieldContainer[str]
    hops: _containers.RepeatedCompositeFieldContainer[HopAttention]
    model_id: str
    model_version: int
    step: int
    forgotten_sentence_count: int
    attention_columns: _manifest_pb2.QuestionAnswering.AttentionColumns
    def __init__(self, answers: _Optional[_Iterable[_Union[RankedAnswer, _Mapping]]] = ..., unknown_words: _Optional[_Iterable[str]] = ..., hops: _Optional[_Iterable[_Union[HopAttention, _Mapping]]] = ..., model_id: _Optional[str] = ..., model_version: _Optional[int] = ..., step: _Optional[int] = ..., forgotten_sentence_count: _Optional[int] = ..., attention_columns: _Optional[_Union[_manifest_pb2.QuestionAnswering.AttentionColumns, str]] = ...) -> None: ...

class RankedAnswer(_message.Message):
    __slots__ = ("text", "probability")
    TEXT_FIELD_NUMBER: _ClassVar[int]
    PROBABILITY_FIELD_NUMBER: _ClassVar[int]
    text: str
    probability: float
    def __init__(self, text: _Optional[str] = ..., probability: _Optional[float] = ...) -> None: ...

class HopAttention(_message.Message):
    __slots__ = ("weights",)
    WEIGHTS_FIELD_NUMBER: _ClassVar[int]
    weights: _containers.RepeatedScalarFieldContainer[float]
    def __init__(self, weights: _Optional[_Iterable[float]] = ...) -> None: ...

class TellRequest(_message.Message):
    __slots__ = ("session_id", "incarnation", "step", "sentences", "client_id", "acknowledged_step")
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    INCARNATION_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    SENTENCES_FIELD_NUMBER: _ClassVar[int]
    CLIENT_ID_FIELD_NUMBER: _ClassVar[int]
    ACKNOWLEDGED_STEP_FIELD_NUMBER: _ClassVar[int]
    session_id: str
    incarnation: str
    step: int
    sentences: _containers.RepeatedScalarFieldContainer[str]
    client_id: str
    acknowledged_step: int
    def __init__(self, session_id: _Optional[str] = ..., incarnation: _Optional[str] = ..., step: _Optional[int] = ..., sentences: _Optional[_Iterable[str]] = ..., client_id: _Optional[str] = ..., acknowledged_step: _Optional[int] = ...) -> None: ...

class TellResponse(_message.Message):
    __slots__ = ("step", "step_count", "input_hash", "committed_step", "unknown_words", "replayed", "incarnation")
    STEP_FIELD_NUMBER: _ClassVar[int]
    STEP_COUNT_FIELD_NUMBER: _ClassVar[int]
    INPUT_HASH_FIELD_NUMBER: _ClassVar[int]
    COMMITTED_STEP_FIELD_NUMBER: _ClassVar[int]
    UNKNOWN_WORDS_FIELD_NUMBER: _ClassVar[int]
    REPLAYED_FIELD_NUMBER: _ClassVar[int]
    INCARNATION_FIELD_NUMBER: _ClassVar[int]
    step: int
    step_count: int
    input_hash: bytes
    committed_step: int
    unknown_words: _containers.RepeatedScalarFieldContainer[str]
    replayed: bool
    incarnation: str
    def __init__(self, step: _Optional[int] = ..., step_count: _Optional[int] = ..., input_hash: _Optional[bytes] = ..., committed_step: _Optional[int] = ..., unknown_words: _Optional[_Iterable[str]] = ..., replayed: _Optional[bool] = ..., incarnation: _Optional[str] = ...) -> None: ...
