"""Which versions are offered follows from one line."""

import pytest

from service.versions import VersionPolicy


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("all", {1, 2, 10}),
        ("latest:1", {10}),
        ("latest:2", {2, 10}),
        ("latest:9", {1, 2, 10}),
        ("all m=1,2", {1, 2}),
        ("latest:1 other=1", {10}),
        ("latest:1 m=7", set()),
    ],
)
def test_a_policy_chooses_among_the_versions_that_there_are(text: str, wanted: set[int]) -> None:
    assert VersionPolicy.parse(text).wanted("m", [1, 2, 10]) == wanted


@pytest.mark.parametrize("text", ["", "latest", "latest:0", "newest:1", "m=1", "all m=", "all m=1,", "all all"])
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected all or latest:N"):
        VersionPolicy.parse(text)
