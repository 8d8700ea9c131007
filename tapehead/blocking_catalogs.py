"""What a server has, for blocking programs: each call runs its asynchronous twin of `tapehead.catalogs`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tapehead import catalogs
from tapehead.portal import Portal
from tapehead.results import ModelInfo, SessionInfo, State


class Sessions:
    """The caller's sessions."""

    def __init__(self, portal: Portal, sessions: catalogs.Sessions) -> None:
        self._portal = portal
        self._sessions = sessions

    def list(
        self,
        *,
        model_id: str = "",
        labels: Mapping[str, str] | None = None,
        state: str | None = None,
        all_owners: bool = False,
    ) -> list[SessionInfo]:
        """Every session, or those of a model, with all of these labels, in this state (attached, parked).

        An operator may ask for those of all owners.
        """
        return self._portal.call(
            self._sessions.list(model_id=model_id, labels=labels, state=state, all_owners=all_owners)
        )

    def get(self, session_id: str, *, incarnation: str = "", minimum_step: int = 0) -> SessionInfo:
        """What the store knows of a session; raises StepGap if it has not reached `minimum_step`."""
        return self._portal.call(self._sessions.get(session_id, incarnation=incarnation, minimum_step=minimum_step))

    def find(self, session_id: str) -> SessionInfo | None:
        """The session, or None if there is none."""
        return self._portal.call(self._sessions.find(session_id))

    def delete(self, session_id: str, *, incarnation: str = "") -> int:
        """Deletes a session with its state and answers; returns the last step that it had committed."""
        return self._portal.call(self._sessions.delete(session_id, incarnation=incarnation))

    def read_state(
        self,
        session_id: str,
        *,
        step: int | None = None,
        tensors: Sequence[str] = (),
        incarnation: str = "",
        minimum_step: int = 0,
    ) -> State:
        """The state after the latest step or a kept one: all of it, or the tensors named. Changes nothing.

        Raises StepGap if the session has not reached `minimum_step`.
        """
        return self._portal.call(
            self._sessions.read_state(
                session_id, step=step, tensors=tensors, incarnation=incarnation, minimum_step=minimum_step
            )
        )

    def fork(
        self,
        session_id: str,
        *,
        step: int | None = None,
        new_session_id: str = "",
        labels: Mapping[str, str] | None = None,
        window: int = 0,
        ttl: float | None = None,
        model_version: int = 0,
        incarnation: str = "",
    ) -> SessionInfo:
        """Creates a session that goes on from the latest or a kept step of another, which is not touched.

        `window` is in steps, `ttl` in seconds; both are as the forked session's unless given. With `model_version` the
        new session goes on with that version of the model; raises ModelMismatch, naming the tensor, where it cannot.
        """
        return self._portal.call(
            self._sessions.fork(
                session_id,
                step=step,
                new_session_id=new_session_id,
                labels=labels,
                window=window,
                ttl=ttl,
                model_version=model_version,
                incarnation=incarnation,
            )
        )

    def export(self, session_id: str, *, incarnation: str = "", minimum_step: int = 0) -> bytes:
        """A copy of a session as a file: its numbers, state, kept states and kept answers. The session goes on."""
        return self._portal.call(self._sessions.export(session_id, incarnation=incarnation, minimum_step=minimum_step))

    def import_(
        self,
        data: bytes,
        *,
        session_id: str = "",
        labels: Mapping[str, str] | None = None,
        ttl: float | None = None,
        durability: str | None = None,
        strict_fingerprint: bool = False,
    ) -> SessionInfo:
        """Creates a session that goes on where an exported file ends, with its numbers and answers.

        `labels` and `ttl`, in seconds, are as the file says unless given.
        """
        return self._portal.call(
            self._sessions.import_(
                data,
                session_id=session_id,
                labels=labels,
                ttl=ttl,
                durability=durability,
                strict_fingerprint=strict_fingerprint,
            )
        )

    def rewind(self, session_id: str, step: int, to_step: int, *, incarnation: str = "") -> int:
        """Goes back: step number `step`, the next one, ends in the state after the kept step `to_step`."""
        return self._portal.call(self._sessions.rewind(session_id, step, to_step, incarnation=incarnation))


class Models:
    """The served models."""

    def __init__(self, portal: Portal, models: catalogs.Models) -> None:
        self._portal = portal
        self._models = models

    def list(self) -> list[ModelInfo]:
        return self._portal.call(self._models.list())

    def get(self, model_id: str, version: int = 0) -> ModelInfo:
        """A model with its manifest, in its newest version unless another is named."""
        return self._portal.call(self._models.get(model_id, version))

    def broken(self) -> dict[str, str]:
        """The bundles in the server's folder that cannot be served, as `model/version`, each with the reason."""
        return self._portal.call(self._models.broken())

    def load(self, model_id: str, version: int = 0) -> ModelInfo:
        """Serves what lies in the server's folder of a model. For operators. Raises ModelBroken."""
        return self._portal.call(self._models.load(model_id, version))

    def unload(self, model_id: str, version: int = 0, *, force: bool = False) -> tuple[tuple[int, ...], int]:
        """Serves a version of a model, or all, no longer; returns which, and how many sessions cannot go on.

        For operators. Raises ModelInUse where sessions need it, unless forced.
        """
        return self._portal.call(self._models.unload(model_id, version, force=force))
