"""The command line: python -m training train | evaluate | export | card | plot | profile | reproduce."""

from __future__ import annotations

import sys

if __name__ == "__main__":
    try:
        from .commands import main

        main()
    except ModuleNotFoundError as missing:
        if missing.name is None or missing.name.split(".")[0] == "training":
            raise
        how = "make setup installs it, or pip install '.[training]' in the root of the repository"
        print(f"error: training needs the package {missing.name!r}: {how}", file=sys.stderr)
        sys.exit(2)
