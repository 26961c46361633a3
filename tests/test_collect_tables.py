"""CSV and JSON-lines files: which are ours, what is taken of them, and when."""

from __future__ import annotations

import csv
import json
import math
import time
from collections.abc import Iterable
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guildlite.collect import tables as tables_module
from guildlite.collect.tables import Tables
from guildlite.series import Cursor, Point, Reading


def points_of(readings: Iterable[Reading]) -> dict[str, list[tuple[int, float]]]:
    found: dict[str, list[tuple[int, float]]] = {}
    for reading in readings:
        for key, points in reading.points.items():
            found.setdefault(key, []).extend((point.step, point.value) for point in points)
    return found


def notices_of(readings: Iterable[Reading]) -> list[str]:
    return [notice for reading in readings for notice in reading.notices]


def last_cursor(readings: Iterable[Reading]) -> Cursor:
    cursor = [reading.cursor for reading in readings if reading.cursor is not None][-1]
    state = json.loads(json.dumps(cursor.state))
    return Cursor(cursor.path, cursor.kind, cursor.digest, cursor.offset, state, cursor.error)


def read(text: str | bytes, name: str = "m.csv", **columns: list[str]) -> list[Reading]:
    """Return what one file gives when the run has ended; `columns` keys use `_` for `.`."""
    with TemporaryDirectory() as directory:
        data = text if isinstance(text, bytes) else text.encode()
        (Path(directory) / name).write_bytes(data)
        given_ = {key.replace("_", "."): names for key, names in columns.items()}
        return list(Tables(Path(directory), (), given_).sample(final=True))


# --- CSV with a header -------------------------------------------------------------------------


def test_numbers_of_every_column_but_the_step():
    text = "step,loss,acc,note\n0,0.5,0.1,start\n1,0.25,,\n2,nan,inf,end\n"
    found = points_of(read(text))
    assert found["acc"] == [(0, 0.1), (2, math.inf)]
    assert found["loss"][:2] == [(0, 0.5), (1, 0.25)] and math.isnan(found["loss"][2][1])
    assert found.keys() == {"loss", "acc"}


@pytest.mark.parametrize(
    "text",
    [
        "step;loss\n3;0.5\n",
        "step\tloss\r\n3\t0.5\r\n",
        "\ufeffstep,loss\n3,0.5\n",
        '"step","loss"\n"3","0.5"\n',
        " Step ,loss\n  3, 0.5 \n",
        ",step,loss\n0,3,0.5\n",
        "step,loss\n3,0.5,,\n",
        "step,loss\n3.0,5e-1\n",
        "step,loss\n\n3,0.5\n\n",
        "loss,global_step\n0.5,3\n",
        "epoch,loss\n3,0.5\n",
    ],
)
def test_spellings_of_the_same_table(text: str):
    assert points_of(read(text)) == {"loss": [(3, 0.5)]}


def test_step_goes_before_epoch_which_is_then_a_series():
    assert points_of(read("epoch,step,loss\n1,100,0.5\n")) == {
        "epoch": [(100, 1.0)],
        "loss": [(100, 0.5)],
    }


def test_a_repeated_header_is_no_row():
    readings = read("step,loss\n0,1\nstep,loss\n0,2\n")
    assert points_of(readings) == {"loss": [(0, 1.0), (0, 2.0)]} and notices_of(readings) == []


def test_bad_rows_are_skipped_counted_and_named_once():
    rows = ["x,1", "0,1,7", "0", "0.5,1", f"{2**63},1", "nan,1", "1_0,1", ",1"]
    readings = read("step,loss\n0,1\n" + "\n".join(rows) + "\n2,3\n")
    assert points_of(readings) == {"loss": [(0, 1.0), (2, 3.0)]}
    assert notices_of(readings) == [
        "`m.csv` has a bad row, which was skipped: its step is not a number: 'x'"
    ]
    assert last_cursor(readings).state["bad"] == len(rows)


def test_sixty_four_bit_steps():
    steps = [-(2**63), 2**63 - 1]
    found = points_of(read("step,loss\n" + "".join(f"{step},1\n" for step in steps)))
    assert [step for step, _ in found["loss"]] == steps


def test_quoted_cells_may_hold_anything():
    text = StringIO()
    writer = csv.writer(text)
    writer.writerow(["step", "a, b", "text"])
    writer.writerow([0, 1.5, 'commas, "quotes"\nand\r\nlines\n7,8,9'])
    writer.writerow([1, 2.5, ""])
    readings = read(text.getvalue())
    assert points_of(readings) == {"a, b": [(0, 1.5), (1, 2.5)]} and notices_of(readings) == []


