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


def test_every_test_elsewhere_that_is_named_is_there() -> None:
    named = {
        found for row in ROWS.values() for found in re.findall(r"`((?:tests|player)/[\w/.]+)(?:::(test_\w+))?`", row)
    }
    assert named and all((ROOT / path).is_file() for path, _ in named)
    assert all(f"def {name}(" in (ROOT / path).read_text() for path, name in named if name)


def test_every_row_names_a_test() -> None:
    assert [number for number, row in ROWS.items() if not re.search(r"\btest_\w+`|\.test\.ts`", row)] == []
