"""The generated code is what the contracts in proto/ say, and nobody has edited it."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
PROTOS = sorted(path.relative_to(ROOT / "proto").as_posix() for path in (ROOT / "proto" / "tapehead").rglob("*.proto"))
FOREIGN = sorted(path.relative_to(ROOT / "proto").as_posix() for path in (ROOT / "proto" / "inference").glob("*.proto"))


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


def test_descriptors_and_types_of_the_foreign_package_are_what_its_contracts_generate(tmp_path: Path) -> None:
    """Its messages are built from the descriptors; the types are for the checker, and say the same."""
    outputs = ["--include_imports", f"--descriptor_set_out={tmp_path / 'descriptors.binpb'}", f"--pyi_out={tmp_path}"]
    subprocess.run(
        [sys.executable, "-m", "grpc_tools.protoc", "-Iproto", *outputs, *FOREIGN], cwd=ROOT, check=True, timeout=60
    )
    generated = {path.name: path.read_bytes() for path in [*tmp_path.glob("*.binpb"), *tmp_path.rglob("*.pyi")]}
    place = ROOT / "service" / "api" / "inference"
    assert len(generated) == 1 + len(FOREIGN)

    stale = [
        name
        for name, content in generated.items()
        if (place / name).read_bytes() != re.sub(rb"(?m)^from inference import", b"from . import", content)
    ]

    assert not stale, f"run 'make proto' and commit: {stale}"


def test_the_foreign_package_leaves_the_default_pool_alone() -> None:
    """Another library may bring the same names into this process, before or after."""
    found = subprocess.run(
        [
            sys.executable,
            "-c",
            "from google.protobuf import descriptor_pool as d\n"
            "from service.api.inference.messages import pb\n"
            "pb.ModelInferRequest(id='1')\n"
            "try: d.Default().FindMessageTypeByName('inference.ModelInferRequest')\n"
            "except KeyError: print('not there')",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )

    assert found.stdout == "not there\n"


def test_no_stub_is_left_of_a_contract_that_is_gone() -> None:
    names = {Path(proto).stem for proto in PROTOS}
    stubs = [path for path in (ROOT / "tapehead" / "v1").glob("*_pb2*")]

    orphans = [path.name for path in stubs if path.name.split("_pb2")[0] not in names]

    assert stubs
    assert not orphans
