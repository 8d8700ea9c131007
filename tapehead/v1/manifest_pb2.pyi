from tapehead.v1 import tensor_pb2 as _tensor_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ModelKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    MODEL_KIND_UNSPECIFIED: _ClassVar[ModelKind]
    MODEL_KIND_SEQUENCE: _ClassVar[ModelKind]
    MODEL_KIND_QUESTION_ANSWERING: _ClassVar[ModelKind]

class NonFinite(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    NON_FINITE_UNSPECIFIED: _ClassVar[NonFinite]
    NON_FINITE_REJECT: _ClassVar[NonFinite]
    NON_FINITE_ALLOW: _ClassVar[NonFinite]
MODEL_KIND_UNSPECIFIED: ModelKind
MODEL_KIND_SEQUENCE: ModelKind
MODEL_KIND_QUESTION_ANSWERING: ModelKind
NON_FINITE_UNSPECIFIED: NonFinite
NON_FINITE_REJECT: NonFinite
NON_FINITE_ALLOW: NonFinite

class Manifest(_message.Message):
    __slots__ = ("format", "model_id", "version", "kind", "description", "entries", "state", "question_answering", "probes", "provenance", "files", "deterministic")
    FORMAT_FIELD_NUMBER: _ClassVar[int]
    MODEL_ID_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    QUESTION_ANSWERING_FIELD_NUMBER: _ClassVar[int]
    PROBES_FIELD_NUMBER: _ClassVar[int]
    PROVENANCE_FIELD_NUMBER: _ClassVar[int]
    FILES_FIELD_NUMBER: _ClassVar[int]
    DETERMINISTIC_FIELD_NUMBER: _ClassVar[int]
    format: int
    model_id: str
    version: int
    kind: ModelKind
    description: str
    entries: _containers.RepeatedCompositeFieldContainer[Entry]
    state: _containers.RepeatedCompositeFieldContainer[StateTensor]
    question_answering: QuestionAnswering
    probes: _containers.RepeatedCompositeFieldContainer[Probe]
    provenance: Provenance
    files: _containers.RepeatedCompositeFieldContainer[BundleFile]
    deterministic: bool
    def __init__(self, format: _Optional[int] = ..., model_id: _Optional[str] = ..., version: _Optional[int] = ..., kind: _Optional[_Union[ModelKind, str]] = ..., description: _Optional[str] = ..., entries: _Optional[_Iterable[_Union[Entry, _Mapping]]] = ..., state: _Optional[_Iterable[_Union[StateTensor, _Mapping]]] = ..., question_answering: _Optional[_Union[QuestionAnswering, _Mapping]] = ..., probes: _Optional[_Iterable[_Union[Probe, _Mapping]]] = ..., provenance: _Optional[_Union[Provenance, _Mapping]] = ..., files: _Optional[_Iterable[_Union[BundleFile, _Mapping]]] = ..., deterministic: _Optional[bool] = ...) -> None: ...

class Entry(_message.Message):
    __slots__ = ("name", "file", "inputs", "outputs", "reads_state", "writes_state")
    NAME_FIELD_NUMBER: _ClassVar[int]
    FILE_FIELD_NUMBER: _ClassVar[int]
    INPUTS_FIELD_NUMBER: _ClassVar[int]
    OUTPUTS_FIELD_NUMBER: _ClassVar[int]
    READS_STATE_FIELD_NUMBER: _ClassVar[int]
    WRITES_STATE_FIELD_NUMBER: _ClassVar[int]
    name: str
    file: str
    inputs: _containers.RepeatedCompositeFieldContainer[EntryTensor]
    outputs: _containers.RepeatedCompositeFieldContainer[EntryTensor]
    reads_state: bool
    writes_state: bool
    def __init__(self, name: _Optional[str] = ..., file: _Optional[str] = ..., inputs: _Optional[_Iterable[_Union[EntryTensor, _Mapping]]] = ..., outputs: _Optional[_Iterable[_Union[EntryTensor, _Mapping]]] = ..., reads_state: _Optional[bool] = ..., writes_state: _Optional[bool] = ...) -> None: ...

class EntryTensor(_message.Message):
    __slots__ = ("name", "graph_name", "dtype", "shape", "batch_axis", "inspection", "description", "non_finite", "step_axis", "carry", "constant", "words", "constant_batched")
    NAME_FIELD_NUMBER: _ClassVar[int]
    GRAPH_NAME_FIELD_NUMBER: _ClassVar[int]
    DTYPE_FIELD_NUMBER: _ClassVar[int]
    SHAPE_FIELD_NUMBER: _ClassVar[int]
    BATCH_AXIS_FIELD_NUMBER: _ClassVar[int]
    INSPECTION_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    NON_FINITE_FIELD_NUMBER: _ClassVar[int]
    STEP_AXIS_FIELD_NUMBER: _ClassVar[int]
    CARRY_FIELD_NUMBER: _ClassVar[int]
    CONSTANT_FIELD_NUMBER: _ClassVar[int]
    WORDS_FIELD_NUMBER: _ClassVar[int]
    CONSTANT_BATCHED_FIELD_NUMBER: _ClassVar[int]
    name: str
    graph_name: str
    dtype: _tensor_pb2.DataType
    shape: _containers.RepeatedScalarFieldContainer[int]
    batch_axis: int
    inspection: bool
    description: str
    non_finite: NonFinite
    step_axis: int
    carry: Carry
    constant: bool
    words: _containers.RepeatedScalarFieldContainer[str]
    constant_batched: bool
    def __init__(self, name: _Optional[str] = ..., graph_name: _Optional[str] = ..., dtype: _Optional[_Union[_tensor_pb2.DataType, str]] = ..., shape: _Optional[_Iterable[int]] = ..., batch_axis: _Optional[int] = ..., inspection: _Optional[bool] = ..., description: _Optional[str] = ..., non_finite: _Optional[_Union[NonFinite, str]] = ..., step_axis: _Optional[int] = ..., carry: _Optional[_Union[Carry, _Mapping]] = ..., constant: _Optional[bool] = ..., words: _Optional[_Iterable[str]] = ..., constant_batched: _Optional[bool] = ...) -> None: ...

class Carry(_message.Message):
    __slots__ = ("last", "axis")
    LAST_FIELD_NUMBER: _ClassVar[int]
    AXIS_FIELD_NUMBER: _ClassVar[int]
    last: int
    axis: int
    def __init__(self, last: _Optional[int] = ..., axis: _Optional[int] = ...) -> None: ...

class StateTensor(_message.Message):
    __slots__ = ("name", "graph_input", "graph_output", "dtype", "shape", "batch_axis", "initial_file", "non_finite", "description", "maximum")
    NAME_FIELD_NUMBER: _ClassVar[int]
    GRAPH_INPUT_FIELD_NUMBER: _ClassVar[int]
    GRAPH_OUTPUT_FIELD_NUMBER: _ClassVar[int]
    DTYPE_FIELD_NUMBER: _ClassVar[int]
    SHAPE_FIELD_NUMBER: _ClassVar[int]
    BATCH_AXIS_FIELD_NUMBER: _ClassVar[int]
    INITIAL_FILE_FIELD_NUMBER: _ClassVar[int]
    NON_FINITE_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    MAXIMUM_FIELD_NUMBER: _ClassVar[int]
    name: str
    graph_input: str
    graph_output: str
    dtype: _tensor_pb2.DataType
    shape: _containers.RepeatedScalarFieldContainer[int]
    batch_axis: int
    initial_file: str
    non_finite: NonFinite
    description: str
    maximum: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, name: _Optional[str] = ..., graph_input: _Optional[str] = ..., graph_output: _Optional[str] = ..., dtype: _Optional[_Union[_tensor_pb2.DataType, str]] = ..., shape: _Optional[_Iterable[int]] = ..., batch_axis: _Optional[int] = ..., initial_file: _Optional[str] = ..., non_finite: _Optional[_Union[NonFinite, str]] = ..., description: _Optional[str] = ..., maximum: _Optional[_Iterable[int]] = ...) -> None: ...

