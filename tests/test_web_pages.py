"""The viewer's pages and their JSON, over HTTP, on real run directories."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest
from support.run_dirs import START, make_run
from support.viewing import SECRET, make_project, viewing

from guildlite.runs import Run, RunStore
from guildlite.runs.db import RunDb
from guildlite.runs.facts import write_fact
from guildlite.series import OutputLine, Point, Reading

NAN, INF = float("nan"), float("inf")
HOSTILE = "<script>alert('x')</script>\u202e\x1b[31m\"&"
#: Sections that are made from run.db.
UNREADABLE = ("/scalars", "/media", "/system", "/output")
SECTIONS = ("", "/scalars", "/media", "/system", "/output", "/files", "/source")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with runs of every kind; none of the tests changes it."""
    directory = tmp_path_factory.mktemp("digits")
    store = make_project(directory).store
    good = make_run(
        store,
        "expert",
        flags={"lr": "0.1", "epochs": "10", "rundir": "$RUNDIR"},
        series={
            "train/loss": [2.0, 1.0, 0.5],
            "validation/loss": [2.5, 1.5, 0.75],
            "validation/accuracy": [0.5, 0.9, 0.8],
            "test/accuracy": [0.95],
            "odd": [1.0, NAN, INF, 4.0],
            "sys/cpu/util": [0.25, 0.5],
            "sys/cpu0/util": [0.2, 0.4],
            "sys/cpu1/util": [0.3, 0.6],
            "op/mem/rss": [2.0**30, 2.0**31],
            "gpu0/temp": [60, 70],
        },
        out=["epoch 1", "\x1b[32mepoch 2\x1b[0m"],
        err=["a warning"],
        attrs={"git.commit": "4f2c9e1", "git.untracked": '["a.txt", "b.txt"]', "user": "ada"},
        label="best so far",
    )
    good.set_mark(True)
    good.set_note("keep this")
    good.paths.errors.write_text("2026-11-20T17:45:02Z the GPU cannot be read\n")
    (good.paths.sources / "pkg").mkdir(parents=True)
    (good.paths.sources / "pkg" / "model.py").write_text("import numpy\n\nx = '<b>'\n")
    (good.paths.sources / "git.diff").write_text("--- a\n+++ b\n@@ -1 +1 @@\n-old\n+new\n")
    make_run(store, "intro", started=START + 60, flags={"lr": "0.5"}, code=3, err=["ValueError: x"])
    make_run(store, "intro", started=START + 120, code=None, signal=9)
    make_run(store, "expert", started=START + 180, ended=False)
    make_run(store, "expert", started=START + 240, stopped=True, code=None, signal=2)
    damaged = make_run(store, "expert", started=START + 300)
    damaged.paths.manifest.write_text("{")
    garbage = make_run(store, "expert", started=START + 360)
    garbage.paths.db.write_bytes(b"this is no database, but it is long enough to be taken for one")
    make_run(
        store,
        HOSTILE,
        started=START + 420,
        flags={HOSTILE: HOSTILE},
        series={HOSTILE: [1.0, 2.0], f"sys/{HOSTILE}": [1.0, 2.0]},
        out=[HOSTILE],
        attrs={HOSTILE: HOSTILE, f"git.{HOSTILE}": f'["{HOSTILE}", "<img src=x>"]'},
        label=HOSTILE,
    )
    return directory


@pytest.fixture(scope="module")
def client(place: Path) -> Iterator[httpx.Client]:
    with viewing(place) as client:
        yield client


def run_of(place: Path, word: str) -> Run:
    """Return the one run whose directory begins with this time of day."""
    found = [run for run in RunStore(place / "runs").list() if f"T{word}Z" in run.id]
    assert len(found) == 1
    return found[0]


def text_of(html: str) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", html).split())


@pytest.fixture(scope="module")
def good(place: Path) -> Run:
    return run_of(place, "174501")


# The run table


