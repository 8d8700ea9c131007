"""`python -m service` starts the server, `python -m service check` tells what would keep it from starting, and
`python -m service store` backs up, verifies, restores, compacts or moves what it keeps.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Sequence

from . import failpoints
from .settings import InvalidSettings, Settings, read_settings

OK, FAILED, MISUSED = 0, 1, 2  # exit codes


def main(arguments: Sequence[str]) -> int:
    if list(arguments[:1]) == ["store"]:
        return keep(arguments[1:])
    is_check = list(arguments[:1]) == ["check"]
    try:
        settings = read_settings(arguments[1:] if is_check else arguments)
    except InvalidSettings as error:
        print(f"tapehead: {error}", file=sys.stderr)
        return MISUSED
    return check(settings) if is_check else serve(settings)


# The rest of the service takes a second to import. A wrong flag, or --help, is answered without it.


def check(settings: Settings) -> int:
    """Prints every finding; fails if one would keep the server from starting."""
    from .preflight import findings

    found = list(findings(settings))
    for finding in found:
        print(f"{finding.outcome:8} {finding.check:11} {finding.sentence}")
    return FAILED if any(finding.outcome == "failure" for finding in found) else OK


def keep(arguments: Sequence[str]) -> int:
    """Backs up, verifies, restores, compacts or moves a store."""
    from .maintenance import main as maintain

    return maintain(arguments)


def serve(settings: Settings) -> int:
    """Serves until a signal comes; returns the exit code."""
    gc.disable()  # until all is loaded: nothing of it is garbage. See `process.spare_garbage_searches`

    from .process import run
    from .telemetry.logs import set_up_logs

    set_up_logs(settings.log_level, settings.log_format)
    try:
        failpoints.arm_by_environment()
    except failpoints.InvalidFailpoints as error:
        print(f"tapehead: {error}", file=sys.stderr)
        return MISUSED
    return run(settings)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
