"""docs/published_failures.md names tests that exist, and every test of a published failure is named there."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[3]
LISTING = (ROOT / "docs/published_failures.md").read_text()
ROWS = dict(re.findall(r"^\| (\d+) \| .* \| (.*) \|$", LISTING, flags=re.MULTILINE))


def test_no_row_is_left_out() -> None:
    assert [int(number) for number in ROWS] == list(range(1, 27))


def test_every_test_is_named_in_its_row_and_every_name_is_a_test() -> None:
    source = (ROOT / "tests/unit/failures/test_published_failures.py").read_text()
    tests = set(re.findall(r"^async def (test_\d\d_\w+)", source, flags=re.MULTILINE))
    named = {name for row in ROWS.values() for name in re.findall(r"`(test_\d\d_\w+)`", row)}
    assert named == tests
    assert all(name in ROWS[str(int(name[5:7]))] for name in tests)


def test_every_file_that_is_named_is_there() -> None:
    files = {path for row in ROWS.values() for path in re.findall(r"`((?:tests|player)/[\w/.]+)`", row)}
    assert files and all((ROOT / path).is_file() for path in files)