def test_the_first_page_is_the_run_table(client: httpx.Client) -> None:
    assert client.get("/").headers["location"] == "/runs"
    page = client.get("/runs")
    assert page.status_code == 200
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    text = text_of(page.text)
    assert "Runs 8" in text
    for words in (
        "best so far", "80.0%", "0.5", "1m 04s", "completed", "failed", "lost", "stopped",
        "unreadable",
    ):  # fmt: skip
        assert words in text
    rows = client.get("/api/v1/runs").json()["rows"]
    (why,) = (row["error"] for row in rows if row["error"])
    assert "manifest" in why
    assert f"unreadable {why}" in text


def test_latest_leads_to_the_newest_run(client: httpx.Client, place: Path) -> None:
    newest = RunStore(place / "runs").list()[0]
    assert client.get("/runs/latest").headers["location"] == f"/runs/{newest.id}"
    assert client.get("/runs/latest/system").headers["location"] == f"/runs/{newest.id}/system"
    tagged = client.get("/runs/latest/scalars?tags=a%2Fb").headers["location"]
    assert tagged == f"/runs/{newest.id}/scalars?tags=a%2Fb"
    file = client.get("/runs/latest/files/out/a%20b.txt").headers["location"]
    assert file == f"/runs/{newest.id}/files/out/a%20b.txt"
    assert client.get("/runs/latest/nonsense").status_code == 404
    assert client.get("/api/v1/runs/latest").json()["id"] == newest.id


def ids(client: httpx.Client, query: str) -> list[str]:
    return [row["id"][9:15] for row in client.get(f"/api/v1/runs?{query}").json()["rows"]]


def test_sorting_puts_missing_values_last_either_way(client: httpx.Client) -> None:
    assert ids(client, "")[0] == "175201"
    assert ids(client, "sort=started")[0] == "174501"
    assert ids(client, "sort=flag.lr")[:2] == ["174501", "174601"]
    assert ids(client, "sort=-flag.lr")[:2] == ["174601", "174501"]
    assert ids(client, "sort=validation/accuracy")[0] == "174501"
    assert ids(client, "sort=-validation/accuracy")[0] == "174501"
    assert ids(client, "sort=no-such-column") == ids(client, "")


def test_filtering_by_bare_words(client: httpx.Client) -> None:
    assert ids(client, "q=BEST") == ["174501"]
    assert ids(client, "q=so+intro") == []
    assert ids(client, "q=intro") == ["174701", "174601"]
    page = client.get("/runs?q='<nothing>'").text
    assert "No run matches" in page
    assert "&lt;nothing&gt;" in page


def test_only_flags_that_differ_have_a_column(client: httpx.Client) -> None:
    table = client.get("/api/v1/runs?q=2026").json()
    assert table["flags"] == ["lr"]
    assert table["metrics"] == ["validation/accuracy", "train/loss"]


# One run


@pytest.mark.parametrize("section", SECTIONS)
def test_every_page_of_every_run_answers(client: httpx.Client, place: Path, section: str) -> None:
    for run in RunStore(place / "runs").list():
        answer = client.get(f"/runs/{run.path.name}{section}".replace("#", "%23"))
        readable = run.id[9:15] != "175101" or section not in UNREADABLE
        assert answer.status_code == (200 if readable else 422), run.id
        assert "http-equiv" not in answer.text
        assert client.get(f"/api/v1/runs/{run.id}{section}").headers["content-type"] == (
            "application/json"
        )


def test_overview(client: httpx.Client, good: Run) -> None:
    text = text_of(client.get(f"/runs/{good.id}").text)
    for words in (
        "best so far", "completed", "exit status 0", "1m 04s", "keep this",
        "validation/accuracy 80.0%", "best 90.0% at step 1", "lr 0.1 flag",
        "rundir $RUNDIR", "python -u expert.py --title", "a warning", "4f2c9e1",
        "2 items a.txt b.txt", "the GPU cannot be read", "user ada",
    ):  # fmt: skip
        assert words in text


