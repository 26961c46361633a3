"""The run table over HTTP: columns, groups, completion, CSV, saved views, bulk actions, caching."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from statistics import mean
from urllib.parse import quote

import httpx
import pytest
from support.run_dirs import START, make_run
from support.viewing import make_project, viewing

from guildlite.runs import Run, RunStore

LOSSES = [0.5, 0.25, 1.0, 0.75]


@pytest.fixture
def store(tmp_path: Path) -> RunStore:
    """Four runs, a minute apart; the second is another model's."""
    store = make_project(tmp_path).store
    for number, loss in enumerate(LOSSES):
        make_run(
            store,
            "intro" if number == 1 else "expert",
            started=START + 60 * number,
            flags={"lr": repr(0.1 * (number % 2 + 1)), "seed": str(number)},
            series={"train/loss": [loss * 2, loss, loss * 1.5], "sys/cpu/util": [0.5]},
            code=3 if number == 3 else 0,
        )
    return store


@pytest.fixture
def client(store: RunStore, tmp_path: Path) -> Iterator[httpx.Client]:
    with viewing(tmp_path) as client:
        yield client


def runs(client: httpx.Client, **words: str) -> dict[str, object]:
    answer = client.get("/api/v1/runs", params=words)
    assert answer.status_code == 200, answer.text
    found: dict[str, object] = answer.json()
    return found


def cells(table: dict[str, object]) -> list[list[object]]:
    return [row["cells"] for row in table["rows"]]  # type: ignore[attr-defined,index]


def heads(table: dict[str, object]) -> list[str]:
    return [column["text"] for column in table["columns"]]  # type: ignore[attr-defined,index]


def send(client: httpx.Client, path: str, *pairs: tuple[str, str]) -> httpx.Response:
    origin = str(client.base_url).rstrip("/")
    data: dict[str, list[str]] = {}
    for name, text in pairs:
        data.setdefault(name, []).append(text)
    return client.post(path, data=data, headers={"origin": origin})


# Columns


def test_columns_are_those_asked_for(client: httpx.Client) -> None:
    asked = "flag.lr,min(train/loss),best(train/loss),step(train/loss < 0.6),curve(train/loss),id"
    table = runs(client, cols=asked, sort="started")
    assert heads(table) == [
        "flag.lr", "min(train/loss)", "step(train/loss < 0.6)", "curve(train/loss)", "id",
    ]  # fmt: skip
    first, second, *_ = cells(table)
    assert first[:3] == ["0.1", 0.5, 1]
    assert second[:3] == ["0.2", 0.25, 0]
    assert [point["value"] for point in first[3]] == [1.0, 0.5, 0.75]  # type: ignore[attr-defined]
    page = client.get("/runs", params=[("cols", "status"), ("cols", "min(train/loss)")]).text
    assert re.findall(r'data-col="([^"]*)"', page) == ["status", "min(train/loss)"]


def test_a_column_that_is_none_is_said(client: httpx.Client) -> None:
    page = client.get("/runs?cols=status,lrr")
    assert page.status_code == 400
    assert "did you mean <code>lr</code>?" in page.text
    assert "<mark>lrr</mark>" in page.text
    answer = client.get("/api/v1/runs?cols=lrr")
    assert answer.status_code == 400
    assert answer.json()["hint"] == "did you mean `lr`?"
    assert (answer.json()["position"], answer.json()["expected"]) == (0, ["name"])


def test_labels_have_a_column_where_there_are_any(client: httpx.Client, store: RunStore) -> None:
    assert "label" not in heads(runs(client))
    store.list()[0].set_label("good")
    assert "label" in heads(runs(client))


# Filters


def test_a_filter_and_its_mistakes(client: httpx.Client) -> None:
    table = runs(client, q="train/loss < 1.2 and lr < 0.15", sort="train/loss")
    assert (table["matching"], table["total"]) == (1, 4)
    page = client.get("/runs", params={"q": "lr <"})
    assert page.status_code == 400
    assert "expected a value after" in page.text
    assert 'value="lr &lt;"' in page.text
    hostile = client.get("/runs", params={"q": "<script>alert(1)</script> < 1"}).text
    assert "<script>alert" not in hostile


