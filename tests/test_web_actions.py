"""Starting, stopping and changing runs over HTTP, and who is kept from it."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable, Iterator
from html import unescape
from pathlib import Path

import httpx
import pytest
from support.run_dirs import START, make_run
from support.starting import ended, make_place, send, until
from support.viewing import SECRET, viewing

from guildlite.runs import Run, RunStore

POSTS = (
    "/new",
    "/prepare",
    "/runs/evaluate",
    "/runs/stop",
    "/runs/label",
    "/runs/mark",
    "/runs/unmark",
    "/runs/trash",
    "/runs/restore",
)


@pytest.fixture
def store(tmp_path: Path) -> RunStore:
    return make_place(tmp_path)


@pytest.fixture
def client(store: RunStore, tmp_path: Path) -> Iterator[httpx.Client]:
    with viewing(tmp_path) as client:
        yield client


@pytest.fixture
def wait(tmp_path: Path) -> Iterator[Path]:
    """While this file is there, the script runs on; it is gone after the test."""
    path = tmp_path / "wait"
    path.touch()
    yield path
    path.unlink(missing_ok=True)
    until(lambda: not any(run.busy() for run in RunStore(tmp_path / "runs").list()))


def newest(store: RunStore) -> Run:
    return store.list()[0]


def passed(run: Run) -> tuple[list[str], dict[str, str]]:
    """Return the words the script got, and the variables it saw that name a token."""
    words, tokens = json.loads((run.path / "argv.json").read_text())
    return words, tokens


def shown(page: httpx.Response, element: str) -> str:
    """Return the text of the command with this id."""
    found = re.search(rf'<pre[^>]* id="{element}"[^>]*><code[^>]*>(.*?)</code>', page.text, re.S)
    assert found, page.text
    return unescape(found[1])


# Starting


def test_the_form_starts_exactly_what_it_shows(client: httpx.Client, store: RunStore) -> None:
    words = {"op": "expert:train", "flag.lr": "0.05", "label": "first try", "note": "why\nnot"}
    pairs = (("profile", "quick"), ("was.augment", "False"), ("flag.augment", "False"))
    preview = send(client, "/new", *pairs, **words, do="preview")
    assert preview.status_code == 200
    assert not store.list()
    line = shown(preview, "line")
    assert line == (
        "gl train expert --profile quick lr=0.05 --label 'first try' --note 'why\nnot' -d"
    )
    answer = send(client, "/new", *pairs, **words, do="start")
    run = ended(newest(store))
    assert (answer.status_code, answer.headers["location"]) == (303, f"/runs/{run.id}")
    assert run.status == "completed"
    assert (run.label, run.note) == ("first try", "why\nnot")
    executed = [
        word.replace("$RUNDIR", str(run.path)) for word in shlex.split(shown(preview, "executed"))
    ]
    assert run.command == executed
    assert passed(run)[0] == executed[executed.index("train.py") + 1 :]
    assert client.get(answer.headers["location"]).status_code == 200


def test_what_is_wrong_is_at_its_field_and_nothing_starts(
    client: httpx.Client, store: RunStore
) -> None:
    page = send(client, "/new", op="expert:train", do="start", **{"flag.epochs": "many"})
    assert page.status_code == 422
    message = "flag <code>epochs</code> expects an integer from 1 to 500, got <code>many</code>"
    assert re.search(rf'<p class="error" id="f1-error">{message}', page.text)
    assert 'name="flag.epochs" value="many"' in page.text
    assert re.search(r'name="flag.epochs"[^>]*aria-invalid="true"', page.text)
    assert not store.list()


def test_the_form_has_a_control_for_each_type(client: httpx.Client) -> None:
    page = client.get("/new").text
    assert re.search(r'<input type="text"[^>]*name="flag.lr"[^>]*placeholder="0.5"', page)
    assert re.search(r'data-min="1" data-max="500" data-step="5"', page)
    assert page.count('type="radio" name="flag.optimizer"') == 3
    assert '<select id="f4" name="flag.dtype"' in page
    assert re.search(r'role="switch"[^>]*name="flag.augment"[^>]* checked', page)
    assert "a folder that is there" in page
    assert 'type="password"' in page


def test_a_switch_can_be_turned_off_without_a_script(client: httpx.Client) -> None:
    words = (("op", "expert:train"), ("was.augment", "True"), ("flag.augment", "False"))
    off = send(client, "/new", *words, do="preview")
    assert "augment=False" in shown(off, "line")
    on = send(client, "/new", *words, ("flag.augment", "True"), do="preview")
    assert shown(on, "line") == "gl train expert -d"


def test_a_secret_reaches_the_script_and_no_page(client: httpx.Client, store: RunStore) -> None:
    secret = {"flag.api_key": "hunter2"}
    preview = send(client, "/new", op="expert:train", do="preview", **secret)
    assert "hunter2" not in preview.text
    assert "api_key=(secret)" in shown(preview, "line")
    assert "Type it again" in preview.text
    kept = send(client, "/new", op="expert:train", do="live", **secret)
    assert "Type it again" not in kept.text
    assert "api_key" not in shown(client.get("/new", params=secret), "line")
    send(client, "/new", op="expert:train", do="start", **secret)
    run = ended(newest(store))
    assert "hunter2" in passed(run)[0]
    for page in (f"/new?from={run.id}", f"/runs/{run.id}", f"/api/v1/runs/{run.id}"):
        assert "hunter2" not in client.get(page).text


def test_the_viewers_own_secret_reaches_no_script(
    monkeypatch: pytest.MonkeyPatch, client: httpx.Client, store: RunStore
) -> None:
    monkeypatch.setenv("GL_TOKEN", SECRET)
    send(client, "/new", op="expert:train", do="start")
    assert passed(ended(newest(store)))[1] == {}


def test_a_missing_requirement_is_the_command_lines_message(
    client: httpx.Client, store: RunStore, tmp_path: Path
) -> None:
    words = {"op": "needy:train", "flag.must": "x", "do": "start"}
    page = send(client, "/new", **words)
    assert page.status_code == 422
    message = "<code>./samples</code> is missing, which train of <code>needy</code> needs"
    assert message in page.text
    assert not store.list()
    answer = send(client, "/prepare", **{**words, "name": "needy", "flag.lr": ""})
    there = answer.headers["location"]
    assert there == "/prepare?name=needy&op=needy%3Atrain&flag.must=x"
    until(lambda: "exit status 0" in client.get(there).text)
    assert "made samples" in client.get(there).text
    assert 'href="/new?op=needy%3Atrain&amp;flag.must=x"' in client.get(there).text
    assert (tmp_path / "samples").is_dir()
    assert send(client, "/new", **words).status_code == 303
    ended(newest(store))


def test_a_changed_project_file_is_looked_at_first(
    client: httpx.Client, store: RunStore, tmp_path: Path
) -> None:
    seen = re.search(r'name="seen" value="(\w+)"', client.get("/new").text)
    assert seen
    file = tmp_path / "project.yml"
    file.write_text(file.read_text().replace("default: 0.5", "default: 0.25"))
    words = {"op": "expert:train", "do": "start", "seen": seen[1]}
    page = send(client, "/new", **words)
    assert page.status_code == 409
    assert "has changed since this form was shown" in page.text
    assert 'placeholder="0.25"' in page.text
    assert not store.list()


def test_a_form_from_a_run(client: httpx.Client, store: RunStore) -> None:
    send(client, "/new", op="expert:train", do="start", **{"flag.lr": "0.05", "profile": "slow"})
    run = ended(newest(store))
    page = client.get("/new", params={"from": run.id})
    assert shown(page, "line") == "gl train expert --profile slow lr=0.05 -d"
    assert 'name="flag.lr" value="0.05"' in page.text


def test_a_form_whose_project_file_is_bad(client: httpx.Client, tmp_path: Path) -> None:
    (tmp_path / "project.yml").write_text("models: [")
    assert client.get("/new").status_code == 400
    assert "project.yml:" in client.get("/new").text


def test_odd_text_comes_back_as_it_was(client: httpx.Client) -> None:
    odd = "a\t\"<b>&\u202e'\x1b"
    page = send(client, "/new", op="expert:train", do="preview", **{"flag.rundir": odd})
    found = re.search(r'name="flag.rundir" value="([^"]*)"', page.text)
    assert found
    assert unescape(found[1].replace("&#27;", "\x1b")) == odd
    assert "\u202e" not in page.text


def test_evaluating_a_run(client: httpx.Client, store: RunStore) -> None:
    send(client, "/new", op="expert:train", do="start")
    run = ended(newest(store))
    answer = send(client, "/runs/evaluate", run=run.id)
    assert answer.headers["location"] == f"/runs/{run.id}"
    run = ended(run)
    (operation,) = run.later_operations()
    assert (operation.operation, operation.status) == ("evaluate", "completed")
    page = send(client, "/runs/evaluate", run=make_run(store, "needy").id)
    assert "does not support an <code>evaluate</code> operation" in page.text


# Stopping


def test_a_run_is_stopped(client: httpx.Client, store: RunStore, wait: Path) -> None:
    send(client, "/new", op="expert:train", do="start")
    run = newest(store)
    page = client.get(f"/runs/{run.id}").text
    assert 'name="strength" value="interrupt"' in page
    answer = send(client, "/runs/stop", run=run.id)
    assert answer.headers["location"] == f"/runs/{run.id}"
    assert ended(run).status == "stopped"
    again = send(client, "/runs/stop", run=run.id)
    assert again.status_code == 409
    assert "is not running: it is stopped" in again.text


def test_a_deaf_script_is_stopped_more_strongly(
    client: httpx.Client, store: RunStore, tmp_path: Path, wait: Path
) -> None:
    deaf = "import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\n"
    script = tmp_path / "train.py"
    script.write_text(deaf + script.read_text())
    send(client, "/new", op="expert:train", do="start")
    run = newest(store)
    until(lambda: (run.path / "argv.json").exists())
    send(client, "/runs/stop", run=run.id)
    assert newest(store).status == "running"
    page = client.get(f"/runs/{run.id}").text
    assert 'value="terminate"' in page
    assert 'value="kill"' in page
    send(client, "/runs/stop", run=run.id)
    run = ended(run)
    assert (run.status, run.exit_signal) == ("stopped", 15)


def test_a_running_run_is_not_moved(client: httpx.Client, store: RunStore, wait: Path) -> None:
    send(client, "/new", op="expert:train", do="start")
    running, done = newest(store), make_run(store)
    page = send(client, "/runs/trash", ("run", running.id), ("run", done.id))
    assert page.status_code == 409
    assert f"{running.id} is still running" in page.text
    assert [run.id for run in store.trashed()] == [done.id]
    assert done.id in page.text  # the page offers the way back


# Words on runs


def test_labels_notes_and_marks(client: httpx.Client, store: RunStore) -> None:
    one, two = make_run(store), make_run(store, started=START + 60)
    both = (("run", one.id), ("run", two.id))
    back = "/runs?q=expert&sort=label"
    assert send(client, "/runs/label", *both, label=" a  b ", back=back).headers["location"] == back
    assert [run.label for run in store.list()] == ["a b", "a b"]
    send(client, "/runs/mark", *both)
    assert all(run.marked for run in store.list())
    send(client, "/runs/unmark", run=one.id)
    assert [run.marked for run in store.list()] == [True, False]
    send(client, "/runs/label", run=one.id, note="first\r\nsecond")
    assert (store.get(one.id).note, store.get(one.id).label) == ("first\nsecond", "a b")


@pytest.mark.parametrize(
    "back", ["//evil.example/runs", "https://evil.example/runs", "/static/x", "/runs\\..", "x"]
)
def test_nobody_is_led_elsewhere(client: httpx.Client, store: RunStore, back: str) -> None:
    answer = send(client, "/runs/mark", run=make_run(store).id, back=back)
    assert answer.headers["location"] == "/runs"


def test_trash_undo_and_restore(client: httpx.Client, store: RunStore) -> None:
    run = make_run(store, label="gone soon")
    answer = send(client, "/runs/trash", run=run.id, back="/runs?sort=label")
    assert answer.headers["location"] == f"/runs?sort=label&trashed={run.id}"
    page = client.get(answer.headers["location"]).text
    assert "Moved 1 run to the trash" in page
    assert "gone soon" in page
    assert not store.list()
    assert f'value="{run.id}"' in client.get("/runs?trash=1").text
    assert send(client, "/runs/restore", run=run.id).headers["location"] == "/runs"
    assert [each.id for each in store.list()] == [run.id]
    again = send(client, "/runs/restore", run=run.id)
    assert again.status_code == 404
    # An address can say what it likes: only what lies in the trash is spoken of.
    assert "Moved" not in client.get(f"/runs?trashed={run.id},nothing").text


def test_no_run_and_an_unknown_run(client: httpx.Client, store: RunStore) -> None:
    assert send(client, "/runs/trash").status_code == 422
    run = make_run(store)
    page = send(client, "/runs/trash", ("run", run.id), ("run", "../.."))
    assert page.status_code == 404
    assert store.list()


# Who is kept out


def _cases() -> dict[str, tuple[int, Callable[[httpx.Client], dict[str, str]]]]:
    form = "application/x-www-form-urlencoded"

    def own(client: httpx.Client) -> str:
        return str(client.base_url).rstrip("/")

    return {
        "a foreign origin": (
            403,
            lambda c: {"origin": "http://evil.example", "content-type": form},
        ),
        "no origin": (403, lambda c: {"content-type": form}),
        "a null origin": (403, lambda c: {"origin": "null", "content-type": form}),
        "another port": (403, lambda c: {"origin": "http://127.0.0.1:1", "content-type": form}),
        "a wrong host": (
            421,
            lambda c: {"host": "evil.example", "origin": own(c), "content-type": form},
        ),
        "another site": (
            403,
            lambda c: {"origin": own(c), "sec-fetch-site": "cross-site", "content-type": form},
        ),
        "plain text": (415, lambda c: {"origin": own(c), "content-type": "text/plain"}),
        "no token": (401, lambda c: {"origin": own(c), "content-type": form, "authorization": ""}),
        "a wrong token": (
            401,
            lambda c: {"origin": own(c), "content-type": form, "authorization": "Bearer nonsense"},
        ),
    }


@pytest.mark.parametrize("case", list(_cases()))
@pytest.mark.parametrize("path", POSTS)
def test_others_change_nothing(client: httpx.Client, store: RunStore, path: str, case: str) -> None:
    run = make_run(store)
    expected, headers = _cases()[case]
    body = f"run={run.id}&op=expert:train&do=start&name=expert&label=x".encode()
    assert client.post(path, content=body, headers=headers(client)).status_code == expected
    assert [(each.id, each.label, each.marked) for each in store.list()] == [(run.id, "", False)]


def test_an_empty_form_without_an_origin_is_refused(client: httpx.Client, store: RunStore) -> None:
    for path in POSTS:
        assert client.post(path).status_code in (403, 415)
    assert not store.list()


def test_a_form_is_not_taken_by_the_json_addresses(client: httpx.Client, store: RunStore) -> None:
    assert send(client, "/api/v1/runs", op="expert:train").status_code == 415
    assert not store.list()


def test_large_forms_are_refused(client: httpx.Client) -> None:
    many = tuple((f"flag.f{number}", "1") for number in range(10_000))
    assert send(client, "/new", *many).status_code == 413
    assert send(client, "/new", note="x" * 2_000_000).status_code == 413
    assert send(client, "/new", label="x" * 5000).status_code == 413
    body = b"label=%FF%FE&op=%00"
    origin = str(client.base_url).rstrip("/")
    kind = {"content-type": "application/x-www-form-urlencoded", "origin": origin}
    assert client.post("/new", content=body, headers=kind).status_code == 422


# Read-only


def test_a_read_only_viewer_changes_nothing_and_offers_nothing(
    store: RunStore, tmp_path: Path
) -> None:
    run = make_run(store, alive=True, ended=False)
    with viewing(tmp_path, read_only=True) as client:
        for path in POSTS:
            answer = send(client, path, run=run.id, op="expert:train", name="expert")
            assert answer.status_code == 403
            assert "this viewer only shows" in answer.text.lower()
        for path in ("stop", "label", "trash", "restore", "evaluate"):
            assert client.post(f"/api/v1/runs/{run.id}/{path}", json={}).status_code == 403
        assert client.post("/api/v1/runs", json={}).status_code == 403
        assert client.get("/new").status_code == 403
        for page in ("/runs", f"/runs/{run.id}", "/runs?trash=1", "/compare"):
            text = client.get(page).text
            assert 'method="post"' not in text
            assert "/new" not in text


# JSON


def test_starting_and_stopping_by_json(client: httpx.Client, store: RunStore, wait: Path) -> None:
    asked = {"op": "expert:train", "flags": {"lr": 0.05, "augment": False, "datadir": None}}
    preview = client.post("/api/v1/new", json=asked).json()
    assert preview["command"] == "gl train expert lr=0.05 augment=False datadir= -d"
    assert not store.list()
    answer = client.post("/api/v1/runs", json={**asked, "label": "by json"})
    assert answer.status_code == 201
    run = newest(store)
    assert (answer.json()["id"], run.label) == (run.id, "by json")
    assert run.flags["lr"] == "0.05"
    assert "datadir" not in run.flags
    assert client.get(answer.headers["location"]).json()["id"] == run.id
    stopped = client.post(f"/api/v1/runs/{run.id}/stop", json={})
    assert stopped.status_code == 200
    run = ended(run)
    assert run.status == "stopped"
    assert client.post(f"/api/v1/runs/{run.id}/stop").status_code == 409
    again = client.post("/api/v1/new", json={"from_run": run.id, "flags": {"lr": 0.1}}).json()
    assert again["command"] == "gl train expert lr=0.1 augment=False datadir= -d"


def test_json_says_which_flag_is_wrong(client: httpx.Client) -> None:
    answer = client.post("/api/v1/runs", json={"op": "expert:train", "flags": {"epochs": 0.5}})
    assert answer.status_code == 422
    assert answer.json()["field"] == "epochs"
    assert answer.json()["error"] == "flag `epochs` expects an integer from 1 to 500, got `0.5`"


def test_words_and_trash_by_json(client: httpx.Client, store: RunStore) -> None:
    run = make_run(store)
    at = f"/api/v1/runs/{run.id}"
    said = client.post(f"{at}/label", json={"label": "a", "marked": True}).json()
    assert said == {"id": run.id, "label": "a", "note": "", "marked": True}
    assert client.post(f"{at}/trash").json()["id"] == run.id
    assert client.post(f"{at}/trash").status_code == 404
    assert client.post(f"{at}/restore").status_code == 200
    assert [each.id for each in store.list()] == [run.id]
    assert client.post("/api/v1/prepare", json={"name": "nobody"}).status_code == 400