def test_how_a_run_ended_is_said(client: httpx.Client, place: Path) -> None:
    failed = text_of(client.get(f"/runs/{run_of(place, '174601').id}").text)
    assert "Failed: exit status 3" in failed
    assert "err ValueError: x" in failed
    assert "/output?page=1#L1" in client.get(f"/runs/{run_of(place, '174601').id}").text
    killed = text_of(client.get(f"/runs/{run_of(place, '174701').id}").text)
    assert "died of SIGKILL" in killed
    lost = text_of(client.get(f"/runs/{run_of(place, '174801').id}").text)
    assert "nobody saw it end" in lost


def test_an_unreadable_run_says_why_and_hides_nobody(client: httpx.Client, place: Path) -> None:
    damaged, garbage = run_of(place, "175001"), run_of(place, "175101")
    assert "This run cannot be read" in client.get(f"/runs/{damaged.id}").text
    page = client.get(f"/runs/{garbage.id}/scalars")
    assert page.status_code == 422
    assert "file is not a database" in page.text
    api = client.get(f"/api/v1/runs/{garbage.id}/scalars")
    assert api.status_code == 422
    assert "file is not a database" in api.json()["error"]


def test_metrics_follow_the_projects_charts(client: httpx.Client, good: Run) -> None:
    page = client.get(f"/runs/{good.id}/scalars").text
    headings = re.findall(r"<h3><bdi>(.*?)</bdi></h3>", page)
    assert headings == ["Loss", "test/accuracy", "validation/accuracy", "odd"]
    assert page.count('class="chart"') == 3  # a single value is a number
    assert "<desc>Loss: steps 0 to 2; train/loss last 0.5, validation/loss last 0.75</desc>" in page
    assert "2 of 4 values not finite" in page
    table = re.search(r"<table>.*?</table>", page, re.S)
    assert table is not None
    assert "2 0.5 0.75" in text_of(table[0])


def test_series_are_filtered_by_a_regex(client: httpx.Client, good: Run) -> None:
    page = client.get(f"/runs/{good.id}/scalars", params={"tags": "^test|odd$"}).text
    assert re.findall(r"<h3><bdi>(.*?)</bdi></h3>", page) == ["test/accuracy", "odd"]
    bad = client.get(f"/runs/{good.id}/scalars", params={"tags": "(loss"})
    assert bad.status_code == 200
    assert "This is no regular expression" in bad.text
    assert bad.text.count("<h3>") == 4
    assert "No series matches" in client.get(f"/runs/{good.id}/scalars?tags=zzz").text
    api = client.get(f"/api/v1/runs/{good.id}/scalars", params={"tags": "(loss"})
    assert (api.status_code, api.json()["field"]) == (400, "tags")


def test_system_series_are_charts_in_their_units(client: httpx.Client, good: Run) -> None:
    page = client.get(f"/runs/{good.id}/system").text
    assert re.findall(r"<h2><bdi>(.*?)</bdi></h2>", page) == ["Process tree", "This machine", "GPU"]
    text = text_of(page)
    for words in ("op/mem/rss 2 GiB", "sys/cpu1/util 60%", "gpu0/temp 70 °C", "time since start"):
        assert words in text


def test_output(client: httpx.Client, good: Run) -> None:
    page = client.get(f"/runs/{good.id}/output").text
    assert '<span class="fg2">epoch 2</span>' in page
    assert 'class="err" id="L3"' in page
    assert "3 lines" in page
    assert "1 line" in text_of(client.get(f"/runs/{good.id}/output?stream=stderr").text)
    found = client.get(f"/api/v1/runs/{good.id}/output?q=EPOCH+2").json()
    assert [line["id"] for line in found["lines"]] == [2]
    assert "No line matches" in client.get(f"/runs/{good.id}/output?q=nope&only=1").text


