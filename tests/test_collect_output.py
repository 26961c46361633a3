"""Lines and scalars from logs, on real files written as scripts write them."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guildlite.collect import output
from guildlite.collect.output import OutputLogs
from guildlite.runs.paths import RunPaths
from guildlite.series import STDERR, STDOUT, Cursor, OutputLine, Point, Reading


@pytest.fixture
def paths(tmp_path: Path) -> RunPaths:
    return new_run(tmp_path / "run")


def new_run(run_dir: Path) -> RunPaths:
    paths = RunPaths(run_dir)
    paths.root.mkdir(parents=True)
    return paths


_opened: list[OutputLogs] = []


def open_logs(paths: RunPaths, cursors: Iterable[Cursor] = (), live: bool = False) -> OutputLogs:
    """Return a collector that is closed after the test."""
    logs = OutputLogs(paths, cursors, live)
    _opened.append(logs)
    return logs


@pytest.fixture(autouse=True)
def close_logs() -> Iterator[None]:
    yield
    while _opened:
        _opened.pop().close()


def append(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        file.write(data)


class Taken:
    """Everything some readings gave."""

    def __init__(self, readings: Iterable[Reading] = ()) -> None:
        self.lines: list[OutputLine] = []
        self.points: dict[str, list[Point]] = {}
        self.notices: list[str] = []
        self.cursors: dict[str, Cursor] = {}
        self.add(readings)

    def add(self, readings: Iterable[Reading]) -> bool:
        some = False
        for reading in readings:
            some = True
            self.lines += reading.lines
            self.notices += reading.notices
            for key, points in reading.points.items():
                self.points.setdefault(key, []).extend(points)
            if reading.cursor:
                # As run.db keeps it: through JSON.
                cursor = reading.cursor
                state = json.loads(json.dumps(cursor.state))
                self.cursors[cursor.path] = Cursor(
                    cursor.path, cursor.kind, cursor.digest, cursor.offset, state
                )
        return some

    @property
    def texts(self) -> list[str]:
        return [line.text for line in self.lines]


def read_all(paths: RunPaths, cursors: Iterable[Cursor] = ()) -> Taken:
    logs = open_logs(paths, cursors, live=False)
    taken = Taken()
    while taken.add(logs.sample(final=True)):
        pass
    logs.close()
    return taken


@pytest.mark.parametrize(
    ("printed", "texts"),
    [
        (b"one\ntwo\n", ["one", "two"]),
        (b"no end", ["no end"]),
        (b"\n\n", ["", ""]),
        (b"dos\r\nunix\n", ["dos", "unix"]),
        (b"\r 10%\r 50%\r100%\ndone\n", ["100%", "done"]),
        (b"\r 10%\r 50%", [" 50%"]),
        (b" 10%\r\r\n", [" 10%"]),
        (b"bar\r   \rEpoch 1 done\n", ["Epoch 1 done"]),
        (b"\r", []),
        ("grün ✓\n".encode(), ["grün ✓"]),
        (b"caf\xe9\n", ["caf\ufffd"]),
        (b"a\0b\n", ["a\ufffdb"]),
        (b"\x1b[1mbold\x1b[0m\ttab\x07\n", ["\x1b[1mbold\x1b[0m\ttab\x07"]),
        (b"\xed\xa0\x80\n", ["\ufffd\ufffd\ufffd"]),
    ],
)
def test_lines(paths: RunPaths, printed: bytes, texts: list[str]) -> None:
    append(paths.stdout, printed)
    assert read_all(paths).texts == texts


def test_a_real_script_with_a_progress_bar(paths: RunPaths) -> None:
    import subprocess

    script = (
        "import sys\n"
        "for i in range(101): print(f'\\r{i:3d}% loss={1 / (i + 1):.2f}', end='', flush=True)\n"
        "print(); print('loss: 0.5'); print('oops', file=sys.stderr)"
    )
    with paths.stdout.open("ab") as out, paths.stderr.open("ab") as err:
        subprocess.run([sys.executable, "-c", script], stdout=out, stderr=err, check=True)
    taken = read_all(paths)
    assert taken.lines == [
        (None, STDOUT, "100% loss=0.01", ""),
        (None, STDOUT, "loss: 0.5", ""),
        (None, STDERR, "oops", ""),
    ]
    assert taken.points == {"output/loss": [(1, None, 0.01), (2, None, 0.5)]}


def test_an_unfinished_line_waits_for_its_end(paths: RunPaths) -> None:
    logs = open_logs(paths, [], live=True)
    append(paths.stdout, b"half")
    assert not list(logs.sample())
    append(paths.stdout, b" whole\nnext")
    assert Taken(logs.sample()).texts == ["half whole"]
    assert Taken(logs.sample(final=True)).texts == ["next"]
    assert not list(logs.sample(final=True))


def test_time_is_when_the_line_was_seen(paths: RunPaths, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.time", lambda: 1700000000.5)
    append(paths.stdout, b"loss: 1\n")
    taken = Taken(open_logs(paths, [], live=True).sample())
    assert taken.lines[0].time == 1700000000500
    assert taken.points["output/loss"] == [(1, 1700000000500, 1.0)]


def test_later_operations_have_their_own_lines_and_keys(paths: RunPaths) -> None:
    append(paths.stdout, b"loss: 1\n")
    append(paths.operation("10-evaluate").stderr, b"accuracy: 0.5\n")
    append(paths.operation("2-export").stdout, b"ok\n")
    taken = read_all(paths)
    assert taken.lines == [
        (None, STDOUT, "loss: 1", ""),
        (None, STDOUT, "ok", "2-export"),
        (None, STDERR, "accuracy: 0.5", "10-evaluate"),
    ]
    assert set(taken.points) == {"output/loss", "evaluate/output/accuracy"}
    assert set(taken.cursors) == {
        "gl.d/stdout.log",
        "gl.d/ops/2-export/stdout.log",
        "gl.d/ops/10-evaluate/stderr.log",
    }


def test_the_last_line_of_an_ended_operation_is_not_held_back(paths: RunPaths) -> None:
    operation = paths.operation("2-evaluate")
    append(operation.stdout, b"accuracy: 0.5")
    logs = open_logs(paths, [], live=False)
    assert not list(logs.sample())
    append(operation.exit, b"{}")
    assert Taken(logs.sample()).texts == ["accuracy: 0.5"]
    append(operation.stdout, b"by a daemon")
    assert Taken(logs.sample(final=True)).texts == ["by a daemon"]


def test_cursors_of_other_kinds_are_not_ours(paths: RunPaths) -> None:
    append(paths.stdout, b"one\n")
    assert read_all(paths, [Cursor("gl.d/stdout.log", "csv", "x", 3)]).texts == ["one"]


SAMPLES = [
    b"loss: 0.5\n", b"Epoch 1/5\n", b"\r10/20 [===] - loss: 0.25", b"Epoch 2/5\n", b"\n",
    b"\r", b"\r\n", b"x", b"long " * 9, b"\xf0\x9f\x98\x80", b"\xff\0", b"step 3, loss=2\n",
    b'  File "a.py", line 3\n', b"    loss = 9\n",
]  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(
    pieces=st.lists(st.sampled_from(SAMPLES), max_size=30),
    cuts=st.lists(st.tuples(st.integers(0, 600), st.booleans()), max_size=8),
)
def test_any_cut_and_restart_gives_the_same(
    tmp_path_factory: pytest.TempPathFactory,
    pieces: list[bytes],
    cuts: list[tuple[int, bool]],
) -> None:
    """Whatever is seen when, and whoever goes on from the cursors, nothing is lost or doubled."""
    data = b"".join(pieces)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(output, "LONGEST_LINE", 20)
        patch.setattr(output, "CHUNK", 16)
        patch.setattr(output, "SILENT_BYTES", 32)
        patch.setattr(output, "MOST_LINES", 12)
        whole = new_run(tmp_path_factory.mktemp("whole") / "run")
        append(whole.stdout, data)
        expected = read_all(whole)

        run = new_run(tmp_path_factory.mktemp("cut") / "run")
        logs, taken, written = open_logs(run, [], live=False), Taken(), 0
        for end, restart in sorted(cuts):
            append(run.stdout, data[written:end])
            written = max(written, end)
            taken.add(logs.sample())
            if restart:
                logs.close()
                logs = open_logs(run, taken.cursors.values(), live=False)
        append(run.stdout, data[written:])
        while taken.add(logs.sample(final=True)):
            pass
        logs.close()
    assert taken.lines == expected.lines
    assert taken.points == expected.points


def test_a_long_line_is_cut_and_memory_bounded(
    paths: RunPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(output, "SAMPLE_BYTES", 10**9)
    size = 64 * 1024 * 1024
    with paths.stdout.open("wb") as file:
        file.truncate(size)  # a sparse file of NULs, no line feed anywhere
        file.seek(0, os.SEEK_END)
        file.write(b"\nafter\n")
    taken = read_all(paths)
    kept = 64 * 1024
    # NULs at the end of what is kept look like a character cut in two, and are left out with it.
    assert taken.texts == [f" … ({size - kept:,} more bytes)", "after"]


def test_a_cut_line_keeps_whole_characters(
    paths: RunPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(output, "LONGEST_LINE", 4)
    append(paths.stdout, "abcé tail\n".encode())
    assert read_all(paths).texts == ["abc … (6 more bytes)"]


def test_a_flood_is_read_in_bounded_samples(
    paths: RunPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(output, "MOST_LINES", 1000)
    append(paths.stdout, b"y\n" * 500_000 + b"loss: 0.5\n")
    append(paths.stderr, b"still heard\n")
    logs = open_logs(paths, [], live=False)
    first = Taken(logs.sample())
    assert first.texts[-1] == "still heard"
    assert first.cursors["gl.d/stdout.log"].offset <= output.SAMPLE_BYTES
    while first.add(logs.sample()):
        pass
    assert len(first.lines) == 1000 + 1
    assert first.points == {"output/loss": [(1, None, 0.5)]}
    assert first.notices == [
        "`gl.d/stdout.log` has more than 1,000 lines; the later ones are only there"
    ]
    assert first.cursors["gl.d/stdout.log"].offset == 1_000_010


def test_many_names_are_told_once(paths: RunPaths) -> None:
    append(paths.stdout, b"".join(b"name%d: 1.5\n" % number for number in range(150)))
    taken = read_all(paths)
    assert len(taken.points) == 100
    assert taken.notices == [
        "`gl.d/stdout.log` names more than 100 numbers; only the first are followed"
    ]


def test_a_log_cut_by_the_script_goes_on(paths: RunPaths) -> None:
    logs = open_logs(paths, [], live=False)
    append(paths.stdout, b"one\ntwo\nhal")
    taken = Taken(logs.sample())
    os.truncate(paths.stdout, 0)
    taken.add(logs.sample())
    append(paths.stdout, b"three\n")
    taken.add(logs.sample())
    os.truncate(paths.stdout, 6)
    append(paths.stdout, b"four\n")
    taken.add(logs.sample())
    assert taken.texts == ["one", "two", "hal", "three", "four"]
    assert taken.notices == ["`gl.d/stdout.log` became shorter; what was read before is kept"]


@pytest.mark.parametrize(
    ("now", "texts"),
    [(b"two\n", ["two"]), (b"one\nha", []), (b"", []), (b"one\n", [])],
    ids=["emptied and written", "lost its end", "emptied", "lost the unfinished line"],
)
def test_a_cut_seen_by_the_next_reader(paths: RunPaths, now: bytes, texts: list[str]) -> None:
    append(paths.stdout, b"one\nhalf")
    cursors = Taken(open_logs(paths, [], live=False).sample()).cursors
    paths.stdout.write_bytes(now)
    taken = read_all(paths, cursors.values())
    assert taken.texts == texts
    assert taken.notices == ["`gl.d/stdout.log` became shorter; what was read before is kept"]
    append(paths.stdout, b"more\n")
    assert read_all(paths, taken.cursors.values()).texts == ["more"]


def test_a_log_deleted_before_the_next_reader(paths: RunPaths) -> None:
    append(paths.stdout, b"one\nhalf")
    cursors = Taken(open_logs(paths).sample()).cursors
    paths.stdout.unlink()
    taken = read_all(paths, cursors.values())
    assert (taken.texts, taken.notices) == ([], ["`gl.d/stdout.log` was deleted"])


def test_a_deleted_log_is_still_read(paths: RunPaths) -> None:
    logs = open_logs(paths, [], live=False)
    with paths.stdout.open("ab", buffering=0) as script:
        script.write(b"before\n")
        taken = Taken(logs.sample())
        paths.stdout.unlink()
        script.write(b"after\n")
        for _ in range(3):
            taken.add(logs.sample())
    assert taken.texts == ["before", "after"]
    assert taken.notices == [
        "`gl.d/stdout.log` was deleted or replaced; what the script prints is still read"
    ]


def test_a_planted_link_or_pipe_is_not_read(paths: RunPaths, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("secret\n")
    paths.stdout.symlink_to(secret)
    os.mkfifo(paths.stderr)
    logs = open_logs(paths, [], live=False)
    taken = Taken([*logs.sample(), *logs.sample(final=True)])
    assert not taken.lines
    assert taken.notices == [
        "`gl.d/stdout.log` is not read, because it is a link",
        "`gl.d/stderr.log` is not read, because it is not a file",
    ]


def test_no_logs_at_all(tmp_path: Path) -> None:
    logs = open_logs(RunPaths(tmp_path / "gone"), [], live=False)
    assert logs.probe() == {} and not list(logs.sample(final=True))
    logs.close()
