"""Who calls, by token and by certificate, and what a tokens file may say."""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path

import pytest

from service.errors import RoleRequired, TokenInvalid
from service.sessions.owners import NOBODY, Caller, InvalidTokens, Owners, Quota, Role, parse_tokens

ADA, BOB = "ada-token-0123456789", "bob-token-0123456789"


def file(folder: Path, *lines: str) -> Path:
    path = folder / "tokens"
    path.with_suffix(".new").write_text("\n".join(lines) + "\n")
    path.with_suffix(".new").replace(path)
    return path


def who(owners: Owners, token: str) -> tuple[str, Role]:
    caller = owners.by_token(token)
    return caller.owner, caller.role


def test_a_token_names_its_owner_and_role(tmp_path: Path) -> None:
    digest = hashlib.sha256(BOB.encode()).hexdigest()
    owners = Owners(file(tmp_path, "# who", f"{ADA} ada client # a person", "", f"sha256:{digest} bob operator"))

    assert who(owners, ADA) == ("ada", Role.CLIENT)
    assert who(owners, BOB) == ("bob", Role.OPERATOR)


@pytest.mark.parametrize("token", ["", ADA[:-1], ADA + " ", ADA.upper(), "sha256:" + "0" * 64, "cert:ada", "\udcff"])
def test_any_other_token_is_unknown(tmp_path: Path, token: str) -> None:
    owners = Owners(file(tmp_path, f"{ADA} ada client", "cert:ada ada operator"), certificates=True)

    with pytest.raises(TokenInvalid) as raised:
        owners.by_token(token)

    assert ADA not in raised.value.message + str(raised.value.facts)
    assert not token or token not in str(raised.value.facts)


def test_the_hash_of_a_token_is_no_token(tmp_path: Path) -> None:
    """Whoever reads the file of hashes cannot call with them."""
    digest = hashlib.sha256(ADA.encode()).hexdigest()
    owners = Owners(file(tmp_path, f"sha256:{digest} ada client"))

    for stolen in (digest, f"sha256:{digest}"):
        with pytest.raises(TokenInvalid):
            owners.by_token(stolen)


def test_an_owner_may_have_several_tokens(tmp_path: Path) -> None:
    owners = Owners(file(tmp_path, f"{ADA} ada client", f"{BOB} ada operator"))

    assert who(owners, ADA) == ("ada", Role.CLIENT)
    assert who(owners, BOB) == ("ada", Role.OPERATOR)


def test_a_changed_file_is_read_again_and_old_tokens_end(tmp_path: Path) -> None:
    owners = Owners(file(tmp_path, f"{ADA} ada client"))
    old = owners.by_token(ADA)
    assert not owners.refresh()

    file(tmp_path, f"{ADA} ada client", f"{BOB} ada client")
    assert owners.refresh()
    assert owners.is_current(old)
    file(tmp_path, f"{BOB} ada client")
    assert owners.refresh()

    assert not owners.is_current(old)
    assert owners.is_current(owners.by_token(BOB))
    with pytest.raises(TokenInvalid):
        owners.by_token(ADA)


def test_a_changed_role_ends_what_was_begun_under_the_other(tmp_path: Path) -> None:
    owners = Owners(file(tmp_path, f"{ADA} ada operator"))
    old = owners.by_token(ADA)
    file(tmp_path, f"{ADA} ada client")

    assert owners.refresh()
    assert not owners.is_current(old)


def test_a_file_that_cannot_be_used_changes_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    owners = Owners(file(tmp_path, f"{ADA} ada client"))

    with caplog.at_level(logging.ERROR):
        file(tmp_path, f"{BOB} bob client", "a secret line that is wrong in many words")
        assert not owners.refresh()
        (tmp_path / "tokens").unlink()
        assert not owners.refresh()
        assert not owners.refresh()

    assert who(owners, ADA) == ("ada", Role.CLIENT)
    assert len(caplog.records) == 2
    assert "secret" not in caplog.text
    assert BOB not in caplog.text


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (ADA, "TOKEN OWNER ROLE"),
        (f"{ADA} ada admin", "client or operator"),
        ("short ada client", "at least 16 characters, got 5"),
        (f"{ADA} a,b client", "an owner of 1 to 64"),
        (f"{ADA} {'a' * 65} client", "an owner of 1 to 64"),
        ("sha256:abc ada client", "64 hexadecimal digits"),
        ("cert: ada client", "the name of a certificate"),
        ("quota ada", "quota OWNER and one or more"),
        ("quota ada tables=3", "sessions, state-bytes, streams, waiting-steps"),
        ("quota ada sessions=3 sessions=4", "once at most"),
        ("quota ada sessions=-1", "NAME=NUMBER"),
        (f"{BOB} eve client", "is named above"),
        ("quota bob sessions=2", "has a quota above"),
    ],
)
def test_a_wrong_line_is_named_without_its_secret(line: str, expected: str) -> None:
    lines = [f"{BOB} bob client", "quota bob sessions=1", line]

    with pytest.raises(InvalidTokens) as raised:
        parse_tokens(lines, "tokens")

    assert "tokens, line 3: " in str(raised.value)
    assert expected in str(raised.value)
    assert ADA not in str(raised.value)
    assert BOB not in str(raised.value)


def test_a_certificate_is_a_client_of_its_name_unless_the_file_says_otherwise(tmp_path: Path) -> None:
    owners = Owners(file(tmp_path, "cert:ops.example.org ops operator"), certificates=True)

    assert owners.by_certificate("ada@example.org") == Caller("ada@example.org", Role.CLIENT, "cert:ada@example.org")
    ops = owners.by_certificate("ops.example.org")
    assert (ops.owner, ops.role) == ("ops", Role.OPERATOR)
    file(tmp_path, "# nobody")
    assert owners.refresh()
    assert not owners.is_current(ops)
    assert owners.is_current(Caller("ada@example.org", Role.CLIENT, "cert:ada@example.org"))


@pytest.mark.parametrize("name", ["", "a b", "a\0b", "x" * 65])
def test_a_certificate_whose_name_cannot_be_an_owners_is_refused(name: str) -> None:
    with pytest.raises(TokenInvalid):
        Owners(certificates=True).by_certificate(name)


def test_without_certificates_none_is_believed(tmp_path: Path) -> None:
    with pytest.raises(TokenInvalid):
        Owners(file(tmp_path, "cert:ada ada client")).by_certificate("ada")


def test_quotas_are_the_files_or_else_the_servers(tmp_path: Path) -> None:
    default = Quota(sessions=5, streams=2)
    owners = Owners(file(tmp_path, "quota ada streams=9 state-bytes=100"), default=default)

    assert owners.quota_of("ada") == Quota(sessions=5, state_bytes=100, streams=9)
    assert owners.quota_of("bob") == default


def test_where_nobody_is_asked_everybody_may_do_everything() -> None:
    NOBODY.require(Role.OPERATOR, "anything")
    assert not Owners().asks
    assert Owners().is_current(NOBODY)


def test_a_client_may_not_do_what_an_operator_may() -> None:
    with pytest.raises(RoleRequired) as raised:
        Caller("ada", Role.CLIENT).require(Role.OPERATOR, "listing")

    assert raised.value.facts == {"role": "operator", "what": "listing"}