def test_long_output_begins_at_its_end(tmp_path: Path) -> None:
    run = make_run(make_project(tmp_path).store, out=[f"line {n}" for n in range(1, 1203)])
    with viewing(tmp_path) as client:
        last = client.get(f"/api/v1/runs/{run.id}/output").json()
        assert (last["page"], last["pages"], last["total"]) == (3, 3, 1202)
        assert [line["text"] for line in last["lines"]] == ["line " + str(n) for n in (1001,)] + [
            f"line {n}" for n in range(1002, 1203)
        ]
        first = client.get(f"/api/v1/runs/{run.id}/output?page=1").json()
        assert [line["id"] for line in first["lines"]] == list(range(1, 501))
        found = client.get(f"/api/v1/runs/{run.id}/output?q=line+12&page=1").json()
        assert [line["id"] for line in found["lines"]] == [12, *range(120, 130), 1200, 1201, 1202]
        assert "page 2 of 3" in client.get(f"/runs/{run.id}/output?page=2").text


def test_source_shows_files_with_numbers_and_a_diff(client: httpx.Client, good: Run) -> None:
    page = client.get(f"/runs/{good.id}/source?file=pkg/model.py").text
    assert "<code>x = &#39;&lt;b&gt;&#39;</code>" in page
    assert 'id="L3"' in page
    diff = client.get(f"/runs/{good.id}/source?file=git.diff").text
    assert '<li class="add" id="L5">' in diff
    for path in ("../run.db", "/etc/passwd", "pkg", "gone.py"):
        assert client.get(f"/runs/{good.id}/source", params={"file": path}).status_code == 404


def test_lines_of_any_length_and_kind(tmp_path: Path) -> None:
    lines = ["x" * 1_000_000, "\x00\x07\udc80 binary", "tail"]
    run = make_run(make_project(tmp_path).store)
    with RunDb(run.paths.db) as db:
        db.write([Reading(None, {}, [OutputLine(1, 1, line) for line in lines])])
    run.paths.sources.mkdir()
    (run.paths.sources / "dos.py").write_bytes(b"a = 1\r\nb = '\xe2\x80\xa8'\r\n\xff\r\n")
    with viewing(tmp_path) as client:
        page = client.get(f"/runs/{run.id}/output")
        assert len(page.content) < 20_000
        assert "and 995,000 more characters" in page.text
        source = client.get(f"/runs/{run.id}/source").text
        assert re.findall(r"<code>(.*)</code></li>", source) == [
            "a = 1", "b = &#39;\\u2028&#39;", "\N{REPLACEMENT CHARACTER}",
        ]  # fmt: skip


# JSON


def test_the_api_says_null_for_what_is_not_finite(client: httpx.Client, good: Run) -> None:
    answer = client.get("/api/v1/series", params={"run": good.id, "tag": "odd", "px": 100})
    (odd,) = answer.json()["series"]
    assert (odd["x"], odd["y"]) == ([0, 1, 2, 3], [1.0, None, None, 4.0])
    assert [each[:2] for each in odd["non_finite"]] == [[1, "nan"], [2, "inf"]]
    assert (odd["n"], odd["min"], odd["max"], odd["last"]) == (4, 1.0, 4.0, 4.0)
    assert odd["sampled"] is False
    both = client.get(f"/api/v1/series?run={good.id},{good.id}&tag=train/loss").json()["series"]
    assert [each["y"] for each in both] == [[2.0, 1.0, 0.5]]
    assert client.get(f"/api/v1/series?run={good.id}&tag=none").json()["series"] == []
    assert client.get("/api/v1/series?run=none&tag=x").status_code == 404
    assert client.get(f"/api/v1/series?run={good.id}&tag=x&px=1").status_code == 422


def test_a_long_series_keeps_its_spike(tmp_path: Path) -> None:
    values = [0.0] * 60_000
    values[41_234] = 100.0
    run = make_run(make_project(tmp_path).store, series={"x": values})
    with viewing(tmp_path) as client:
        (x,) = client.get(f"/api/v1/series?run={run.id}&tag=x&px=200").json()["series"]
        page = client.get(f"/runs/{run.id}/scalars").text
    assert max(x["y"]) == 100.0
    assert len(x["x"]) <= 400
    assert x["sampled"] is True
    assert len(page) < 60_000


