"""Runs compared in the viewer: tables, columns for charts, files, and two runs in detail."""

from __future__ import annotations

import csv
import html
import io
import math
import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from support.run_dirs import START, make_run
from support.viewing import Place, make_project, viewing

from guildlite.runs import Run


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return make_project(tmp_path)


@pytest.fixture
def client(place: Place, tmp_path: Path) -> Iterator[httpx.Client]:
    with viewing(tmp_path) as client:
        yield client


@pytest.fixture
def three(place: Place) -> list[Run]:
    """Three runs that differ in one flag, one metric with a goal and one attribute."""
    given = [("0.5", 0.7, 0.4, "tower"), ("0.1", 0.9, 0.3, "tower"), ("0.01", 0.8, 0.6, "mill")]
    return [
        make_run(
            place.store,
            started=START + 60 * n,
            flags={"lr": lr, "epochs": "10", "optimizer": "adam"},
            series={
                "validation/accuracy": [0.1, 0.95 - n / 100, accuracy],
                "train/loss": [2.0, loss],
                "same": [1.0, 1.0],
            },
            attrs={"git.branch": "main", "host": host},
        )
        for n, (lr, accuracy, loss, host) in enumerate(given)
    ]


def ids(runs: list[Run]) -> str:
    return ",".join(run.id for run in runs)


def plain(page: str) -> str:
    """Return the words of a part of a page, spaces between."""
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", page)).split())


def part(page: str, name: str) -> str:
    """Return the section with an id."""
    start = page.index(f'id="{name}"')
    return page[start : page.index("</section>", start)]


def rows(page: str) -> dict[str, str]:
    """Return the rows of the table of what differs, by their heads."""
    found = re.findall(r"<tr><th scope=\"row\">(.*?)</th>(.*?)</tr>", part(page, "differs"), re.S)
    return {plain(head): plain(rest) for head, rest in found}


def cells(row: str) -> list[str]:
    """Return the texts of a row: status, model, start, duration, then what differs."""
    return [plain(cell) for cell in re.findall(r"<td.*?>(.*?)</td>", row, re.S)]


# Which runs ---------------------------------------------------------------------------------------


def test_what_differs_is_shown_and_the_rest_counted(client: httpx.Client, three: list[Run]) -> None:
    page = client.get("/compare", params={"run": ids(three), "view": "table"}).text
    found = rows(page)
    assert found["lr"] == "0.5 0.1 0.01"
    assert found["host"] == "tower tower mill"
    assert not {"epochs", "optimizer", "same", "git.branch"} & set(found)
    # epochs and optimizer are left out before, same has three columns of equal values
    assert "3 columns are the same in all" in plain(page)
    everything = rows(client.get(f"/compare?run={ids(three)}&view=table&diff=0").text)
    assert everything["epochs"] == "10 10 10" and everything["git.branch"] == "main main main"
    assert everything["same"] == "1 1 1"


def test_the_best_is_marked_by_the_goal(client: httpx.Client, three: list[Run]) -> None:
    found = rows(client.get(f"/compare?run={ids(three)}").text)
    assert found["validation/accuracy"] == "70.0% 90.0% best 80.0%"
    assert found["max validation/accuracy"] == "95.0% best 94.0% 93.0%"
    assert found["train/loss"] == "0.4 0.3 best 0.6"
    worst = rows(client.get(f"/compare?run={ids(three)}&view=table&of=min&diff=0").text)
    assert worst["min validation/accuracy"] == "10.0% best 10.0% 10.0%"
    assert "validation/accuracy" not in worst and worst["min same"] == "1 1 1"
    best = rows(client.get(f"/compare?run={ids(three)}&view=table&of=best").text)
    assert "max validation/accuracy" in best and "min train/loss" in best


def test_the_overview_has_table_and_curves(client: httpx.Client, three: list[Run]) -> None:
    page = client.get("/compare", params={"run": [run.id for run in three]}).text
    assert 'id="differs"' in page and "<svg" in page and "data-lines=" in page
    curves = client.get(f"/compare?run={ids(three)}&view=curves").text
    assert 'id="differs"' not in curves and "data-lines=" in curves
    for view in ("parallel", "scatter"):
        page = client.get(f"/compare?run={ids(three)}&view={view}").text
        assert f'data-chart="{view}"' in page
        assert all(run.id in part(page, "differs") for run in three), "whole without a script"


def test_tabs_keep_the_runs(client: httpx.Client, three: list[Run]) -> None:
    page = client.get("/compare?q=lr+>+0.05&view=table&sort=-flag.lr").text
    tabs = page[page.index('class="tabs"') :].partition("</nav>")[0]
    links = [html.unescape(each) for each in re.findall(r'href="(/compare[^"]*)"', tabs)]
    assert "/compare?q=lr+%3E+0.05&view=scatter" in links
    assert all("sort" not in link for link in links)
    assert 'aria-current="page">Table' in tabs


