"""The messages of package `inference`, in a descriptor pool of their own.

Other libraries bring the same names: in one pool, whichever came second would fail. So nothing is registered with
protobuf's default pool, and `make proto` writes the descriptors as data, with types for the checker alone.
"""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.descriptor import ServiceDescriptor

POOL = descriptor_pool.DescriptorPool()
DESCRIPTORS = Path(__file__).with_name("descriptors.binpb")

for _file in descriptor_pb2.FileDescriptorSet.FromString(DESCRIPTORS.read_bytes()).file:
    POOL.Add(_file)


def _module(proto: str) -> SimpleNamespace:
    """Returns what a generated module of the file would hold: message classes and the numbers of enum values."""
    file = POOL.FindFileByName(proto)
    classes = {name: message_factory.GetMessageClass(message) for name, message in file.message_types_by_name.items()}
    numbers = {value.name: value.number for enum in file.enum_types_by_name.values() for value in enum.values}
    return SimpleNamespace(**classes, **numbers)


if TYPE_CHECKING:
    from . import grpc_service_pb2 as pb
    from . import model_config_pb2 as config_pb
else:
    pb = _module("inference/grpc_service.proto")
    config_pb = _module("inference/model_config.proto")

SERVICE: ServiceDescriptor = POOL.FindServiceByName("inference.GRPCInferenceService")

__all__ = ["POOL", "SERVICE", "config_pb", "pb"]
