"""What only the garbage collector would free: every step that leaves some makes the server stop now and then."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import service

SERVICE = Path(service.__file__).parent


@contextmanager
def search() -> Iterator[list[str]]:
    """Holds, once it is left, the names of the service's functions whose frames were kept by a cycle of references."""
    names: list[str] = []
    gc.collect()
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        yield names
        gc.collect()
        codes = [found.f_code for found in gc.garbage if isinstance(found, FrameType)]
        names += sorted({code.co_qualname for code in codes if SERVICE in Path(code.co_filename).parents})
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()