def test_a_filter_chooses_the_runs(client: httpx.Client, three: list[Run]) -> None:
    page = client.get("/compare", params={"q": "flag.lr < 0.2", "view": "table"}).text
    assert "2 of 3 runs" in plain(page)
    assert rows(page)["lr"] == "0.01 0.1", "the newest first"
    none = plain(client.get("/compare", params={"q": "lr > 7"}).text)
    assert "No run matches" in none and "compare all 3 runs" in none
    wrong = client.get("/compare", params={"q": "los < 0.1"})
    assert wrong.status_code == 200
    assert "no run has a flag, series or attribute" in plain(wrong.text)
    assert 'aria-invalid="true"' in wrong.text
    hostile = client.get("/compare", params={"q": "<script>alert(1)</script>"}).text
    assert "<script>alert" not in hostile
    assert client.get("/compare?run=nobody").status_code == 404


def test_nothing_chosen_says_how_to(client: httpx.Client) -> None:
    page = client.get("/compare").text
    assert "No runs chosen" in page and 'href="/compare?q=&amp;view=table"' in page


def test_many_runs_are_rows_sorted_and_paged(place: Place, client: httpx.Client) -> None:
    for n in range(120):
        flags = {"lr": str(n), "way": f"way{n % 12}"} if n else {}
        make_run(place.store, started=START + n, flags=flags, series={"train/loss": [1 / (n + 1)]})
    page = client.get("/compare?q=&view=table&sort=flag.lr").text
    table = part(page, "differs")
    first = re.findall(r"<tr>\s*<th scope=\"row\">.*?</tr>", table, re.S)
    assert len(first) == 100 and "page 1 of 2" in plain(table)
    lr = [cells(row)[4] for row in first]
    assert lr[:12] == [str(n) for n in range(1, 13)], "by number, not by text"
    last = part(client.get("/compare?q=&view=table&sort=flag.lr&page=2").text, "differs")
    end = re.findall(r"<tr>\s*<th scope=\"row\">.*?</tr>", last, re.S)[-1]
    assert "\N{EN DASH}" in plain(end), "the run without the flag stands at the end"
    down = part(client.get("/compare?q=&view=table&sort=-flag.lr").text, "differs")
    assert 'aria-sort="descending"' in down
    top = re.findall(r"<tr>\s*<th scope=\"row\">.*?</tr>", down, re.S)[0]
    assert cells(top)[4] == "119"
    # Overviews and curves are of runs that can have a colour of their own.
    assert "The first 18 of 120 runs" in plain(client.get("/compare?q=&view=curves").text)
    assert 'id="differs"' in client.get("/compare?q=").text
    assert client.get("/compare?q=&view=table&sort=%00&page=99999&of=x").status_code == 200


def test_a_run_that_cannot_be_read_takes_part(client: httpx.Client, three: list[Run]) -> None:
    three[1].paths.db.write_bytes(b"no database")
    page = client.get("/compare", params={"run": ids(three)})
    assert page.status_code == 200 and "unreadable" in page.text
    assert rows(page.text)["train/loss"] == "0.4 best \N{EN DASH} 0.6"
    assert client.get(f"/compare?run={ids(three)}&view=diff").status_code == 200


# Columns and files --------------------------------------------------------------------------------


def columns(client: httpx.Client, **words: object) -> dict[str, dict[str, object]]:
    answer = client.get("/api/v1/compare/columns", params=words).json()  # type: ignore[arg-type]
    return {column["name"]: column for column in answer["columns"]}


def test_columns_are_numbers_or_words(place: Place, client: httpx.Client) -> None:
    given = [{"lr": "1e-3", "mixed": "1", "way": "a"}, {"lr": "10", "mixed": "b", "way": "c"}, {}]
    runs = [
        make_run(
            place.store,
            started=START + n,
            flags=flags,
            series={"train/loss": [value], "status": [float(n)]},
        )
        for n, (flags, value) in enumerate(zip(given, [0.5, math.inf, math.nan], strict=True))
    ]
    found = columns(client, run=ids(runs))
    assert found["flag.lr"]["values"] == [0.001, 10, None]
    assert (found["flag.lr"]["type"], found["flag.mixed"]["type"]) == ("number", "text")
    assert found["flag.mixed"]["values"] == ["1", "b", None]
    assert found["train/loss"]["values"] == [0.5, None, None], "infinity and NaN have no place"
    named = columns(client, run=ids(runs), column=["series.status", "status", "nobody"])
    assert named["series.status"]["values"] == [0, 1, 2]
    assert named["status"]["values"] == ["completed"] * 3
    assert named["series.status"]["filter"] == "status"
    assert set(named) == {"series.status", "status"}


