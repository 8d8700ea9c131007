"""Who calls: a token or a certificate -> owner and role; and how much an owner may take.

Where neither tokens nor certificates are asked for, everybody is the same owner, whose name is empty.

The tokens file has one line each, in words that are separated by spaces; # begins a comment:

    TOKEN        OWNER client|operator     a token of at least 16 characters
    sha256:HEX   OWNER client|operator     the same, by its hash
    cert:NAME    OWNER client|operator     whoever shows a client certificate with this name
    quota        OWNER sessions=N state-bytes=N streams=N waiting-steps=N      each may be left out; 0 is no bound
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import os
import re
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from enum import Enum
from pathlib import Path

from ..errors import RoleRequired, TokenInvalid

SHORTEST_TOKEN = 16  # characters; what can be guessed is no secret
_OWNER = re.compile(r"[A-Za-z0-9._@:/+-]{1,64}")
_HASH = re.compile(r"sha256:([0-9a-fA-F]{64})")
_COMMENT = re.compile(r"(?:^|\s)#")
_NUMBER = re.compile(r"[0-9]{1,18}")

_log = logging.getLogger("tapehead.owners")


class Role(Enum):
    """What a caller may do besides using the owner's own sessions."""

    CLIENT = "client"  # nothing
    OPERATOR = "operator"  # what concerns the server as a whole


@dataclass(frozen=True, slots=True)
class Quota:
    """The most that an owner may have at once; 0 is no bound."""

    sessions: int = 0
    state_bytes: int = 0  # of all states, with those that its sessions may keep
    streams: int = 0
    waiting_steps: int = 0


@dataclass(frozen=True, slots=True)
class Caller:
    """Somebody who was recognised."""

    owner: str
    role: Role
    credential: str = field(default="", repr=False)  # how: "cert:" and a name, or "sha256:" and a token's hash

    def require(self, role: Role, what: str) -> None:
        """Raises RoleRequired, which names `what` it is needed for."""
        if role is Role.OPERATOR and self.role is not Role.OPERATOR:
            raise RoleRequired(role.value, what)


NOBODY = Caller("", Role.OPERATOR)
"""Whoever calls a server that asks nobody."""


class InvalidTokens(ValueError):
    """The tokens file cannot be used; the message names the file, the line and what was expected, and no token."""


@dataclass(frozen=True, slots=True)
class Registry:
    """What a tokens file says."""

    callers: Mapping[str, Caller] = field(default_factory=dict)  # by credential
    quotas: Mapping[str, Mapping[str, int]] = field(default_factory=dict)  # by owner, then by name of the bound


def parse_tokens(lines: Iterable[str], name: str) -> Registry:
    """Reads the lines of a tokens file. Raises InvalidTokens."""
    callers: dict[str, Caller] = {}
    quotas: dict[str, Mapping[str, int]] = {}
    for number, line in enumerate(lines, start=1):
        words = _COMMENT.split(line)[0].split()
        where = f"{name}, line {number}"
        if not words:
            continue
        if words[0] == "quota":
            owner, bounds = _quota(words, where)
            if owner in quotas:
                raise InvalidTokens(f"{where}: the owner '{owner}' has a quota above")
            quotas[owner] = bounds
            continue
        caller = _caller(words, where)
        if caller.credential in callers:
            raise InvalidTokens(f"{where}: the same token, or certificate, is named above")
        callers[caller.credential] = caller
    return Registry(callers, quotas)


