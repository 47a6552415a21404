"""The users file: what is read, told, watched and written."""

from __future__ import annotations

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pgproxy.auth.stored import is_password, parse_stored
from pgproxy.auth.users_file import UsersFile, UsersFileErrors, mode_warning, read_users, write_user
from pgproxy.wire.auth import md5_secret
from pgproxy.wire.scram import make_verifier

ALICE, BOB = make_verifier("alice's"), make_verifier("bob's")
MD5 = md5_secret("carol", b"carol's")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "users.txt"
    path.write_text(f'# people\n\n"alice" "{ALICE}"\n; and others\n  "bo""b"\t"{BOB}"  \n"carol" "{MD5}"\n')
    return path


def test_reading(path: Path) -> None:
    assert read_users(path) == {"alice": ALICE, 'bo"b': BOB, "carol": MD5}


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("alice", 'must be "user" "verifier"'),
        (f'alice "{ALICE}"', 'must be "user" "verifier"'),
        (f'"" "{ALICE}"', 'must be "user" "verifier"'),
        (f'"x" "{ALICE}" "y"', 'must be "user" "verifier"'),
        ('"x" "hunter2"', 'stored for "x" is no SCRAM verifier'),
        ('"x" ""', 'stored for "x" is no SCRAM verifier'),
        ('"x" "md5DEAD"', 'stored for "x" is no SCRAM verifier'),
        (f'"alice" "{BOB}"', '"alice" is there twice'),
    ],
)
def test_every_problem_is_told_with_its_line_and_without_what_is_stored(line: str, problem: str, path: Path) -> None:
    path.write_text(f"{path.read_text()}{line}\nnonsense\n")
    with pytest.raises(UsersFileErrors) as wrong:
        read_users(path)
    first, second = wrong.value.problems
    assert first.startswith(f"{path}:7: ")
    assert problem in first
    assert "hunter2" not in first
    assert second.startswith(f"{path}:8: ")


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(UsersFileErrors, match="No such file"):
        read_users(tmp_path / "none")
    (tmp_path / "latin").write_bytes(b'"\xe4" "x"\n')
    with pytest.raises(UsersFileErrors, match="not UTF-8"):
        read_users(tmp_path / "latin")


def test_writing_changes_one_line(path: Path) -> None:
    assert write_user(path, 'bo"b', ALICE)
    assert read_users(path) == {"alice": ALICE, 'bo"b': ALICE, "carol": MD5}
    assert path.read_text().splitlines()[:2] == ["# people", ""]
    assert not write_user(path, "dave", BOB)
    assert not write_user(path.with_name("new.txt"), "dave", BOB)
    assert stat.S_IMODE(path.with_name("new.txt").stat().st_mode) == 0o600
    path.with_name("new.txt").unlink()
    assert write_user(path, "alice", None)
    assert read_users(path) == {'bo"b': ALICE, "carol": MD5, "dave": BOB}
    assert not stat.S_IMODE(path.stat().st_mode) & 0o007
    assert [each.name for each in path.parent.iterdir()] == ["users.txt"]


def test_nobody_is_lost_when_many_write_at_once(path: Path) -> None:
    stored = parse_stored(md5_secret("someone", b"secret"))
    users = [f"user {number}" for number in range(40)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda user: write_user(path, user, stored), users))
    assert set(users) <= set(read_users(path))


def test_only_line_feeds_end_lines(path: Path) -> None:
    """Whatever else Unicode calls a line's end may stand in a name, and in a comment."""
    path.write_text(f"{path.read_text()}# one\u2028line\n")
    for name in ("with\u2028separator", "with\x0cfeed", "with\x85next"):
        write_user(path, name, BOB)
        assert read_users(path)[name] == BOB
    assert "# one\u2028line\n" in path.read_text()


def test_a_group_may_go_on_reading_and_a_link_stays_one(path: Path) -> None:
    path.chmod(0o644)
    link = path.parent / "link.txt"
    link.symlink_to(path)
    write_user(link, "dave", BOB)
    assert link.is_symlink()
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert "dave" in read_users(path)


def test_a_file_that_all_can_read(path: Path) -> None:
    path.chmod(0o644)
    assert "chmod 600" in (mode_warning(path) or "")
    path.chmod(0o640)  # a group may be there to share it
    assert mode_warning(path) is None


def test_a_file_is_read_again_when_it_has_changed(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    now = 0.0
    file = UsersFile(path, clock=lambda: now)
    write_user(path, "dave", BOB)
    assert file.find("dave") is None, "not looked at more than once a second"
    now = 1.0
    assert file.find("dave") == BOB
    path.write_text("nonsense\n")
    now = 2.0
    assert file.find("dave") == BOB
    assert "is left as it was" in caplog.text
    path.unlink()
    now = 3.0
    assert file.find("dave") == BOB
    write_user(path, "erin", ALICE)
    file.read_again()
    assert (file.find("erin"), file.find("dave")) == (ALICE, None)


def test_cleartext_passwords() -> None:
    assert is_password(ALICE, "alice", b"alice's")
    assert not is_password(ALICE, "alice", b"bob's")
    assert is_password(MD5, "carol", b"carol's")
    assert not is_password(MD5, "alice", b"carol's")
    assert parse_stored("SCRAM-SHA-256$") is None