class QuestionAnswering(_message.Message):
    __slots__ = ("words", "answers", "sentence_words", "memory_sentences", "story_overflow", "unknown_words", "splitting", "unknown_word_id", "length_state", "probabilities_output", "attention_output", "attention_columns")
    class StoryOverflow(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        STORY_OVERFLOW_UNSPECIFIED: _ClassVar[QuestionAnswering.StoryOverflow]
        STORY_OVERFLOW_REFUSE: _ClassVar[QuestionAnswering.StoryOverflow]
        STORY_OVERFLOW_FORGET_OLDEST: _ClassVar[QuestionAnswering.StoryOverflow]
        STORY_OVERFLOW_ABSORB: _ClassVar[QuestionAnswering.StoryOverflow]
    STORY_OVERFLOW_UNSPECIFIED: QuestionAnswering.StoryOverflow
    STORY_OVERFLOW_REFUSE: QuestionAnswering.StoryOverflow
    STORY_OVERFLOW_FORGET_OLDEST: QuestionAnswering.StoryOverflow
    STORY_OVERFLOW_ABSORB: QuestionAnswering.StoryOverflow
    class AttentionColumns(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        ATTENTION_COLUMNS_UNSPECIFIED: _ClassVar[QuestionAnswering.AttentionColumns]
        ATTENTION_COLUMNS_SENTENCES: _ClassVar[QuestionAnswering.AttentionColumns]
        ATTENTION_COLUMNS_SLOTS: _ClassVar[QuestionAnswering.AttentionColumns]
    ATTENTION_COLUMNS_UNSPECIFIED: QuestionAnswering.AttentionColumns
    ATTENTION_COLUMNS_SENTENCES: QuestionAnswering.AttentionColumns
    ATTENTION_COLUMNS_SLOTS: QuestionAnswering.AttentionColumns
    class UnknownWords(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        UNKNOWN_WORDS_UNSPECIFIED: _ClassVar[QuestionAnswering.UnknownWords]
        UNKNOWN_WORDS_REFUSE: _ClassVar[QuestionAnswering.UnknownWords]
        UNKNOWN_WORDS_ALLOW: _ClassVar[QuestionAnswering.UnknownWords]
    UNKNOWN_WORDS_UNSPECIFIED: QuestionAnswering.UnknownWords
    UNKNOWN_WORDS_REFUSE: QuestionAnswering.UnknownWords
    UNKNOWN_WORDS_ALLOW: QuestionAnswering.UnknownWords
    class Splitting(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        SPLITTING_UNSPECIFIED: _ClassVar[QuestionAnswering.Splitting]
        SPLITTING_WORDS: _ClassVar[QuestionAnswering.Splitting]
        SPLITTING_CHARACTERS: _ClassVar[QuestionAnswering.Splitting]
    SPLITTING_UNSPECIFIED: QuestionAnswering.Splitting
    SPLITTING_WORDS: QuestionAnswering.Splitting
    SPLITTING_CHARACTERS: QuestionAnswering.Splitting
    WORDS_FIELD_NUMBER: _ClassVar[int]
    ANSWERS_FIELD_NUMBER: _ClassVar[int]
    SENTENCE_WORDS_FIELD_NUMBER: _ClassVar[int]
    MEMORY_SENTENCES_FIELD_NUMBER: _ClassVar[int]
    STORY_OVERFLOW_FIELD_NUMBER: _ClassVar[int]
    UNKNOWN_WORDS_FIELD_NUMBER: _ClassVar[int]
    SPLITTING_FIELD_NUMBER: _ClassVar[int]
    UNKNOWN_WORD_ID_FIELD_NUMBER: _ClassVar[int]
    LENGTH_STATE_FIELD_NUMBER: _ClassVar[int]
    PROBABILITIES_OUTPUT_FIELD_NUMBER: _ClassVar[int]
    ATTENTION_OUTPUT_FIELD_NUMBER: _ClassVar[int]
    ATTENTION_COLUMNS_FIELD_NUMBER: _ClassVar[int]
    words: _containers.RepeatedScalarFieldContainer[str]
    answers: _containers.RepeatedScalarFieldContainer[str]
    sentence_words: int
    memory_sentences: int
    story_overflow: QuestionAnswering.StoryOverflow
    unknown_words: QuestionAnswering.UnknownWords
    splitting: QuestionAnswering.Splitting
    unknown_word_id: int
    length_state: str
    probabilities_output: str
    attention_output: str
    attention_columns: QuestionAnswering.AttentionColumns
    def __init__(self, words: _Optional[_Iterable[str]] = ..., answers: _Optional[_Iterable[str]] = ..., sentence_words: _Optional[int] = ..., memory_sentences: _Optional[int] = ..., story_overflow: _Optional[_Union[QuestionAnswering.StoryOverflow, str]] = ..., unknown_words: _Optional[_Union[QuestionAnswering.UnknownWords, str]] = ..., splitting: _Optional[_Union[QuestionAnswering.Splitting, str]] = ..., unknown_word_id: _Optional[int] = ..., length_state: _Optional[str] = ..., probabilities_output: _Optional[str] = ..., attention_output: _Optional[str] = ..., attention_columns: _Optional[_Union[QuestionAnswering.AttentionColumns, str]] = ...) -> None: ...

class Probe(_message.Message):
    __slots__ = ("calls", "tolerance")
    CALLS_FIELD_NUMBER: _ClassVar[int]
    TOLERANCE_FIELD_NUMBER: _ClassVar[int]
    calls: _containers.RepeatedCompositeFieldContainer[ProbeCall]
    tolerance: float
    def __init__(self, calls: _Optional[_Iterable[_Union[ProbeCall, _Mapping]]] = ..., tolerance: _Optional[float] = ...) -> None: ...

class ProbeCall(_message.Message):
    __slots__ = ("entry", "inputs", "outputs")
    ENTRY_FIELD_NUMBER: _ClassVar[int]
    INPUTS_FIELD_NUMBER: _ClassVar[int]
    OUTPUTS_FIELD_NUMBER: _ClassVar[int]
    entry: str
    inputs: _containers.RepeatedCompositeFieldContainer[_tensor_pb2.Tensor]
    outputs: _containers.RepeatedCompositeFieldContainer[_tensor_pb2.Tensor]
    def __init__(self, entry: _Optional[str] = ..., inputs: _Optional[_Iterable[_Union[_tensor_pb2.Tensor, _Mapping]]] = ..., outputs: _Optional[_Iterable[_Union[_tensor_pb2.Tensor, _Mapping]]] = ...) -> None: ...

class Provenance(_message.Message):
    __slots__ = ("task", "command", "revision", "measured", "parameter_count", "export_difference")
    class MeasuredEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    TASK_FIELD_NUMBER: _ClassVar[int]
    COMMAND_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    MEASURED_FIELD_NUMBER: _ClassVar[int]
    PARAMETER_COUNT_FIELD_NUMBER: _ClassVar[int]
    EXPORT_DIFFERENCE_FIELD_NUMBER: _ClassVar[int]
    task: str
    command: str
    revision: str
    measured: _containers.ScalarMap[str, str]
    parameter_count: int
    export_difference: float
    def __init__(self, task: _Optional[str] = ..., command: _Optional[str] = ..., revision: _Optional[str] = ..., measured: _Optional[_Mapping[str, str]] = ..., parameter_count: _Optional[int] = ..., export_difference: _Optional[float] = ...) -> None: ...

class BundleFile(_message.Message):
    __slots__ = ("path", "sha256", "size")
    PATH_FIELD_NUMBER: _ClassVar[int]
    SHA256_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    path: str
    sha256: str
    size: int
    def __init__(self, path: _Optional[str] = ..., sha256: _Optional[str] = ..., size: _Optional[int] = ...) -> None: ...
