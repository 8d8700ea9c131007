"""The command line: python -m training train | evaluate | export | card | plot | reproduce."""

from __future__ import annotations

from .commands import main

if __name__ == "__main__":
    main()