def test_health_and_project(client: httpx.Client, place: Path) -> None:
    health = client.get("/api/v1/health").json()
    assert health["status"] == "ok"
    assert health["directory"] == str(place)
    assert client.get("/api/v1/project").json()["name"] == "digits"


def test_the_api_describes_itself(client: httpx.Client) -> None:
    paths = client.get("/api/v1/openapi.json").json()["paths"]
    assert {"/api/v1/runs", "/api/v1/series", "/api/v1/health"} <= set(paths)


# Text is text


@pytest.mark.parametrize("section", SECTIONS)
def test_hostile_text_stays_text(client: httpx.Client, place: Path, section: str) -> None:
    run = run_of(place, "175201")
    for page in (
        client.get(f"/runs/{run.id}{section}").text,
        client.get("/runs", params={"q": HOSTILE, "sort": HOSTILE}).text,
        client.get("/runs").text,
        client.get(f"/runs/{quote(HOSTILE, safe='')}").text,
        client.get(f"/runs/{run.id}/scalars", params={"tags": HOSTILE + "["}).text,
        client.get(f"/runs/{run.id}/output", params={"q": HOSTILE, "op": HOSTILE}).text,
    ):
        own = r'<script type="module" src="/static/dist/[\w-]+\.js"></script>'
        assert "<script" not in re.sub(own, "", page)
        assert "<img src=x" not in page
        assert "\u202e" not in page
        assert "\x1b" not in page
        assert not re.search(r"\son\w+=|\sstyle=|javascript:", page)


def test_pages_load_nothing_from_elsewhere(client: httpx.Client, good: Run) -> None:
    page = client.get(f"/runs/{good.id}").text
    assert re.findall(r'(?:src|href)="(?:https?:)?//', page) == []
    for asset in re.findall(r'<link [^>]*href="([^"]+)"', page):
        assert client.get(asset).status_code == 200
    policy = client.get("/runs").headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "unsafe" not in policy


def test_tables_and_images_can_be_heard(client: httpx.Client, good: Run) -> None:
    for section in SECTIONS:
        page = client.get(f"/runs/{good.id}{section}").text
        assert '<main id="main" data-page="run' in page
        assert '<a class="skip" href="#main">' in page
        assert len(re.findall(r"<th(?![^>]*scope=)[ >]", page)) == 0
        for svg in re.findall(r"<svg[^>]*>", page):
            assert 'role="img"' in svg or 'aria-hidden="true"' in svg
        labels = set(re.findall(r'<label for="(\w+)"', page))
        assert set(re.findall(r'<(?:input|select) id="(\w+)"', page)) <= labels


# States


def test_without_project_or_runs_the_page_says_what_to_do(tmp_path: Path) -> None:
    with viewing(tmp_path, project=False) as client:
        page = client.get("/runs")
        assert page.status_code == 200
        assert "gl run train.py" in page.text
        assert client.get("/runs/latest").status_code == 404
        assert client.get("/api/v1/runs").json()["rows"] == []
        assert client.get("/api/v1/project").status_code == 404


def test_runs_are_shown_without_a_project_file(tmp_path: Path) -> None:
    run = make_run(RunStore(tmp_path / "runs"), series={"loss": [2, 1], "sys/cpu/util": [1, 1]})
    with viewing(tmp_path, project=False) as client:
        assert client.get("/api/v1/runs").json()["metrics"] == ["loss"]
        assert "loss 1" in text_of(client.get(f"/runs/{run.id}").text)


