"""The few facts by which another process goes on where this one stopped."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class ResumeToken:
    """Where a session object stands; `to_dict` gives what JSON can hold.

    `last_received_step` is the last step whose answer the application was given.
    """

    session_id: str
    incarnation: str
    last_received_step: int
    client_id: str

    def to_dict(self) -> dict[str, str | int]:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ResumeToken:
        """The token that `to_dict` was called on; raises ValueError if it cannot be one."""
        try:
            return cls(
                session_id=str(values["session_id"]),
                incarnation=str(values["incarnation"]),
                last_received_step=int(values["last_received_step"]),
                client_id=str(values["client_id"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"expected a resume token with {', '.join(cls.__slots__)}; {error!r}") from None