def test_completion(client: httpx.Client) -> None:
    def texts(q: str, at: int | None = None) -> list[str]:
        words = {"q": q} if at is None else {"q": q, "at": str(at)}
        found = client.get("/api/v1/complete", params=words).json()
        return [each["text"] for each in found["candidates"]]

    assert "lr" in texts("l") and "label" in texts("l")
    assert texts("model = ") == ["expert", "intro"]
    assert "status" in texts("sta and lr < 1", 3)
    wrong = client.get("/api/v1/complete", params={"q": "loss < < 1"}).json()["problem"]
    assert (wrong["position"], wrong["length"]) == (7, 1)
    assert wrong["expected"] == ["value"]
    assert client.get("/api/v1/complete", params={"q": "lr < 1"}).json()["problem"] is None


def test_runs_are_hidden(client: httpx.Client, store: RunStore) -> None:
    newest = store.list()[0].id
    table = runs(client, hide=newest, q="expert")
    assert (table["matching"], table["hidden"]) == (2, 1)
    assert "Show 1 hidden" in client.get(f"/runs?hide={newest}").text


# Groups


def test_groups(client: httpx.Client) -> None:
    table = runs(client, group="flag.lr", cols="status,train/loss")
    groups = table["groups"]
    assert [group["values"] for group in groups] == [["0.1"], ["0.2"]]  # type: ignore[attr-defined]
    first = groups[0]  # type: ignore[index]
    assert first["cells"][1]["mean"] == pytest.approx(mean([0.75, 1.5]))
    assert first["rows"] == []
    opened = runs(client, group="flag.lr", open=first["key"])["groups"][0]  # type: ignore[index]
    assert [row["flags"]["lr"] for row in opened["rows"]] == ["0.1", "0.1"]
    assert runs(client, q=first["filter"])["matching"] == 2
    assert client.get("/runs?group=train/loss").status_code == 400


# CSV


def test_csv_is_what_is_shown(client: httpx.Client, store: RunStore) -> None:
    store.list()[0].set_label('a "b", c')
    answer = client.get(
        "/runs.csv?cols=label,flag.lr,train/loss,started,curve(train/loss)&q=expert"
    )
    assert answer.headers["content-type"].startswith("text/csv")
    rows = [*csv.reader(io.StringIO(answer.content.decode(), newline=""))]
    assert rows[0] == ["id", "label", "flag.lr", "train/loss", "started"]
    assert rows[1][1:4] == ['a "b", c', "0.2", "1.125"]
    assert rows[1][4] == "2026-11-20T17:48:01.000Z"
    assert len(rows) == 4


# Saved views


def test_views_by_json_and_by_name(client: httpx.Client, tmp_path: Path) -> None:
    asked = {"name": "good", "address": "/runs?q=lr+%3C+1&page=3&sel=x&trashed=y&sort=-loss"}
    made = client.post("/api/v1/views", json=asked)
    assert made.status_code == 201
    assert made.headers["location"] == "/s/good"
    kept = "/runs?q=lr+%3C+1&sort=-loss"
    assert json.loads((tmp_path / "views.json").read_text()) == {"views": {"good": kept}}
    opened = client.get("/s/good")
    assert (opened.status_code, opened.headers["location"]) == (303, kept)
    wrong = client.get("/s/god")
    assert wrong.status_code == 404
    assert "did you mean <code>good</code>?" in wrong.text
    assert client.get("/api/v1/views").json() == {"good": kept}
    assert 'href="/s/good"' in client.get("/runs").text
    assert client.delete("/api/v1/views/good").status_code == 200
    assert client.delete("/api/v1/views/good").status_code == 404
    assert client.get("/api/v1/views").json() == {}