def test_columns_are_sent_again_only_when_they_changed(
    place: Place, client: httpx.Client, three: list[Run]
) -> None:
    first = client.get("/api/v1/compare/columns", params={"q": "lr > 0"})
    assert first.json()["matching"] == 3 and first.json()["live"] is False
    again = {"if-none-match": first.headers["etag"]}
    assert client.get("/api/v1/compare/columns?q=lr+>+0", headers=again).status_code == 304
    make_run(place.store, started=START + 999, flags={"lr": "3"})
    later = client.get("/api/v1/compare/columns?q=lr+>+0", headers=again)
    assert later.status_code == 200 and later.json()["matching"] == 4
    json = {"accept": "application/json"}
    assert client.get("/api/v1/compare/columns?q=los<1", headers=json).status_code == 400
    assert client.get("/api/v1/compare/columns?run=nobody", headers=json).status_code == 404


def test_a_running_run_is_live(place: Place, client: httpx.Client) -> None:
    run = make_run(place.store, alive=True, ended=False)
    page = client.get(f"/compare?run={run.id}&view=table").text
    assert 'data-live="1"' in page and 'data-every="2"' in page
    assert client.get(f"/api/v1/compare/columns?run={run.id}").json()["live"] is True


def test_the_table_as_files(client: httpx.Client, three: list[Run]) -> None:
    three[0].set_label("a & b | 50 % _x_")
    words = {"run": ids(three), "sort": "flag.lr", "of": "last"}
    table = client.get("/api/v1/compare/table", params={**words, "form": "csv"})
    assert table.headers["content-disposition"] == 'attachment; filename="runs.csv"'
    lines = list(csv.DictReader(io.StringIO(table.text)))
    assert [line["flag.lr"] for line in lines] == ["0.01", "0.1", "0.5"]
    assert lines[2]["label"] == "a & b | 50 % _x_" and lines[2]["validation/accuracy"] == "0.7"
    objects = client.get("/api/v1/compare/table", params=words).json()
    assert [each["train/loss"] for each in objects] == [0.6, 0.3, 0.4]
    markdown = client.get("/api/v1/compare/table", params={**words, "form": "markdown"}).text
    assert "| a & b \\| 50 % _x_ | completed |" in markdown and "| **90.0%** |" in markdown
    latex = client.get("/api/v1/compare/table", params={**words, "form": "latex"}).text
    assert r"a \& b | 50 \% \_x\_ & completed &" in latex and r"\textbf{90.0\%}" in latex
    assert latex.startswith("\\begin{tabular}{ll") and latex.endswith("\\end{tabular}\n")


# Two runs -----------------------------------------------------------------------------------------


def test_two_runs_in_detail(client: httpx.Client, three: list[Run]) -> None:
    for run, text in zip(three, ("lr = 1\nx = 2\n", "lr = 1\nx = 3\n", ""), strict=True):
        run.paths.sources.mkdir(parents=True, exist_ok=True)
        (run.paths.sources / "train.py").write_text(text)
    page = client.get(f"/compare?run={ids(three)}&view=diff").text
    assert plain(part(page, "flags")).endswith("lr 0.5 0.1")
    outcomes = plain(part(page, "outcomes"))
    assert "The curves first part in train/loss at step 1: 0.4 and 0.3." in outcomes
    assert "validation/accuracy 70.0% 90.0% 1" in outcomes
    source = part(page, "sources")
    assert "-x = 2" in source and "+x = 3" in source
    # The signs there are those of here: a minus for what only the first has.
    assert f'/runs/{three[0].id}/source?against={three[1].id}"' in source
    other = client.get(f"/compare?run={ids(three)}&view=diff&a={three[1].id}&b={three[2].id}").text
    assert plain(part(other, "flags")).endswith("lr 0.1 0.01")
    assert "host tower mill" in plain(part(other, "machine"))
    same = client.get(f"/compare?run={three[0].id}&view=diff").text
    assert "One run is not enough" in same
    json = client.get(f"/api/v1/compare/diff?run={ids(three[:2])}").json()
    assert json["flags"] == [{"name": "lr", "one": "0.5", "other": "0.1"}]
    assert client.get(f"/api/v1/compare/diff?run={ids(three)}").status_code == 400


def test_long_curves_are_not_read_to_their_ends(
    client: httpx.Client, three: list[Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    # By length of both: loss 4 points, same 4, accuracy 6.
    monkeypatch.setattr("guildlite.web.pages.compare.MOST_POINTS", 8)
    page = part(client.get(f"/compare?run={ids(three[:2])}&view=diff").text, "outcomes")
    assert "first part in train/loss at step 1" in plain(page)
    assert "Where 1 long curve parts was not looked for" in plain(page)
    assert "validation/accuracy 70.0% 90.0% Where" in plain(page)


def test_texts_of_runs_are_never_markup(place: Place, client: httpx.Client) -> None:
    evil = "<img src=x onerror=alert(1)>"
    runs = [
        make_run(place.store, started=START + n, flags={evil: f"{evil}{n}"},
                 series={evil: [float(n)]}, attrs={evil: f"{n}{evil}"}, label=f"{evil}{n}")
        for n in range(2)
    ]  # fmt: skip
    for view in ("", "table", "curves", "parallel", "scatter", "images", "diff"):
        page = client.get(f"/compare?run={ids(runs)}&view={view}")
        assert page.status_code == 200 and evil not in page.text, view
