"""The output page: searched, jumped into, and tied to the charts by time."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from support.run_dirs import make_run
from support.viewing import make_project, viewing

from guildlite.runs import Run
from guildlite.runs.db import RunDb
from guildlite.series import OutputLine, Reading
from guildlite.web.output import compile_query, first_error, line_at, read_output

START_MS = 1_795_196_701_000


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """1,300 lines, one a second; line 700 begins a traceback, an `error:` stands before it."""
    place = make_project(tmp_path_factory.mktemp("output"))
    run = make_run(place.store)
    texts = [f"step {n} loss {1 / n:.4f}" for n in range(1, 1301)]
    texts[299] = "warning, not an error yet"
    texts[399] = "\x1b[31merror: \x1b[1mretrying\x1b[0m"
    texts[699] = "Traceback (most recent call last):"
    texts[701] = "ValueError: a \x1b[31mbad\x1b[0m <b>thing</b>"
    lines = [OutputLine(START_MS + 1000 * n, 1, text) for n, text in enumerate(texts)]
    with RunDb(run.paths.db) as db:
        db.write([Reading(lines=lines)])
    return Run(run.path)


@pytest.fixture(scope="module")
def client(run: Run) -> Iterator[httpx.Client]:
    with viewing(run.path.parents[1]) as client:
        yield client


def test_a_search_shows_what_was_found_where_it_stands(client: httpx.Client, run: Run) -> None:
    page = client.get(f"/runs/{run.id}/output?q=STEP+12").text
    # 12, 120 to 129 and 1200 to 1299 begin so.
    assert "1 of 111 lines found" in page
    assert re.findall(r'<li class="out match" id="L(\d+)"', page) == ["12"]
    assert page.count("<li class=") == 500
    assert "<mark>step 12</mark> loss 0.0833" in page
    (next_url,) = re.findall(r'href="([^"]*)" data-match="next"', page)
    second = client.get(next_url.replace("&amp;", "&")).text
    assert "2 of 111 lines found" in second
    assert 'class="out match" id="L120"' in second


def test_going_through_lines_found_wraps_round(run: Run) -> None:
    last = read_output(run, query="Traceback")
    assert (last.matches, last.number, last.previous, last.next) == (1, 1, 700, 700)
    far = read_output(run, query="step 1299")
    assert (far.match, far.page, far.pages) == (1299, 3, 3)
    between = read_output(run, query="step 1", page=2)
    assert between.match is None
    # On the second page, from line 501 on: before it is step 199, after it step 1000.
    assert (between.previous, between.next) == (199, 1000)


def test_expressions_and_colours(run: Run) -> None:
    found = read_output(run, query=r"step (9|10) ", regex=True, only=True)
    assert [line.id for line in found.lines] == [9, 10]
    coloured = read_output(run, query="a bad <b>", only=True)
    assert [line.id for line in coloured.lines] == [702]


def test_what_is_found_is_marked_across_colours_and_stays_text(
    client: httpx.Client, run: Run
) -> None:
    page = client.get(f"/runs/{run.id}/output?q=a+bad+%3Cb%3E").text
    assert (
        "ValueError: <mark>a </mark>"
        '<span class="fg1"><mark>bad</mark></span><mark> &lt;b&gt;</mark>thing' in page
    )


@pytest.mark.parametrize(
    "query",
    [
        "(",
        "[a",
        "(?P<x>a)(?P<x>b)",
        "*",
        "(a+)+$",
        "(a|b*)*c",
        "(a+b?)+$",
        "((a*)b){2,}",
        "(?:[)]+x)*",
    ],
)
def test_an_expression_that_cannot_be_searched_for_is_said(
    client: httpx.Client, run: Run, query: str
) -> None:
    assert compile_query(query, regex=True)[0] is None
    page = client.get(f"/runs/{run.id}/output", params={"q": query, "re": "1"})
    assert page.status_code == 200
    assert 'aria-invalid="true"' in page.text
    assert page.text.count("<li class=") == 300  # the lines stay
    api = client.get(f"/api/v1/runs/{run.id}/output", params={"q": query, "re": "true"})
    assert (api.status_code, api.json()["field"]) == (422, "q")


@pytest.mark.parametrize(
    "query",
    [
        "(abc)+d+",
        "loss (0|1)",
        r"\w+ing",
        "a{2}",
        "(foo|bar)+",
        r"(\(+)x",
        "([+*])+",
        r"(a\+)+",
        "(a+)b*",
    ],
)
def test_other_expressions_are_taken(query: str) -> None:
    assert compile_query(query, regex=True)[1] == ""


def test_the_first_error_is_a_traceback_when_there_is_one(client: httpx.Client, run: Run) -> None:
    answer = client.get(f"/runs/{run.id}/output?go=error")
    assert answer.status_code == 303
    assert answer.headers["location"] == f"/runs/{run.id}/output?page=2#L700"


@pytest.mark.parametrize(
    ("text", "is_error"),
    [
        ("ValueError: x", True), ("torch.cuda.OutOfMemoryError: CUDA out of memory", True),
        ("main.c:3: error: expected ;", True), ("fatal: not a git repository", True),
        ("Segmentation fault (core dumped)", True), ("OSError: [Errno 28]", True),
        ("mean error 0.3", False), ("errors 0", False), ("terror: a film", False),
        ("train error: 0.3", False), ("Error: -1", False), ("0 fatal", False),
        ("HandlerErrors", False),
    ],
)  # fmt: skip
def test_what_looks_like_an_error(tmp_path: Path, text: str, is_error: bool) -> None:
    run = make_run(make_project(tmp_path).store, out=["fine", text])
    assert first_error(run) == (2 if is_error else None)


def test_without_an_error_the_page_says_so(tmp_path: Path) -> None:
    run = make_run(make_project(tmp_path).store, out=["fine"])
    with viewing(tmp_path) as client:
        page = client.get(f"/runs/{run.id}/output?go=error")
        assert page.status_code == 200
        assert "No line looks like an error" in page.text


@pytest.mark.parametrize(
    ("at_ms", "line"),
    [
        (0, 1), (START_MS, 1), (START_MS + 499_400, 500), (START_MS + 499_600, 501),
        (START_MS + 1_299_000, 1300), (START_MS + 9_999_000, 1300),
    ],
)  # fmt: skip
def test_a_moment_leads_to_the_nearest_line(
    client: httpx.Client, run: Run, at_ms: int, line: int
) -> None:
    assert line_at(run, at_ms) == line
    page = (line - 1) // 500 + 1
    answer = client.get(f"/runs/{run.id}/output?at={at_ms}")
    assert answer.headers["location"] == f"/runs/{run.id}/output?page={page}#L{line}"


def test_lines_without_a_time_are_passed_over(tmp_path: Path) -> None:
    run = make_run(make_project(tmp_path).store)
    with RunDb(run.paths.db) as db:
        lines = [OutputLine(None, 1, "old")] * 5
        lines += [OutputLine(10_000, 1, "a"), OutputLine(None, 1, "b"), OutputLine(20_000, 1, "c")]
        db.write([Reading(lines=lines)])
    assert [line_at(run, at) for at in (1, 14_000, 16_000, 99_000)] == [6, 6, 8, 8]
    empty = make_run(make_project(tmp_path).store, "intro")
    assert line_at(empty, 1000) is None


def test_a_time_leads_to_the_charts_and_a_number_to_its_line(
    client: httpx.Client, run: Run
) -> None:
    page = client.get(f"/runs/{run.id}/output?page=1").text
    assert f'href="/runs/{run.id}/scalars?at={START_MS + 11_000}"' in page
    assert f'href="/runs/{run.id}/output?page=1#L12">12</a>' in page


@pytest.mark.parametrize("at", ["x", "-1", "1e9", "9" * 40, ""])
def test_a_time_that_is_none_is_passed_over(client: httpx.Client, run: Run, at: str) -> None:
    assert client.get(f"/runs/{run.id}/output", params={"at": at}).status_code == 200
