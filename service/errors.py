"""What can go wrong, in the words of the domain.

An error knows no transport: it carries facts under stable names, and `api/status.py` alone chooses status codes and
reasons. Its text may improve freely; class and fact names are what programs see.
"""

from __future__ import annotations


class TapeheadError(Exception):
    """Base of every error that a caller can act on.

    `facts` holds what the message says, as strings under stable keys. `told` is what callers read: the message, unless
    that says things of the server's own, such as addresses and files, which are for its log alone.
    """

    def __init__(self, message: str, **facts: object) -> None:
        super().__init__(message)
        self.message = message
        self.told = message
        self.facts = {name: str(value) for name, value in facts.items()}


class RetryLater(TapeheadError):
    """Base of the errors that pass by themselves; `retry_after` is in seconds."""

    def __init__(self, message: str, *, retry_after: float, **facts: object) -> None:
        super().__init__(message, **facts)
        self.retry_after = retry_after


# --- what the caller sent is not valid, and never will be -------------------------------------------------------------


class InvalidInput(TapeheadError):
    """Base of the errors about the content of a message."""


class InvalidField(InvalidInput):
    """A field is missing, unknown or outside its range."""

    def __init__(self, field: str, expected: str, got: object) -> None:
        super().__init__(f"{field}: expected {expected}, got {got!s:.200}", field=field, expected=expected, got=got)


class ShapeMismatch(InvalidInput):
    """A tensor has another shape, or another number of bytes, than the model takes."""

    def __init__(self, tensor: str, expected: str, got: object) -> None:
        super().__init__(
            f"tensor '{tensor}': expected shape {expected}, got {got}", tensor=tensor, expected=expected, got=got
        )


class DtypeMismatch(InvalidInput):
    """A tensor has another element type than the model takes."""

    def __init__(self, tensor: str, expected: str, got: str) -> None:
        super().__init__(
            f"tensor '{tensor}': expected dtype {expected}, got {got}", tensor=tensor, expected=expected, got=got
        )


class NonFiniteInput(InvalidInput):
    """A tensor holds NaN or an infinity."""

    def __init__(self, tensor: str, index: tuple[int, ...], got: float) -> None:
        super().__init__(
            f"tensor '{tensor}': expected finite numbers, got {got} at index {list(index)}",
            tensor=tensor,
            index=list(index),
            got=got,
        )


class TooLong(InvalidInput):
    """Something exceeds a limit that no retry will move."""

    def __init__(self, what: str, limit: int, got: int) -> None:
        super().__init__(f"{what}: the limit is {limit}, got {got}", what=what, limit=limit, got=got)


class UnknownWord(InvalidInput):
    """A text has a word that the model does not know, and the model refuses such words."""

    def __init__(self, word: str, nearest: tuple[str, ...]) -> None:
        hint = f"; nearest known: {', '.join(nearest)}" if nearest else ""
        super().__init__(f"the model does not know the word '{word}'{hint}", word=word, nearest=", ".join(nearest))


class MalformedMessage(InvalidInput):
    """A message could not be read, or came where the protocol does not allow it."""

    def __init__(self, what: str) -> None:
        super().__init__(what)


class InvalidPageToken(InvalidInput):
    """A page token that this server did not give, or gave for another list."""

    def __init__(self) -> None:
        super().__init__("page_token: expected the next_page_token of an earlier page of the same list")


# --- what was named does not exist, or is another ---------------------------------------------------------------------


class SessionNotFound(TapeheadError):
    """The caller has no such session."""

    def __init__(self, session_id: str) -> None:
        super().__init__(f"there is no session '{session_id}'", session_id=session_id)


class SessionExpired(TapeheadError):
    """The session was not used for longer than its time to live."""

    def __init__(self, session_id: str) -> None:
        super().__init__(f"the session '{session_id}' expired", session_id=session_id)