@pytest.mark.parametrize(
    ("name", "address"),
    [
        ("", "/runs"),
        ("../x", "/runs"),
        ("a b", "/runs"),
        (".hidden", "/runs"),
        ("x" * 41, "/runs"),
        ("x/y", "/runs"),
        ("x", "//evil.example/runs"),
        ("x", "https://evil.example/runs"),
        ("x", "/new?op=x"),
        ("x", "/runs/../new"),
        ("x", "/runs\\..\\x"),
        ("x", "/runs\n/x"),
        ("x", "/static/page.css"),
        ("x", "/runs?q=" + "x" * 8000),
    ],
)
def test_views_that_are_refused(
    client: httpx.Client, tmp_path: Path, name: str, address: str
) -> None:
    answer = client.post("/api/v1/views", json={"name": name, "address": address})
    assert answer.status_code == 422
    form = send(client, "/s/save", ("name", name), ("address", address))
    assert form.status_code in (413, 422)
    assert not (tmp_path / "views.json").exists()


def test_a_damaged_file_of_views_is_left_alone(client: httpx.Client, tmp_path: Path) -> None:
    file = tmp_path / "views.json"
    for text in ("{", "[]", '{"views": 1}', '{"views": {}' + " " * 2_000_000 + "}"):
        file.write_text(text)
        page = client.get("/runs")
        assert page.status_code == 200
        assert "cannot be read" in page.text
        saved = client.post("/api/v1/views", json={"name": "x", "address": "/runs"})
        assert saved.status_code == 400
        assert file.read_text() == text
    # What somebody wrote by hand leads nowhere else.
    file.write_text('{"views": {"evil": "https://evil.example/", "good": "/runs?q=x"}}')
    assert client.get("/s/evil").status_code == 404
    assert client.get("/s/good").status_code == 303


def test_a_read_only_viewer_opens_views_and_saves_none(store: RunStore, tmp_path: Path) -> None:
    (tmp_path / "views.json").write_text('{"views": {"good": "/runs?q=x"}}')
    with viewing(tmp_path, read_only=True) as client:
        assert client.get("/s/good").status_code == 303
        page = client.get("/runs").text
        assert 'href="/s/good"' in page
        assert 'method="post"' not in page
        assert (
            client.post("/api/v1/views", json={"name": "x", "address": "/runs"}).status_code == 403
        )
        assert client.delete("/api/v1/views/good").status_code == 403
        assert send(client, "/s/delete", ("name", "good")).status_code == 403
        assert client.post("/api/v1/bulk", json={"do": "trash", "q": "", "n": 4}).status_code == 403
    assert json.loads((tmp_path / "views.json").read_text())["views"].keys() == {"good"}


# Bulk


def test_all_that_match_are_labelled(client: httpx.Client, store: RunStore) -> None:
    words = (("match", "1"), ("q", "expert"), ("n", "3"), ("label", "ours"))
    answer = send(client, "/runs/label", *words, ("back", "/runs?q=expert"))
    assert answer.headers["location"] == "/runs?q=expert"
    assert sorted(run.label for run in store.list()) == ["", "ours", "ours", "ours"]
    # Not as many as the page said: nothing is done.
    again = send(client, "/runs/trash", ("match", "1"), ("q", "expert"), ("n", "2"))
    assert again.status_code == 409
    assert "3 runs match now, not 2" in again.text
    wrong = send(client, "/runs/trash", ("match", "1"), ("q", "lr <"), ("n", "2"))
    assert wrong.status_code == 400
    assert len(store.list()) == 4


def test_hundreds_are_trashed_and_all_come_back(tmp_path: Path) -> None:
    store = make_project(tmp_path).store
    for number in range(150):
        path = store.create("a-model-with-quite-a-long-name", now=START + number).paths
        path.manifest.write_text('{"model": "m", "operation": "train", "flags": {}}')
        path.exit.write_text('{"time": 1, "duration_s": 1, "code": 0}')
    with viewing(tmp_path) as client:
        moved = send(client, "/runs/trash", ("match", "1"), ("q", ""), ("n", "150"))
        assert moved.status_code == 303
        assert len(moved.headers["location"]) < 200
        page = client.get(moved.headers["location"]).text
        assert "Moved 150 runs to the trash" in page
        word = re.search(r'name="run" value="(@[^"]+)"', page)
        assert word and not store.list()
        assert send(client, "/runs/restore", ("run", word[1])).status_code == 303
        assert len(store.list()) == 150
        assert send(client, "/runs/restore", ("run", "@forgotten")).status_code == 404


