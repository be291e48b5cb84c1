from pathlib import Path

import pytest

from playhead.db.migrate import Migration, MigrationError, pending, read_migrations


def migration(version: str, checksum: str = "same") -> Migration:
    return Migration(version=version, name=f"{version}_name.sql", sql="select 1", checksum=checksum)


def test_our_own_files_are_in_order_and_each_runs_in_a_transaction() -> None:
    ours = read_migrations()
    assert [one.version for one in ours] == sorted({one.version for one in ours})
    assert all(one.in_transaction for one in ours)


def test_files_are_read_in_the_order_of_their_versions(tmp_path: Path) -> None:
    for name in ("20270101000000_b.sql", "20261123000100_a.sql"):
        (tmp_path / name).write_text("select 1")
    (tmp_path / "README.md").write_text("not one of them")
    assert [one.name for one in read_migrations(tmp_path)] == ["20261123000100_a.sql", "20270101000000_b.sql"]


@pytest.mark.parametrize("name", ["1_short.sql", "20261123000100.sql", "20261123000100_Upper.sql", "init.sql"])
def test_a_file_of_another_name_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("select 1")
    with pytest.raises(MigrationError, match=name):
        read_migrations(tmp_path)


def test_two_files_of_one_version_are_refused(tmp_path: Path) -> None:
    for name in ("20261123000100_a.sql", "20261123000100_b.sql"):
        (tmp_path / name).write_text("select 1")
    with pytest.raises(MigrationError, match="same version"):
        read_migrations(tmp_path)


def test_line_endings_do_not_count_for_the_checksum(tmp_path: Path) -> None:
    path = tmp_path / "20261123000100_a.sql"
    path.write_bytes(b"select 1;\nselect 2;\n")
    (unix,) = read_migrations(tmp_path)
    path.write_bytes(b"select 1;\r\nselect 2;\r\n")
    assert read_migrations(tmp_path) == [unix]
    path.write_bytes(b"select 1;\nselect 3;\n")
    assert read_migrations(tmp_path)[0].checksum != unix.checksum


def test_only_the_first_line_asks_for_no_transaction(tmp_path: Path) -> None:
    path = tmp_path / "20261123000100_a.sql"
    path.write_text("-- no-transaction\ncreate index concurrently i on t (c)")
    assert not read_migrations(tmp_path)[0].in_transaction
    path.write_text("select 1;\n-- no-transaction\n")
    assert read_migrations(tmp_path)[0].in_transaction


def test_what_is_pending_is_what_the_database_lacks() -> None:
    first, second, third = migration("1"), migration("2"), migration("3")
    assert pending([first, second, third], {}) == [first, second, third]
    assert pending([first, second, third], {"1": "same", "3": "same"}) == [second]
    assert pending([first], {"1": "same"}) == []


def test_an_edited_and_an_unknown_migration_are_refused() -> None:
    with pytest.raises(MigrationError, match=r"1_name\.sql has been edited"):
        pending([migration("1", "edited"), migration("2")], {"1": "same"})
    with pytest.raises(MigrationError, match=r"does not know \(2, 3\)"):
        pending([migration("1")], {"1": "same", "3": "same", "2": "same"})
