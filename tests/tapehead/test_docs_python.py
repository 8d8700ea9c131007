"""docs/python.md: every piece of code runs against the real service and prints what the page says."""

from __future__ import annotations

import contextlib
import io
import re
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.end_to_end.server_process import ServerProcess

PAGE = Path(__file__).parents[2] / "docs" / "python.md"
BLOCK = re.compile(r"^```python\n(?P<code>.*?)^```\n(?:\n```text\n(?P<printed>.*?)^```\n)?", re.M | re.S)


@dataclass(frozen=True)
class Piece:
    line: int  # of the page, counted from 1, on which the code begins
    code: str
    printed: str


def pieces() -> list[Piece]:
    text = PAGE.read_text(encoding="utf-8")
    return [
        Piece(text.count("\n", 0, found.start("code")) + 1, found["code"], found["printed"] or "")
        for found in BLOCK.finditer(text)
    ]


@pytest.mark.end_to_end
def test_the_page_is_one_program_that_prints_what_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    namespace: dict[str, object] = {"__name__": "page"}
    with ServerProcess(tmp_path, store="memory:") as server:
        monkeypatch.setenv("TAPEHEAD_SERVER", server.grpc)
        monkeypatch.chdir(tmp_path)
        for piece in pieces():
            # Blank lines before the code make tracebacks name the line of the page.
            code = compile("\n" * (piece.line - 1) + piece.code, PAGE, "exec", dont_inherit=True)
            with contextlib.redirect_stdout(io.StringIO()) as out:
                exec(code, namespace)

            assert out.getvalue() == piece.printed, f"{PAGE.name}, line {piece.line}"


def test_no_code_of_the_page_is_left_out() -> None:
    text = PAGE.read_text(encoding="utf-8")

    assert len(pieces()) == text.count("```python") >= 8
    assert text.count("```text") == sum(bool(piece.printed) for piece in pieces())
    assert text.count("```") == 2 * (text.count("```python") + text.count("```text"))
