"""What can go wrong when models come and go."""

from __future__ import annotations

from ..errors import TapeheadError


class ModelBroken(TapeheadError):
    """A bundle cannot be served; what was served before goes on."""

    def __init__(self, model_id: str, version: int, why: str) -> None:
        which = f"version {version} of the model '{model_id}'" if version else f"the model '{model_id}'"
        super().__init__(f"{which} cannot be served: {why}", model_id=model_id, version=version, why=why)


class ModelInUse(TapeheadError):
    """Sessions still need the model; to unload it all the same has to be asked for."""

    def __init__(self, model_id: str, version: int, sessions: int) -> None:
        super().__init__(
            f"version {version} of the model '{model_id}' is needed by {sessions} session(s), which could not go on "
            "until it is loaded again; `force` unloads it all the same",
            model_id=model_id,
            version=version,
            sessions=sessions,
        )
