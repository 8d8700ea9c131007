"""The compute fingerprint: two servers with the same one give the same bits for the same step."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from tapehead.bundle.runtime import onnxruntime
from tapehead.v1.manifest_pb2 import Manifest

from .runner import OPTIMISATION, PROVIDER

# What /proc/cpuinfo calls the parts of a CPU's class, on x86 and on ARM. Clock, cores and stepping change no bits.
_CPU_FIELDS = frozenset(
    {"vendor_id", "cpu family", "model", "CPU implementer", "CPU architecture", "CPU variant", "CPU part"}
)
_CPU_FLAGS = ("sse4", "ssse3", "avx", "fma", "f16c", "amx", "asimd", "sve", "i8mm", "bf16", "fphp")  # beginnings


def compute_fingerprint(manifest: Manifest, multiples: Mapping[str, int] | None = None) -> str:
    """Returns hexadecimal SHA-256 over everything that decides the bits of an answer.

    That is: how the manifest maps tensors, the content of graphs and initial states, onnxruntime's version, provider
    and optimisation level, the class of this machine's CPU, and how batches are padded on it. Cards and figures of the
    bundle do not count.
    """
    digest = hashlib.sha256()
    computing = {entry.file for entry in manifest.entries} | {tensor.initial_file for tensor in manifest.state}
    mapping = Manifest(entries=manifest.entries, state=manifest.state)
    for tensor in (*mapping.state, *(t for entry in mapping.entries for t in (*entry.inputs, *entry.outputs))):
        tensor.ClearField("description")
    digest.update(mapping.SerializeToString(deterministic=True))
    for file in sorted(manifest.files, key=lambda file: file.path):
        if file.path in computing:
            digest.update(f"\n{file.path} {file.sha256.lower()}".encode())
    for part in (onnxruntime.__version__, PROVIDER, OPTIMISATION, cpu_class(), *sorted((multiples or {}).items())):
        digest.update(f"\n{part}".encode())
    return digest.hexdigest()


@cache
def cpu_class() -> str:
    """Names the kind of this machine's CPU: what onnxruntime may choose its kernels by."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:  # not Linux
        return f"{platform.system()} {platform.machine()} {platform.processor()}"
    return f"{platform.machine()} {describe_cpu(text)}"


def describe_cpu(cpuinfo: str) -> str:
    """Returns the class of the first CPU in the text of /proc/cpuinfo."""
    parts = []
    for line in cpuinfo.split("\n\n", 1)[0].splitlines():
        name, _, content = line.partition(":")
        name, content = name.strip(), content.strip()
        if name in _CPU_FIELDS:
            parts.append(f"{name}={content}")
        elif name in ("flags", "Features"):
            parts.append("flags=" + ",".join(sorted(flag for flag in content.split() if flag.startswith(_CPU_FLAGS))))
    return " ".join(parts)