def test_unknown_things_are_answered_in_our_voice(client: httpx.Client) -> None:
    page = client.get("/runs/nope")
    assert page.status_code == 404
    assert "There is no run <code>nope</code>" in page.text
    assert client.get("/nope").status_code == 404
    api = client.get("/api/v1/runs/nope")
    assert api.json() == {
        "error": "there is no run `nope`",
        "hint": "it may have been removed since",
    }
    assert client.post("/runs").status_code == 405


def test_a_running_run_refreshes_until_it_ends(tmp_path: Path) -> None:
    run = make_run(make_project(tmp_path).store, ended=False, alive=True, out=["begun"])
    with viewing(tmp_path) as client:
        for page in ("/runs", *(f"/runs/{run.id}{s}" for s in SECTIONS if s != "/source")):
            html = client.get(page).text
            assert '<meta http-equiv="refresh" content="5">' in html
            assert "pause" in html
            paused = client.get(f"{page}?live=0").text
            assert "http-equiv" not in paused
            assert "resume" in paused
        for page in ("/runs?q=expert", f"/runs/{run.id}/scalars?tags=x"):
            assert "http-equiv" not in client.get(page).text
        write_fact(run.paths.exit, {"time": START + 1, "duration_s": 1.0, "code": 0})
        html = client.get(f"/runs/{run.id}").text
        assert "http-equiv" not in html
        assert "ended" in text_of(html)


def test_new_points_show_without_a_restart(tmp_path: Path) -> None:
    run = make_run(make_project(tmp_path).store, series={"validation/accuracy": [0.5]})
    with viewing(tmp_path) as client:
        assert "50.0%" in client.get("/runs").text
        with RunDb(run.paths.db) as db:
            point = Point(1, None, 0.75)
            db.write([Reading(None, {"validation/accuracy": [point]}, [OutputLine(1, 1, "x")])])
        assert "75.0%" in client.get("/runs").text


def test_a_pending_run_has_pages(tmp_path: Path) -> None:
    run = make_run(make_project(tmp_path).store, ended=False, alive=True)
    run.paths.db.unlink()
    with viewing(tmp_path) as client:
        assert client.get(f"/runs/{run.id}").status_code == 200
        page = client.get(f"/runs/{run.id}/scalars")
        assert page.status_code == 200
        assert "Nothing to show yet" in page.text


def test_later_operations_are_listed(tmp_path: Path) -> None:
    run = make_run(make_project(tmp_path).store)
    meta = run.paths.ops / "2-evaluate" / "meta"
    meta.mkdir(parents=True)
    write_fact(meta / "manifest.json", {"operation": "evaluate", "command": ["python", "e.py"]})
    write_fact(meta / "exit.json", {"time": START, "duration_s": 2.0, "code": 1})
    with RunDb(run.paths.db) as db:
        db.write(
            [Reading(None, {}, [OutputLine(1, 1, "own"), OutputLine(2, 1, "x", "2-evaluate")])]
        )
    with viewing(tmp_path) as client:
        text = text_of(client.get(f"/runs/{run.id}").text)
        assert "2-evaluate failed exit status 1" in text
        for op, expected in (("", ["own"]), ("2-evaluate", ["x"])):
            found = client.get(f"/api/v1/runs/{run.id}/output?op={op}").json()["lines"]
            assert [line["text"] for line in found] == expected
        page = client.get(f"/runs/{run.id}/output").text
        assert '<option value="2-evaluate">' in page


def test_settling_is_asked_for_once_a_request(tmp_path: Path) -> None:
    run = make_run(make_project(tmp_path).store)
    asked: list[list[str]] = []
    with viewing(tmp_path, settle=lambda runs: asked.append([r.id for r in runs])) as client:
        client.get("/runs")
        client.get(f"/runs/{run.id}")
        client.get(f"/api/v1/runs/{run.id}/scalars")
    assert asked == [[run.id]] * 3


