"""The generated code under tapehead/v1 is what the contracts in proto/ say, and nobody has edited it."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
PROTOS = sorted(path.relative_to(ROOT / "proto").as_posix() for path in (ROOT / "proto").rglob("*.proto"))


def test_stubs_are_what_the_contracts_generate(tmp_path: Path) -> None:
    """A contract was changed without `make proto`, or a generated file was edited, if this fails."""
    outputs = [f"--{kind}_out={tmp_path}" for kind in ("python", "pyi", "grpc_python")]
    subprocess.run(
        [sys.executable, "-m", "grpc_tools.protoc", "-Iproto", *outputs, *PROTOS], cwd=ROOT, check=True, timeout=60
    )
    generated = sorted(
        path.relative_to(tmp_path) for path in tmp_path.rglob("*.py*") if "__pycache__" not in path.parts
    )
    assert generated

    stale = [str(path) for path in generated if (ROOT / path).read_bytes() != (tmp_path / path).read_bytes()]

    assert not stale, f"run 'make proto' and commit: {stale}"


def test_no_stub_is_left_of_a_contract_that_is_gone() -> None:
    names = {Path(proto).stem for proto in PROTOS}
    stubs = [path for path in (ROOT / "tapehead" / "v1").glob("*_pb2*")]

    orphans = [path.name for path in stubs if path.name.split("_pb2")[0] not in names]

    assert stubs
    assert not orphans