def test_bulk_by_json(client: httpx.Client, store: RunStore) -> None:
    ids = [run.id for run in store.list()]
    done = client.post("/api/v1/bulk", json={"do": "mark", "runs": ids[:2]}).json()
    assert done == {"done": ids[:2], "troubles": []}
    assert [run.marked for run in store.list()] == [True, True, False, False]
    moved = client.post("/api/v1/bulk", json={"do": "trash", "q": "marked = true", "n": 2}).json()
    assert moved["done"] == ids[:2]
    back = client.post("/api/v1/bulk", json={"do": "restore", "runs": moved["undo"]}).json()
    assert sorted(back["done"]) == sorted(ids[:2])
    stopped = client.post("/api/v1/bulk", json={"do": "stop", "runs": ids[:1]})
    assert stopped.status_code == 409
    assert "is not running" in stopped.json()["troubles"][0]["error"]
    assert client.post("/api/v1/bulk", json={"do": "trash", "q": "", "n": 9}).status_code == 409
    assert client.post("/api/v1/bulk", json={"do": "purge", "q": ""}).status_code == 422
    assert len(store.list()) == 4


# Choosing and caching


def test_the_choice_of_the_address_is_ticked_and_sent_along(
    client: httpx.Client, store: RunStore
) -> None:
    ids = [run.id for run in store.list()]
    page = client.get(f"/runs?q=intro&sel={ids[0]},{ids[2]}").text
    assert re.findall(r'name="run" value="([^"]+)" checked', page) == [ids[2]]
    assert f'<input type="hidden" name="run" value="{ids[0]}">' in page


def test_an_unchanged_table_is_not_sent_again(client: httpx.Client, store: RunStore) -> None:
    first = client.get("/runs")
    etag = {"if-none-match": first.headers["etag"]}
    again = client.get("/runs", headers=etag)
    # A minute may pass between the two: then it is another version.
    assert again.status_code == 304 or again.headers["etag"] != etag["if-none-match"]
    store.list()[0].set_label("new")
    changed = client.get("/runs", headers=etag)
    assert changed.status_code == 200
    assert "new" in changed.text
    assert client.get("/runs?q=new").headers["etag"] != changed.headers["etag"]


@pytest.mark.parametrize("temporary", [True, False])
def test_without_a_cache_to_write_to(
    store: RunStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, temporary: bool
) -> None:
    monkeypatch.setenv("GUILDLITE_CACHE", "/dev/null/nowhere")
    if not temporary:
        monkeypatch.setattr("tempfile.TemporaryDirectory", _no_room)
    with viewing(tmp_path) as client:
        for _ in range(2):
            assert runs(client, q="train/loss < 1", sort="train/loss")["matching"] == 2
        late = make_run(store, "intro", started=START + 900)
        assert late.id in client.get("/runs?q=intro").text


def _no_room(**_: object) -> object:
    raise OSError(28, "No space left on device")


def test_many_runs_say_how_far_they_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = make_project(tmp_path).store
    for number in range(3):
        make_run(store, started=START + number)
    monkeypatch.setattr("guildlite.web.lookup._MANY", 2)
    monkeypatch.setattr("guildlite.web.pages.runs._PATIENCE_S", 0)
    with viewing(tmp_path) as client:
        texts = []
        for _ in range(400):
            texts.append(client.get("/runs").text)
            if '<th scope="row">' in texts[-1]:
                break
        assert texts[-1].count('<th scope="row">') == 3
        for text in texts[:-1]:
            assert "This happens once" in text
            assert 'http-equiv="refresh" content="1"' in text


def test_a_run_whose_numbers_cannot_be_read_is_listed(
    client: httpx.Client, store: RunStore
) -> None:
    broken = make_run(store, started=START + 600, label=quote("x"))
    broken.paths.db.write_bytes(b"this is no database, but it is long enough to be taken for one")
    row = next(row for row in runs(client)["rows"] if row["id"] == broken.id)  # type: ignore[attr-defined]
    assert row["error"] is None
    assert row["trouble"]
    assert "run.db cannot be read" in client.get("/runs").text
    assert Run(broken.path).error is None