def test_a_thousand_runs_are_twenty_light_pages(tmp_path: Path) -> None:
    store = make_project(tmp_path).store
    for number in range(1000):
        path = store.create("expert", now=START + number).paths
        flags = {"lr": str(number / 1000)}
        manifest = {"model": "expert", "operation": "train", "flags": flags}
        path.manifest.write_text(json.dumps(manifest))
        path.exit.write_text('{"time": 1, "duration_s": 1, "code": 0}')
    with viewing(tmp_path) as client:
        page = client.get("/runs")
        assert "page 1 of 20" in page.text
        assert page.text.count('<th scope="row">') == 50
        assert len(page.content) < 70_000
        last = client.get("/api/v1/runs?page=20&sort=-flag.lr").json()["rows"]
        assert [row["flags"]["lr"] for row in last][-2:] == ["0.001", "0.0"]


# Who is let in


def routes() -> list[tuple[str, str]]:
    """Return every route of the application, so that one added later is tried too."""
    from guildlite.http import Tokens
    from guildlite.web.app import create_app

    guard = create_app(Path("nowhere"), None, tokens=Tokens(SECRET))
    found = {
        (method, route.path)
        for route in flat(guard.app.routes)  # type: ignore[attr-defined]
        for method in route.methods or ()  # type: ignore[attr-defined]
    }
    return sorted(found)


def flat(several: list[object]) -> Iterator[object]:
    for route in several:
        if hasattr(route, "path") and hasattr(route, "methods"):
            yield route
        else:
            router = getattr(route, "original_router", None) or getattr(route, "app", None)
            yield from flat(list(getattr(router, "routes", ())))


def test_every_route_is_known_to_the_walk() -> None:
    paths = {path for _, path in routes()}
    assert {"/runs", "/runs/{run_id}/files/{path:path}", "/static/page.css"} <= paths
    assert {"/api/v1/code", "/api/v1/series", "/api/v1/openapi.json"} <= paths


def test_every_route_refuses_without_token_host_or_origin(client: httpx.Client) -> None:
    for method, pattern in routes():
        path = re.sub(r"\{[^}]*\}", "x", pattern)
        for headers, status in (
            ({"authorization": ""}, 401),
            ({"authorization": "Bearer wrong"}, 401),
            ({"host": "evil.example"}, 421),
        ):
            assert client.request(method, path, headers=headers).status_code == status, path
        if method not in ("GET", "HEAD"):
            for headers in ({"origin": "http://evil.example"}, {"sec-fetch-site": "cross-site"}):
                assert client.request(method, path, headers=headers).status_code == 403, path


def test_the_printed_code_becomes_a_cookie(client: httpx.Client, good: Run) -> None:
    code = client.post("/api/v1/code").json()["code"]
    with httpx.Client(base_url=client.base_url) as browser:
        first = browser.get(f"/runs/{good.id}/scalars?token={code}&tags=loss")
        assert first.headers["location"] == f"/runs/{good.id}/scalars?tags=loss"
        assert "HttpOnly; SameSite=Strict" in first.headers["set-cookie"]
        assert browser.get(first.headers["location"]).status_code == 200
    assert httpx.get(f"{client.base_url}/runs?token={code}").status_code == 401


def test_series_of_add_scalars_share_a_chart(tmp_path: Path) -> None:
    """PyTorch makes a directory for each name; the chart is the one that was meant."""
    names = {"losses_train/losses": [2.0, 1.0], "losses_test/losses": [3.0, 2.0], "lr": [0.1, 0.1]}
    run = make_run(make_project(tmp_path).store, series=names)
    with viewing(tmp_path) as client:
        page = client.get(f"/runs/{run.id}/scalars").text
        (groups,) = [client.get(f"/api/v1/runs/{run.id}/scalars").json()["groups"]]
    assert page.count('<article class="card') == 2
    cards = {card["title"]: card for _, members in groups for card in members}
    assert [line["name"] for line in cards["losses"]["lines"]] == ["test", "train"]
    tags = [source["tag"] for source in cards["losses"]["sources"]]
    assert tags == ["losses_test/losses", "losses_train/losses"]
