"""The files that commands read and write, with errors that name them."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from io import TextIOWrapper
from pathlib import Path
from typing import TextIO

STANDARD_INPUT = "standard input"


def open_source(source: str) -> tuple[TextIO, str]:
    """A file, or the standard input for "-", for `checked_lines`, and what to call it."""
    if source != "-":
        return open(source, newline="", encoding="utf-8", errors="surrogateescape"), source
    if isinstance(sys.stdin, TextIOWrapper):
        sys.stdin.reconfigure(encoding="utf-8", errors="surrogateescape")
    return sys.stdin, STANDARD_INPUT


def checked_lines(file: TextIO, name: str) -> Iterator[str]:
    """Yields each line as soon as it is there. Raises ValueError at one that is not UTF-8."""
    for number, line in enumerate(iter(file.readline, ""), start=1):
        try:
            line.encode()
        except UnicodeEncodeError as error:  # a byte that is no text was let in as a lone surrogate
            got = f"the byte 0x{ord(line[error.start]) & 0xFF:02x}"
            raise ValueError(f"{name}, line {number}: expected text in UTF-8, got {got}") from None
        yield line


def lines(source: str) -> list[str]:
    """The lines of a file, or of the standard input for "-", that are not blank."""
    file, name = open_source(source)
    with file:
        text = "".join(checked_lines(file, name))
    return [line.strip() for line in text.splitlines() if line.strip()]


def require_writable(path: Path, option: str) -> None:
    """Raises ValueError where a file cannot be written; leaves nothing behind to find that out."""
    got = ""
    if path.is_dir():
        got = f"the folder {path}"
    elif not path.exists() and not path.parent.is_dir():
        got = f"{path}, whose folder does not exist"
    elif not os.access(path if path.exists() else path.parent, os.W_OK):
        got = f"{path}, which may not be written"
    if got:
        raise ValueError(f"{option}: expected a file that can be written, got {got}")
