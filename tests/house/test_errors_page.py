"""docs/errors.md is generated from the one table of errors."""

from pathlib import Path

from service.api import status

PAGE = Path(__file__).parents[2] / "docs" / "errors.md"


def test_page_of_errors_is_what_the_table_says() -> None:
    assert PAGE.read_text() == status.page(), "run 'make proto' and commit"