def test_a_stray_quote_costs_one_row_at_most():
    lines = [f"{step},{step},ok" for step in range(9_000)]
    lines[3] = '3,3,"never closed'
    found = points_of(read("step,loss,text\n" + "\n".join(lines) + "\n"))
    assert set(range(9_000)) - {step for step, _ in found["loss"]} <= {3}


def test_a_column_of_moments_is_the_time_and_one_of_durations_a_series():
    (reading,) = read("step,loss,time\n0,0.5,1700000000.5\n1,0.5,1700000001500\n")
    assert reading.points == {"loss": [Point(0, 1700000000500, 0.5), Point(1, 1700000001500, 0.5)]}
    (reading,) = read("step,loss,time\n0,0.5,12.5\n")
    assert reading.points == {"loss": [Point(0, None, 0.5)], "time": [Point(0, None, 12.5)]}


# --- JSON lines --------------------------------------------------------------------------------


def test_json_lines():
    lines = [
        '{"config": {"step": 1}}',
        '{"step": 1, "loss": 0.5, "ok": true, "name": "x", "list": [1], "none": null}',
        '{"loss": 9, "note": "no step"}',
        "not json",
        "[1, 2]",
        '{"step": 2, "loss": NaN, "wall_time": 1700000000}',
        '{"step": "3", "loss": Infinity, "\\ud800": 4}',
        "",
        '{"step": 4, "loss": 1' + "0" * 400 + "}",
        "[" * 100_000,
    ]
    readings = read("\n".join(lines) + "\n", "log.jsonl")
    found = points_of(readings)
    assert found.pop("\\ud800") == [(3, 4.0)]
    assert found.keys() == {"loss"}
    assert [step for step, _ in found["loss"]] == [1, 2, 3]
    assert [p.time for p in readings[0].points["loss"]] == [None, 1700000000000, None]
    assert notices_of(readings) == ["`log.jsonl` has a bad row, which was skipped: it is not JSON"]
    assert last_cursor(readings).state["bad"] == 3


def test_the_first_object_with_a_step_names_the_axis():
    text = '{"epoch": 1, "loss": 0.5}\n{"step": 100, "epoch": 2, "loss": 0.25}\n'
    assert points_of(read(text, "log.ndjson"))["loss"] == [(1, 0.5), (2, 0.25)]


def test_chosen_fields_of_json_lines():
    text = '{"step": 1, "loss": 0.5, "lr": 0.1}\n'
    assert points_of(read(text, "log.txt", log_txt=["step", "lr"])) == {"lr": [(1, 0.1)]}
    assert points_of(read('{"a": 1}\n{"a": 2}\n', "log.txt", log_txt=["a"])) == {
        "a": [(0, 1.0), (1, 2.0)]
    }


# --- which files -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("data.csv", "x,y\n1,2\n"),
        ("data.csv", "1,2\n3,4\n"),
        ("data.csv", ""),
        ("data.csv", "step,loss\n"),
        ("data.csv", "step," + "x" * 70_000 + "\n1,2\n"),
        ("data.csv", b"step,loss\x00\n1,2\n"),
        ("data.csv", "step,loss\n1,2\n".encode("utf-16")),
        ("data.jsonl", '{"x": 1}\n' * 30),
        ("data.jsonl", "[1]\n"),
        ("metrics.txt", "step,loss\n1,2\n"),
        ("gl.d/metrics.csv", "step,loss\n1,2\n"),
    ],
)
def test_what_is_not_ours(tmp_path: Path, name: str, text: str | bytes):
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    assert list(Tables(tmp_path).sample(final=True)) == []


def test_a_data_set_is_not_opened_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "data.csv").write_text("x,y\n1,2\n")
    tables = Tables(tmp_path)
    assert list(tables.sample()) == []
    with (tmp_path / "data.csv").open("a") as file:
        file.write("3,4\n")
    monkeypatch.setattr(tables_module, "open_regular", None)
    assert list(tables.sample()) == []


def test_sub_directories_are_part_of_the_key(tmp_path: Path):
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "a/b/m.csv").write_text("step,loss\n1,2\n")
    (tmp_path / "m.tsv").write_text("step\tloss\n1\t3\n")
    assert points_of(Tables(tmp_path).sample()) == {"loss": [(1, 3.0)], "a/b/loss": [(1, 2.0)]}


# --- columns named by the project --------------------------------------------------------------


def test_a_file_without_header():
    names = ["step", "train/accuracy", "validation/accuracy"]
    found = points_of(read("0,0.1,0.09\n5,0.5,0.4\n", m_csv=names))
    assert found == {
        "train/accuracy": [(0, 0.1), (5, 0.5)],
        "validation/accuracy": [(0, 0.09), (5, 0.4)],
    }


