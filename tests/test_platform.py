"""Process identity, signals and locks, against real processes."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from support.processes import wait_for

from guildlite.platform import (
    FileLock,
    ProcessIdentity,
    boot_token,
    environment_value,
    host_name,
    iter_processes,
    open_regular,
    signal_group,
    signal_name,
    signal_process,
    start_token,
)


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    """A process that sleeps, leader of its own group."""
    process = subprocess.Popen(
        [sys.executable, "-c", "import time; time.sleep(60)"],
        start_new_session=True,
        env={**os.environ, "MARK": "here"},
    )
    yield process
    process.kill()
    process.wait()


def zombie(pid: int) -> bool:
    return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)


def test_identity_follows_one_process(sleeper: subprocess.Popen[bytes]) -> None:
    identity = ProcessIdentity.of(sleeper.pid)
    assert identity.alive()
    assert identity.reachable()
    assert ProcessIdentity.from_json(identity.to_json()) == identity
    assert not identity._replace(start="1").alive()
    sleeper.kill()
    # A process nobody has waited for has ended all the same.
    wait_for("its end", lambda: zombie(sleeper.pid))
    assert not identity.alive()
    assert start_token(sleeper.pid) is None


def test_start_token_is_ticks_since_boot(sleeper: subprocess.Popen[bytes]) -> None:
    if sys.platform != "linux":
        pytest.skip("Linux only")
    started = psutil.boot_time() + int(start_token(sleeper.pid) or 0) / os.sysconf("SC_CLK_TCK")
    assert abs(started - psutil.Process(sleeper.pid).create_time()) < 2


@pytest.mark.parametrize("data", [None, 7, {}, {"pid": "1"}, {"pid": 0}, {"pid": -1}])
def test_identity_is_never_read_from_what_holds_none(data: object) -> None:
    identity = ProcessIdentity.from_json(data)
    assert identity is None or not identity.alive()


def test_an_empty_start_token_is_nobody() -> None:
    assert not ProcessIdentity(os.getpid(), "", boot_token(), host_name()).alive()


@pytest.mark.parametrize(
    ("boot", "host", "reachable", "same_machine"),
    [
        ("{boot}/{space}", "{host}", True, True),
        ("other/{space}", "{host}", True, True),  # an earlier boot: certainly dead
        ("{boot}/pid:[1]", "{host}", False, True),
        ("{boot}/pid:[1]", "container", False, True),
        ("other/{space}", "elsewhere", False, False),
    ],
)
def test_who_can_be_asked(boot: str, host: str, reachable: bool, same_machine: bool) -> None:
    here, _, space = boot_token().partition("/")
    words = {"boot": here, "space": space, "host": host_name()}
    identity = ProcessIdentity(os.getpid(), "1", boot.format(**words), host.format(**words))
    assert (identity.reachable(), identity.same_machine()) == (reachable, same_machine)
    assert not identity.alive()


def test_signals_reach_the_process_and_its_group_only(sleeper: subprocess.Popen[bytes]) -> None:
    identity = ProcessIdentity.of(sleeper.pid)
    assert not signal_process(identity._replace(start="1"), signal.SIGKILL)
    assert not signal_group(identity._replace(start="1"), signal.SIGKILL)
    assert sleeper.poll() is None
    assert signal_group(identity, signal.SIGTERM)
    assert sleeper.wait(timeout=20) == -signal.SIGTERM
    assert not signal_process(identity, signal.SIGKILL)
    assert not signal_group(identity, signal.SIGKILL)


def test_the_process_table(sleeper: subprocess.Popen[bytes]) -> None:
    (row,) = [row for row in iter_processes() if row.pid == sleeper.pid]
    assert row == (sleeper.pid, os.getpid(), sleeper.pid, sleeper.pid)


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_environment_of_another_process(sleeper: subprocess.Popen[bytes]) -> None:
    wait_for("its start", lambda: environment_value(sleeper.pid, "MARK"))
    assert environment_value(sleeper.pid, "MARK") == "here"
    assert environment_value(sleeper.pid, "MAR") is None
    assert environment_value(2**22 + 1, "MARK") is None


def test_lock_ends_with_its_holder(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    holder = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys, time; from pathlib import Path; from guildlite.platform import FileLock\n"
            "lock = FileLock(Path(sys.argv[1])); print(lock.try_acquire(), flush=True)\n"
            "time.sleep(60)",
            str(path),
        ],
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[1],
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"True\n"
    lock = FileLock(path)
    assert not lock.try_acquire()
    assert not lock.held
    holder.kill()
    holder.wait()
    holder.stdout.close()
    assert lock.acquire(timeout_s=10)
    # One lock file, two locks: the second is refused in the same process too.
    assert not FileLock(path).try_acquire()
    lock.release()
    with FileLock(path) as other:
        assert other.try_acquire()
    assert not other.held


def test_lock_does_not_follow_links(tmp_path: Path) -> None:
    (tmp_path / "lock").symlink_to(tmp_path / "elsewhere")
    assert not FileLock(tmp_path / "lock").try_acquire()
    assert not (tmp_path / "elsewhere").exists()


def test_names_of_signals() -> None:
    assert (signal_name(9), signal_name(99)) == ("SIGKILL", "signal 99")


def test_only_plain_files_are_opened(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"abc")
    (tmp_path / "link").symlink_to("file")
    os.mkfifo(tmp_path / "pipe")
    with open_regular(tmp_path / "file") as file:
        assert file.read() == b"abc" and not os.get_inheritable(file.fileno())
    for name, number in (
        ("link", errno.ELOOP),
        ("pipe", errno.EINVAL),
        (".", errno.EINVAL),
        ("absent", errno.ENOENT),
    ):
        with pytest.raises(OSError) as raised:
            open_regular(tmp_path / name)
        assert raised.value.errno == number
    with pytest.raises(OSError):
        open_regular("/dev/zero")


def test_a_lock_that_cannot_be_had_is_not_held(tmp_path: Path) -> None:
    lock = FileLock(tmp_path / "gone" / "lock")
    assert not lock.try_acquire() and not lock.acquire(0) and not lock.held