class ModelNotFound(TapeheadError):
    """The server does not serve this model, or not in this version."""

    def __init__(self, model_id: str, version: int = 0) -> None:
        what = f"model '{model_id}'" + (f" in version {version}" if version else "")
        super().__init__(f"there is no {what}", model_id=model_id, version=version)


class SessionExists(TapeheadError):
    """The id is taken by a session with other content."""

    def __init__(self, session_id: str) -> None:
        super().__init__(f"the session '{session_id}' exists already, with other content", session_id=session_id)


class ModelMismatch(TapeheadError):
    """The session was made with another model or version."""

    def __init__(self, session_id: str, expected: str, got: str) -> None:
        super().__init__(
            f"the session '{session_id}' talks to model {expected}, not {got}",
            session_id=session_id,
            expected=expected,
            got=got,
        )


class FingerprintMismatch(TapeheadError):
    """The session's last commit was made under another compute fingerprint, and the caller asked to be strict."""

    def __init__(self, session_id: str, expected: str, got: str) -> None:
        super().__init__(
            f"the session '{session_id}' was last stepped under another compute fingerprint: {expected}, not {got}",
            session_id=session_id,
            expected=expected,
            got=got,
        )


class SessionReplaced(TapeheadError):
    """The id now belongs to another incarnation than the one named."""

    def __init__(self, session_id: str) -> None:
        super().__init__(
            f"the session '{session_id}' was deleted and created again; the incarnation named is gone",
            session_id=session_id,
        )


# --- the step table ---------------------------------------------------------------------------------------------------


class StepPayloadMismatch(TapeheadError):
    """The number belongs to a step with another input, first number or count."""

    def __init__(self, step: int, first_step: int, step_count: int) -> None:
        super().__init__(
            f"step {step} was sent before with another input, first number or count: "
            f"it belongs to the {step_count} step(s) from {first_step}",
            step=step,
            first_step=first_step,
            step_count=step_count,
        )


class StepGap(TapeheadError):
    """The step is ahead of the next one."""

    def __init__(self, step: int, expected_step: int) -> None:
        super().__init__(
            f"step {step} is ahead of the next one, {expected_step}", step=step, expected_step=expected_step
        )


class AnswerReleased(TapeheadError):
    """The step was committed, but its answer is no longer kept."""

    def __init__(self, step: int, committed_step: int, oldest_kept_answer: int) -> None:
        super().__init__(
            f"the answer of step {step} is no longer kept; the oldest that is belongs to step {oldest_kept_answer}",
            step=step,
            committed_step=committed_step,
            oldest_kept_answer=oldest_kept_answer,
        )


class StepNotKept(TapeheadError):
    """The state of that step is not there any more, or not yet."""

    def __init__(self, session_id: str, step: int, kept_steps: tuple[int, ...]) -> None:
        kept = ", ".join(map(str, kept_steps[:64]))
        super().__init__(
            f"the state of step {step} of the session '{session_id}' is not kept; those that are: {kept}",
            session_id=session_id,
            step=step,
            kept_steps=kept,
        )


class OverCapacity(RetryLater):
    """A bound is reached for the moment."""

    def __init__(self, what: str, limit: int, *, retry_after: float) -> None:
        super().__init__(
            f"{what}: the limit of {limit} is reached; try again later", retry_after=retry_after, what=what, limit=limit
        )


class QuotaExceeded(RetryLater):
    """The owner has, or waits for, as much as it may; what it ends or finishes makes room."""

    def __init__(self, what: str, limit: int, *, retry_after: float) -> None:
        super().__init__(
            f"{what}: the owner's quota of {limit} is reached", retry_after=retry_after, what=what, limit=limit
        )


# --- callers ----------------------------------------------------------------------------------------------------------


class TokenInvalid(TapeheadError):
    """The caller has not said who it is, or nobody is known by what it said. `got` never says the token."""

    def __init__(self, got: str) -> None:
        super().__init__(f"expected a known token in the metadata 'authorization: Bearer TOKEN', got {got}", got=got)