def test_given_names_replace_a_header():
    assert points_of(read("Schritt,Verlust\n3,0.5\n", m_csv=["step", "loss"])) == {
        "loss": [(3, 0.5)]
    }


def test_without_a_step_rows_are_numbered_bad_ones_too():
    readings = read("1;2\n3;4;5\n5;6\n", "m.log", m_log=["a", "b"])
    assert points_of(readings) == {"a": [(0, 1.0), (2, 5.0)], "b": [(0, 2.0), (2, 6.0)]}
    assert len(notices_of(readings)) == 1


def test_globs_stay_within_a_directory_unless_doubled(tmp_path: Path):
    for name in ("a/m.txt", "a/b/m.txt", "m.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("1,2\n")
    names = ["step", "x"]
    assert points_of(Tables(tmp_path, (), {"*/m.txt": names}).sample()).keys() == {"a/x"}
    assert points_of(Tables(tmp_path, (), {"./m.txt": names}).sample()).keys() == {"x"}
    assert points_of(Tables(tmp_path, (), {"**/m.txt": names}).sample()).keys() == {"a/x", "a/b/x"}


# --- following ---------------------------------------------------------------------------------


def test_a_half_written_line_is_waited_for_until_the_end(tmp_path: Path):
    path = tmp_path / "m.csv"
    path.write_text("step,loss\n0,1\n1,2")
    tables = Tables(tmp_path)
    assert points_of(tables.sample()) == {"loss": [(0, 1.0)]}
    assert list(tables.sample()) == []
    path.write_text("step,loss\n0,1\n1,25\n2,3")
    assert points_of(tables.sample()) == {"loss": [(1, 25.0)]}
    assert points_of(tables.sample(final=True)) == {"loss": [(2, 3.0)]}
    assert list(tables.sample(final=True)) == []


def test_a_file_removed_and_written_anew_is_another_source(tmp_path: Path):
    path = tmp_path / "metrics.csv"
    names = {"metrics.csv": ["step", "loss"]}
    tables = Tables(tmp_path, (), names)
    path.write_text("0,2.5\n5,2.25\n")
    first = list(tables.sample())
    path.unlink()
    path.write_text("0,3.5\n")
    second = list(tables.sample())
    assert points_of(second) == {"loss": [(0, 3.5)]}
    assert last_cursor(second).digest != last_cursor(first).digest
    again = Tables(tmp_path, [last_cursor(first), last_cursor(second)], names)
    assert list(again.sample()) == []


@pytest.mark.parametrize("rewritten", ["0,2.5\n", "0,2.5\n5,9.5\n", "0,2.5\n5,9.5\n10,8.5\n"])
@pytest.mark.parametrize("restart", [True, False])
def test_a_file_written_anew_with_the_same_first_lines(
    tmp_path: Path, rewritten: str, restart: bool
):
    path = tmp_path / "m.csv"
    path.write_text("step,loss\n0,2.5\n5,2.25\n")
    tables = Tables(tmp_path)
    first = list(tables.sample())
    path.write_text("step,loss\n" + rewritten)
    if restart:
        tables = Tables(tmp_path, [last_cursor(first)])
    second = list(tables.sample(final=True))
    assert len(points_of(second)["loss"]) == rewritten.count("\n")
    assert last_cursor(second).digest == last_cursor(first).digest + "-2"
    both = [last_cursor(first), last_cursor(second)]
    assert list(Tables(tmp_path, both).sample(final=True)) == []
    path.write_text("step,loss\n0,2.5\n")
    third = list(Tables(tmp_path, both).sample(final=True))
    if rewritten.count("\n") > 1:
        assert last_cursor(third).digest == last_cursor(first).digest + "-3"


def test_a_file_that_comes_back_continues(tmp_path: Path):
    path = tmp_path / "m.csv"
    tables = Tables(tmp_path)
    path.write_text("step,loss\n0,1\n")
    first = list(tables.sample())
    path.write_text("step,loss\n0,2\n")
    list(tables.sample())
    path.write_text("step,loss\n0,1\n1,7\n")
    third = list(tables.sample())
    assert points_of(third) == {"loss": [(1, 7.0)]}
    assert last_cursor(third).digest == last_cursor(first).digest


def test_a_table_written_anew_each_epoch_is_the_same_table(tmp_path: Path):
    path = tmp_path / "m.csv"
    tables = Tables(tmp_path)
    lines = ["step,loss\n", "0,1\n", "1,2\n"]
    path.write_text("".join(lines))
    readings = list(tables.sample())
    path.write_text("".join(lines[:2]))  # seen while it is being written
    assert list(tables.sample()) == []
    path.write_text("".join([*lines, "2,3\n"]))
    readings += tables.sample()
    assert points_of(readings) == {"loss": [(0, 1.0), (1, 2.0), (2, 3.0)]}
    assert last_cursor(readings).digest == last_cursor(readings[:1]).digest


def test_a_table_that_stays_shorter_is_another_table(tmp_path: Path):
    path = tmp_path / "m.csv"
    tables = Tables(tmp_path)
    path.write_text("step,loss\n0,1\n1,2\n")
    list(tables.sample())
    path.write_text("step,loss\n0,1\n")
    assert list(tables.sample()) == []
    assert points_of(tables.sample()) == {"loss": [(0, 1.0)]}


def test_time_is_the_moment_seen_when_live_and_unknown_when_catching_up(tmp_path: Path):
    (tmp_path / "m.csv").write_text("step,loss\n0,1\n")
    before = int(time.time() * 1000)
    (reading,) = Tables(tmp_path, live=True).sample()
    (point,) = reading.points["loss"]
    assert point.time is not None and before <= point.time <= time.time() * 1000
    (reading,) = Tables(tmp_path).sample()
    assert reading.points["loss"][0].time is None


def test_readings_are_bounded_and_may_be_stopped_between(tmp_path: Path):
    rows = "".join(f"{step},{step / 4}\n" for step in range(40_000))
    (tmp_path / "m.csv").write_text("step,loss\n" + rows)
    tables = Tables(tmp_path)
    first = next(iter(tables.sample()))
    assert len(first.points["loss"]) < 20_000
    rest = list(tables.sample())
    assert points_of([first, *rest])["loss"] == [(step, step / 4) for step in range(40_000)]


def test_a_line_without_end_ends_the_file(tmp_path: Path):
    with (tmp_path / "m.csv").open("wb") as file:
        file.write(b"step,loss\n0,1\n")
        file.truncate(20 << 20)
    readings = list(Tables(tmp_path).sample())
    assert points_of(readings) == {} or points_of(readings) == {"loss": [(0, 1.0)]}
    assert list(Tables(tmp_path, [r.cursor for r in readings if r.cursor]).sample()) == []


def test_nothing_to_read_is_no_fault(tmp_path: Path):
    tables = Tables(tmp_path / "missing")
    assert tables.probe() == {}
    assert list(tables.sample()) == []
    tables.close()


CSV_TEXT = (
    '\ufeffstep,loss,text,time\n0,0.5,"a ""b""\nc",1700000000\nbad\n1,nan,ü,3\n'
    'step,loss,text,time\n2,,"x",\n3,1e-3,\'"\',\n4,7,"open\n5,8,,\n'
).encode()
JSON_TEXT = b'{"a": 1}\nx\n{"step": 1, "loss": 0.5}\n\n{"epoch": 3}\n{"step": 2, "loss": NaN}\n'
HEADLESS_TEXT = b"0,1,2\r\n1,2\r\n5,6,7\r\n"


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from([("m.csv", CSV_TEXT), ("m.jsonl", JSON_TEXT), ("m.txt", HEADLESS_TEXT)]),
    st.lists(st.floats(0, 1), max_size=5),
    st.booleans(),
)
def test_bytes_cut_anywhere_read_the_same(
    file: tuple[str, bytes], cuts: list[float], restart: bool
):
    name, data = file
    columns = {"m.txt": ["step", "a", "b"]}
    with TemporaryDirectory() as directory:
        path = Path(directory) / name
        path.write_bytes(data)
        expected = list(Tables(path.parent, (), columns).sample(final=True))
        path.unlink()
        tables = Tables(path.parent, (), columns)
        readings: list[Reading] = []
        for end in [*sorted(int(cut * len(data)) for cut in cuts), len(data)]:
            path.write_bytes(data[:end])
            readings += tables.sample()
            if restart and any(reading.cursor for reading in readings):
                tables = Tables(path.parent, [last_cursor(readings)], columns)
        readings += tables.sample(final=True)
    assert repr(points_of(readings)) == repr(points_of(expected))
    assert notices_of(readings) == notices_of(expected)
    assert last_cursor(readings) == last_cursor(expected)


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(["m.csv", "m.jsonl", "m.txt"]),
    st.sampled_from([b"step,loss\n", b'{"step": 1}\n', b""]),
    st.one_of(
        st.binary(max_size=200),
        st.text('0123,;\t\n\r"{}:.e-xstep\ud7ff', max_size=200).map(str.encode),
    ),
)
def test_any_bytes_are_read_without_exception(name: str, head: bytes, data: bytes):
    with TemporaryDirectory() as directory:
        (Path(directory) / name).write_bytes(head + data)
        columns = {"m.txt": ["step", "a", "b"]}
        for final in (False, True):
            list(Tables(Path(directory), (), columns).sample(final=final))
