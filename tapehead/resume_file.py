"""What a session needs to go on after its program was killed: a token, and the inputs that are not settled.

One file for one session, in SQLite's format with its write-ahead log beside it: each change is whole or not at all, and
costs what changed. What was written survives the death of the program. After a loss of power the file is at most as old
as its last sync, and no step is sent that lies more than a window behind that: the server still has every answer since.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from tapehead.resume import Message
from tapehead.resume_token import ResumeToken
from tapehead.v1.session_service_pb2 import StreamStep

_MARK = 0x54704873  # application_id: whose file it is
_TABLES = """
BEGIN IMMEDIATE;
CREATE TABLE IF NOT EXISTS token (
    id INTEGER PRIMARY KEY CHECK (id = 1), session_id TEXT, incarnation TEXT, last_received_step INTEGER, client_id TEXT
);
CREATE TABLE IF NOT EXISTS inputs (step INTEGER PRIMARY KEY, message BLOB, input_hash BLOB);
COMMIT;
"""


class ResumeFile:
    """The file of one session object, which nobody else can open meanwhile."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Opens the file, or makes it. Raises ValueError for one that is in use or is something else, OSError."""
        self._path = os.fspath(path)
        if os.path.isdir(self._path) or not os.path.isdir(os.path.dirname(os.path.abspath(self._path))):
            raise ValueError(f"resume_file: expected a file in a folder that exists, got {self._path}")
        self._database = sqlite3.connect(self._path, timeout=0, isolation_level=None, check_same_thread=False)
        try:
            self._begin()
            self.token = self._read_token()
            self.held = self._read_inputs()
        except sqlite3.Error as error:
            self._database.close()
            is_busy = isinstance(error, sqlite3.OperationalError) and "locked" in str(error)
            raise ValueError(
                f"resume_file: {self._path} is in use by another session object"
                if is_busy
                else f"resume_file: expected the file of a session, got {self._path}, which is something else ({error})"
            ) from None
        except BaseException:
            self._database.close()
            raise

    def opened(self, token: ResumeToken) -> None:
        """The session is open; from here another object goes on."""
        values = (token.session_id, token.incarnation, token.last_received_step, token.client_id)
        self._write_to_disk("INSERT OR REPLACE INTO token VALUES (1, ?, ?, ?, ?)", *values)

    def add(self, message: Message) -> None:
        """An input is about to be sent. Like every change, it raises OSError where it cannot be written."""
        row = (message.step, message.request().SerializeToString(), message.input_hash)
        with self._changing() as run:
            run("INSERT OR REPLACE INTO inputs VALUES (?, ?, ?)", row)

    def take_back(self, step: int) -> None:
        """The inputs from this step on failed, and their numbers are free again."""
        self._write_to_disk("DELETE FROM inputs WHERE step >= ?", step)

    def settle(self, step: int) -> None:
        """The application has the answers up to this step."""
        with self._changing() as run:
            run("UPDATE token SET last_received_step = ?", (step,))
            run("DELETE FROM inputs WHERE step <= ?", (step,))

    def sync(self) -> None:
        """Puts all that was written where it survives a loss of power."""
        self._write_to_disk("UPDATE token SET id = id")

    def close(self) -> None:
        self._database.close()

    def _write_to_disk(self, statement: str, *values: str | int) -> None:
        """Writes and waits for the disk, for this and for everything before it."""
        self._database.execute("PRAGMA synchronous = FULL")
        with self._changing() as run:
            run(statement, values)
        self._database.execute("PRAGMA synchronous = NORMAL")

    @contextmanager
    def _changing(self) -> Iterator[Callable[..., object]]:
        """One change, whole or not at all."""
        run = self._database.execute
        try:
            run("BEGIN IMMEDIATE")
            yield run
            run("COMMIT")
        except sqlite3.Error as error:
            if self._database.in_transaction:
                run("ROLLBACK")
            raise OSError(f"resume_file: {self._path} cannot be written: {error}") from error

    def _begin(self) -> None:
        run = self._database.execute
        run("PRAGMA locking_mode = EXCLUSIVE")
        (mark,) = run("PRAGMA application_id").fetchone()
        (tables,) = run("SELECT count(*) FROM sqlite_master").fetchone()
        if mark != _MARK and (mark or tables):
            raise sqlite3.DatabaseError("another program's database")
        run("PRAGMA journal_mode = WAL")
        run("PRAGMA synchronous = NORMAL")
        run(f"PRAGMA application_id = {_MARK}")
        self._database.executescript(_TABLES)
        os.chmod(self._path, 0o600)  # inputs may be private

    def _read_token(self) -> ResumeToken | None:
        row = self._database.execute(
            "SELECT session_id, incarnation, last_received_step, client_id FROM token"
        ).fetchone()
        return None if row is None else ResumeToken(*row)

    def _read_inputs(self) -> Sequence[Message]:
        """The inputs that follow the token, in order and without a gap."""
        if self.token is None:
            return ()
        held: list[Message] = []
        following = self.token.last_received_step + 1
        for step, data, input_hash in self._database.execute("SELECT * FROM inputs ORDER BY step"):
            request = StreamStep.FromString(data)
            if step != following:
                break
            held.append(Message(step, request.step_count, request.inputs, request.outputs, input_hash))
            following = held[-1].last_step + 1
        return held