class RoleRequired(TapeheadError):
    """The caller's role does not allow this."""

    def __init__(self, role: str, what: str) -> None:
        super().__init__(f"{what} is for the role '{role}' alone", role=role, what=what)


# --- writers ----------------------------------------------------------------------------------------------------------


class SessionTakenOver(TapeheadError):
    """A newer open, or another writer, owns the session now."""

    def __init__(self, session_id: str, *, same_client: bool) -> None:
        super().__init__(
            f"the session '{session_id}' was taken over by a newer writer",
            session_id=session_id,
            same_client=str(same_client).lower(),
        )
        self.same_client = same_client


class StateConflict(TapeheadError):
    """The session moved on twice while this step was tried."""

    def __init__(self, session_id: str) -> None:
        super().__init__(
            f"the session '{session_id}' was advanced by others while this step was tried; ask for its committed step",
            session_id=session_id,
        )


class OutcomeUnknown(TapeheadError):
    """The commit began and its outcome is not known; sending the same number again settles it.

    `cause` is "deadline", "cancelled" or "store". What was sent without a number is not settled by sending it again.
    """

    def __init__(self, session_id: str, step: int, cause: str, *, numbered: bool = True) -> None:
        advice = "sending it again settles it"
        if not numbered:
            advice = f"sent again without a number it might be applied twice: send it with expected_step {step}"
        super().__init__(
            f"whether step {step} of the session '{session_id}' was committed is not known ({cause}); {advice}",
            session_id=session_id,
            step=step,
            cause=cause,
        )
        self.cause = cause


class DeadlineExceeded(TapeheadError):
    """The caller's time was up before the step's commit began; nothing was changed."""

    def __init__(self, session_id: str, step: int) -> None:
        super().__init__(
            f"the deadline passed before step {step} of the session '{session_id}' was run; nothing changed",
            session_id=session_id,
            step=step,
        )


# --- the server's own state -------------------------------------------------------------------------------------------


class StoreFull(RetryLater):
    """The store takes no more writes; deletes still work."""

    def __init__(self, what: str) -> None:
        super().__init__(f"the store is full: {what}", retry_after=5.0)
        self.told = "the store is full; deleting sessions makes room"


class Draining(RetryLater):
    """The server is about to stop."""

    def __init__(self) -> None:
        super().__init__("the server is draining; another one, or this one after its restart, goes on", retry_after=0.5)


class StoreUnavailable(RetryLater):
    """The store cannot be reached or failed."""

    def __init__(self, what: str) -> None:
        super().__init__(f"the store is not available: {what}", retry_after=0.5)
        self.told = "the store is not available; the server's log says why"


class StateCorrupt(TapeheadError):
    """A stored record is damaged; it is never served."""

    def __init__(self, what: str) -> None:
        super().__init__(f"a stored record is damaged: {what}")


class StateRegressed(TapeheadError):
    """The store knows less than the caller has seen: it went back in time."""

    def __init__(self, session_id: str, committed_step: int, seen_step: int) -> None:
        super().__init__(
            f"the session '{session_id}' is at step {committed_step}, but the caller has seen step {seen_step}: "
            "the store went back in time",
            session_id=session_id,
            committed_step=committed_step,
            seen_step=seen_step,
        )


class NotSupported(TapeheadError):
    """The model, or this server, does not do this."""

    def __init__(self, what: str) -> None:
        super().__init__(what)


class ModelNonFinite(TapeheadError):
    """The model produced NaN or an infinity; the session is as it was before the step."""

    def __init__(self, tensor: str, step: int) -> None:
        super().__init__(
            f"the model produced a number that is not finite in '{tensor}' at step {step}; the session is unchanged "
            f"(a manifest may allow it: non_finite of '{tensor}')",
            tensor=tensor,
            step=step,
        )


class ModelFailed(TapeheadError):
    """The runtime failed on this step alone; the session is as it was before the step."""

    def __init__(self, model_id: str, step: int) -> None:
        super().__init__(f"the model '{model_id}' failed at step {step}; the session is unchanged", step=step)
