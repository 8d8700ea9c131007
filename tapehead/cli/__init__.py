"""The command `tapehead`: ask, tell, stream, and a look at sessions, models and the server."""

from tapehead.cli.app import main

__all__ = ["main"]
