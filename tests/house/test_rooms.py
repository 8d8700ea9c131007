"""The layout in docs/design.md is the layout of the tree, and the modules that only decide know nothing that acts."""

import ast
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PARTS = ("service", "tapehead", "training")
MODULES = sorted(path for part in PARTS for path in (ROOT / part).rglob("*.py") if "v1" not in path.parts)
PURE = [path for path in MODULES if re.search(r"\bPure[:.]", ast.get_docstring(ast.parse(path.read_text())) or "")]
STRICT = {
    "service.engine.scheduler",
    "service.engine.admission",
    "service.sessions.session",
    "service.sessions.retention",
}
ACTING = {"asyncio", "time", "threading", "secrets", "os", "io", "socket", "logging", "subprocess"}


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


def layout() -> list[str]:
    """The paths of the layout block, one a line, each followed by what the place is for."""
    block = re.search(r"```layout\n(.*?)```", (ROOT / "docs" / "design.md").read_text(), re.S)
    assert block
    return [line.split()[0] for line in block[1].splitlines() if line.strip()]


def test_every_place_of_the_layout_exists() -> None:
    missing = [path for path in layout() if not any(ROOT.glob(path))]

    assert not missing


def test_every_folder_of_code_is_in_the_layout() -> None:
    folders = {path.parent.relative_to(ROOT).as_posix() + "/" for path in MODULES}

    unknown = {folder for folder in folders if not any(folder == place for place in layout())}

    assert not unknown, f"say in docs/design.md what these are for: {sorted(unknown)}"


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_every_module_says_in_its_first_sentence_why_it_is_there(path: Path) -> None:
    text = path.read_text()

    assert not text.strip() or ast.get_docstring(ast.parse(text))


def test_the_modules_that_must_only_decide_say_so() -> None:
    assert {name_of(path) for path in PURE} >= STRICT


@pytest.mark.parametrize("path", PURE, ids=name_of)
def test_a_module_that_says_it_is_pure_neither_waits_nor_acts(path: Path) -> None:
    """What it knows comes through its arguments: no clock, no loop, no file, no socket."""
    tree = ast.parse(path.read_text())

    waiting = [node for node in ast.walk(tree) if isinstance(node, ast.Await | ast.AsyncFunctionDef)]
    acting = {name for name in imported(path) if name.split(".")[0] in ACTING}

    assert not waiting
    assert not acting


@pytest.mark.parametrize("path", [path for path in PURE if name_of(path) in STRICT], ids=name_of)
def test_the_rules_of_sessions_and_batches_know_the_standard_library_alone(path: Path) -> None:
    peers = {name_of(pure) for pure in PURE} | {"service.errors"}

    foreign = {name for name in imported(path) if name.split(".")[0] not in sys.stdlib_module_names} - peers

    assert not foreign


def imported(path: Path) -> set[str]:
    """The absolute names of the modules that a module imports, those for the type checker alone left out."""
    package = list(path.relative_to(ROOT).parts[:-1])
    names: set[str] = set()
    for node in running_imports(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        else:
            base = package[: len(package) - node.level + 1] if node.level else []
            names.update(submodules([*base, *(node.module or "").split(".")], [alias.name for alias in node.names]))
    return names


def running_imports(tree: ast.Module) -> list[ast.Import | ast.ImportFrom]:
    typing_blocks = [
        node for node in ast.walk(tree) if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
    ]
    hidden = {inner for block in typing_blocks for inner in ast.walk(block)}
    return [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom) and node not in hidden]


def submodules(module: list[str], names: list[str]) -> set[str]:
    """`from package import name` means the submodule if there is one, else the package's own name."""
    parts = [part for part in module if part]
    inner = {name for name in names if (ROOT.joinpath(*parts) / f"{name}.py").exists()}
    return {".".join([*parts, name]) for name in inner} | ({".".join(parts)} if set(names) - inner else set())
