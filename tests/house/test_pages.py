"""README and docs point to things that exist."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "models").rglob("*.md")])
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


def anchors(page: Path) -> set[str]:
    """The anchors that a hosting site makes of a page's headings."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_link_leads_somewhere(page: Path) -> None:
    local = [link for link in LINK.findall(page.read_text()) if "://" not in link and not link.startswith("mailto:")]

    for link in local:
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{page.relative_to(ROOT)}: {link} does not exist"
        if anchor:
            assert anchor in anchors(target), f"{page.relative_to(ROOT)}: no heading for {link}"


def test_every_target_named_in_a_page_is_in_the_makefile() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.M))

    for page in PAGES:
        for target in re.findall(r"`make ([a-z]+)", page.read_text()):
            assert target in targets, f"{page.relative_to(ROOT)}: make {target}"


def test_every_decision_is_listed() -> None:
    decisions = sorted(path.name for path in (ROOT / "docs" / "decisions").glob("[0-9]*.md"))

    index = (ROOT / "docs" / "design.md").read_text()

    assert decisions
    assert all(f"decisions/{name}" in index for name in decisions)


def test_every_test_named_as_the_guard_of_a_promise_exists() -> None:
    page = (ROOT / "docs" / "promises.md").read_text()
    tests = {
        name for path in (ROOT / "tests").rglob("test_*.py") for name in re.findall(r"def (test_\w+)", path.read_text())
    }

    missing = set(re.findall(r"`(test_\w+)`", page)) - tests

    assert page.count("*Guards.*") == 8
    assert not missing


def test_what_users_are_told_is_as_of_now() -> None:
    """A limit that is told as one of today is forgotten on the day it falls."""
    limits = (ROOT / "README.md").read_text().partition("## Honest limits")[2].partition("\n## ")[0]
    security = (ROOT / "SECURITY.md").read_text()

    assert "CPU" in limits
    assert not re.findall(r"\b(?:yet|at the moment|currently|for now|so far)\b", limits + security, re.I)


def test_the_limits_deny_nothing_that_the_contract_has() -> None:
    limits = (ROOT / "README.md").read_text().partition("## Honest limits")[2].partition("\n## ")[0].lower()
    contract = "".join(path.read_text() for path in (ROOT / "proto" / "tapehead" / "v1").glob("*.proto"))
    able = {
        verb.lower() for verb in re.findall(r"rpc (Export|Import|Fork|Rewind|Load|Unload|Read|List|Delete)", contract)
    }

    assert len(able) == 9
    for verb in able:
        assert not re.search(rf"\b(?:cannot|not|no)\b[^.;,]*\b{verb}", limits), verb


def test_the_limits_deny_no_setting_of_security() -> None:
    """Tokens, certificates and TLS are settings; a page that says there are none was forgotten."""
    settings = (ROOT / "service" / "settings.py").read_text()
    pages = "".join((ROOT / name).read_text() for name in ("README.md", "SECURITY.md"))

    assert all(f"    {name}:" in settings for name in ("tokens", "tls_certificate", "tls_client_ca"))
    assert not re.search(r"\bno (?:authentication|encryption|tokens|TLS)\b", pages, re.I)