def read_tokens(path: Path) -> Registry:
    """Reads a tokens file. Raises InvalidTokens, also where it cannot be read."""
    try:
        return parse_tokens(path.read_text(encoding="utf-8").splitlines(), str(path))
    except OSError as error:
        raise InvalidTokens(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise InvalidTokens(f"{path}: expected text in UTF-8") from None


class Owners:
    """Recognises callers, by the tokens file as it was last read."""

    def __init__(self, tokens: Path | None = None, *, certificates: bool = False, default: Quota | None = None) -> None:
        """`certificates`: whether connections come with client certificates that were verified.

        Raises InvalidTokens.
        """
        self.asks = tokens is not None or certificates
        self._path = tokens
        self._certificates = certificates
        self._default = default or Quota()
        self._blind = secrets.token_bytes(32)
        self._seen = _stamp(tokens)
        self._take(read_tokens(tokens) if tokens else Registry())

    def by_token(self, token: str) -> Caller:
        """Raises TokenInvalid. The time that it takes says nothing about any token."""
        caller = self._blinded.get(self._blinded_of(_credential_of(token)))
        if caller is None:
            raise TokenInvalid("an unknown one")
        return caller

    def by_certificate(self, name: str) -> Caller:
        """Who shows a verified certificate with this name: whom the tokens file says, or else a client of that name."""
        if not self._certificates:
            raise TokenInvalid("none")
        credential = f"cert:{name}"
        known = self._registry.callers.get(credential)
        if known is not None:
            return known
        if not _OWNER.fullmatch(name):
            raise TokenInvalid("a certificate whose name cannot be an owner's")
        return Caller(name, Role.CLIENT, credential)

    def is_current(self, caller: Caller) -> bool:
        """Whether the caller would be recognised now as it was then."""
        if not self.asks:
            return True
        known = self._registry.callers.get(caller.credential)
        if known is not None or not caller.credential.startswith("cert:"):
            return known == caller
        return caller.role is Role.CLIENT and caller.credential == f"cert:{caller.owner}"

    def quota_of(self, owner: str) -> Quota:
        return self._quotas.get(owner, self._default)

    def refresh(self) -> bool:
        """Reads the tokens file again if it has changed; tells whether it did. One that cannot be used is passed over:
        what was known before stays, and the log says so once."""
        if self._path is None or (stamp := _stamp(self._path)) == self._seen:
            return False
        self._seen = stamp
        try:
            registry = read_tokens(self._path)
        except InvalidTokens as error:
            _log.error("the tokens stay as they were: %s", error)
            return False
        self._take(registry)
        _log.info("read %d tokens and certificates from %s", len(registry.callers), self._path)
        return True

    def _take(self, registry: Registry) -> None:
        self._registry = registry
        self._blinded = {self._blinded_of(credential): caller for credential, caller in registry.callers.items()}
        self._quotas = {owner: replace(self._default, **bounds) for owner, bounds in registry.quotas.items()}

    def _blinded_of(self, credential: str) -> bytes:
        """A table is searched by what no caller can foresee: how long that takes tells nothing of what is in it."""
        return hmac.digest(self._blind, credential.encode(), "sha256")


def _caller(words: list[str], where: str) -> Caller:
    if len(words) != 3:
        raise InvalidTokens(f"{where}: expected TOKEN OWNER ROLE, or quota OWNER ..., got {len(words)} words")
    secret, owner, role = words
    _check_owner(owner, where)
    if role not in (Role.CLIENT.value, Role.OPERATOR.value):
        raise InvalidTokens(f"{where}: expected the role client or operator, got '{role}'")
    if secret.startswith("cert:"):
        if secret == "cert:":
            raise InvalidTokens(f"{where}: expected the name of a certificate after cert:")
        return Caller(owner, Role(role), secret)
    if secret.startswith("sha256:"):
        found = _HASH.fullmatch(secret)
        if found is None:
            raise InvalidTokens(f"{where}: expected 64 hexadecimal digits after sha256:")
        return Caller(owner, Role(role), f"sha256:{found[1].lower()}")
    if len(secret) < SHORTEST_TOKEN:
        raise InvalidTokens(f"{where}: expected a token of at least {SHORTEST_TOKEN} characters, got {len(secret)}")
    return Caller(owner, Role(role), _credential_of(secret))


def _quota(words: list[str], where: str) -> tuple[str, Mapping[str, int]]:
    names = {bound.name.replace("_", "-"): bound.name for bound in fields(Quota)}
    if len(words) < 3:
        raise InvalidTokens(f"{where}: expected quota OWNER and one or more of {', '.join(names)}, as NAME=NUMBER")
    _check_owner(words[1], where)
    bounds: dict[str, int] = {}
    for word in words[2:]:
        name, _, value = word.partition("=")
        if name not in names or names[name] in bounds or not _NUMBER.fullmatch(value):
            raise InvalidTokens(f"{where}: expected each of {', '.join(names)} once at most, as NAME=NUMBER")
        bounds[names[name]] = int(value)
    return words[1], bounds


def _check_owner(owner: str, where: str) -> None:
    if not _OWNER.fullmatch(owner):
        raise InvalidTokens(f"{where}: expected an owner of 1 to 64 characters of A-Z a-z 0-9 . _ @ : / + -")


def _credential_of(token: str) -> str:
    return "sha256:" + hashlib.sha256(token.encode(errors="replace")).hexdigest()


def _stamp(path: Path | None) -> tuple[int, int, int] | None:
    """What changes when a file is written or replaced; None where there is none."""
    if path is None:
        return None
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns
