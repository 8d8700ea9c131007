"""Where a session stands: what its blocking and its asynchronous form say alike."""

from __future__ import annotations

from tapehead.errors import SessionClosed
from tapehead.results import SessionInfo
from tapehead.resume_token import ResumeToken
from tapehead.streaming import StepStream


class Standing:
    """The facts of a session object, to be read at any time."""

    def __init__(self, steps: StepStream) -> None:
        self.steps = steps

    def __repr__(self) -> str:
        return f"<Session '{self.session_id}' at step {self.steps.log.delivered_step}>"

    @property
    def session_id(self) -> str:
        return self.steps.log.session_id

    @property
    def incarnation(self) -> str:
        return self.steps.log.incarnation

    @property
    def client_id(self) -> str:
        return self.steps.client_id

    @property
    def next_step(self) -> int:
        """The number of the next step."""
        return self.steps.log.next_step

    @property
    def committed_step(self) -> int:
        """The last step that the server is known to have committed."""
        return self.steps.log.committed_step

    @property
    def window(self) -> int:
        """How many steps may be in flight."""
        return self.steps.log.window

    @property
    def durability(self) -> str:
        """What committed steps survive: disk, process or memory."""
        return self.info.durability

    @property
    def fingerprint_changed(self) -> bool:
        """Whether earlier steps were computed under another fingerprint, so that bits may differ from here on."""
        opened = self.steps.latest_open
        return opened is not None and opened.fingerprint_changed

    @property
    def reconnect_count(self) -> int:
        """How often the stream was opened again."""
        return self.steps.reconnect_count

    @property
    def info(self) -> SessionInfo:
        """The session as it was when it was last opened."""
        if self.steps.latest_open is None:
            raise SessionClosed("the session is not open: use it in a `with` block")
        return SessionInfo.from_message(self.steps.latest_open.session)

    @property
    def token(self) -> ResumeToken:
        """From here another process goes on: `client.session(resume=token)`."""
        log = self.steps.log
        return ResumeToken(log.session_id, log.incarnation, log.delivered_step, self.client_id)
