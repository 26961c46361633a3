"""The Source page: what a run kept, and how it differs from another run or the folder now."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from support.run_dirs import START, make_run
from support.viewing import Place, make_project, viewing

from guildlite.runs import Run


def keep(run: Run, files: dict[str, str | bytes]) -> None:
    """Give a run source files."""
    for name, data in files.items():
        path = run.paths.sources / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data if isinstance(data, bytes) else data.encode())


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return make_project(tmp_path)


@pytest.fixture
def pair(place: Place) -> tuple[Run, Run]:
    """Two runs whose sources differ in each way that files can."""
    one = make_run(place.store)
    other = make_run(place.store, started=START + 60, label="wider <b>")
    same = {"same.py": "s\n", "lib/util.py": "u\n"}
    keep(one, {**same, "expert.py": "lr = 1\nx = '<b>'\n", "gone.py": "g\n", "data": b"\0a",
               "git.diff": "+one\n"})  # fmt: skip
    keep(other, {**same, "expert.py": "lr = 2\nx = '<b>'\n", "new.py": "n\n", "data": b"\0b",
                 "git.diff": "+other\n", "large.py": b"#" * 2**20 + b"\n"})  # fmt: skip
    return one, other


@pytest.fixture
def client(pair: tuple[Run, Run], tmp_path: Path) -> Iterator[httpx.Client]:
    with viewing(tmp_path) as client:
        yield client


def lines_of(page: str) -> list[tuple[str, str, str, str]]:
    """Return (class, old number, new number, text) of every line of the differences."""
    pattern = re.compile(
        r'<li(?: class="(\w+)")?(?: id="\w+")?><span class="n">(\d*)</span>'
        r'<span class="n">(\d*)</span><code>(.*?)</code></li>'
    )
    return [(a, b, c, re.sub("<[^>]*>", "", text)) for a, b, c, text in pattern.findall(page)]


def test_two_runs_line_by_line(client: httpx.Client, pair: tuple[Run, Run]) -> None:
    answer = client.get(f"/runs/{pair[0].id}/source?against={pair[1].id}")
    assert answer.status_code == 200
    lines = lines_of(answer.text)
    start = lines.index(("hunk", "", "", "@@ -1,2 +1,2 @@"))
    assert lines[start + 1 : start + 4] == [
        ("del", "1", "", "-lr = 1"),
        ("add", "", "1", "+lr = 2"),
        ("", "2", "2", " x = &#39;&lt;b&gt;&#39;"),
    ]
    assert "5 files differ" in answer.text and "2 files are the same" in answer.text
    assert "no text" in answer.text and "too large" in answer.text
    assert "git.diff" not in answer.text and "<b>wider" not in answer.text
    assert f'href="/runs/{pair[1].id}/source?against={pair[0].id}"' in answer.text


def test_one_file_alone(client: httpx.Client, pair: tuple[Run, Run]) -> None:
    address = f"/runs/{pair[0].id}/source"
    page = client.get(address, params={"against": pair[1].id, "file": "gone.py"}).text
    assert lines_of(page) == [("hunk", "", "", "@@ -1 +0,0 @@"), ("del", "1", "", "-g")]
    for file in ("same.py", "../run.db", "git.diff", "nothing"):
        params = {"against": pair[1].id, "file": file}
        assert client.get(address, params=params).status_code == 404


def test_the_same_as_json(client: httpx.Client, pair: tuple[Run, Run]) -> None:
    data = client.get(f"/api/v1/runs/{pair[0].id}/source", params={"against": pair[1].id}).json()
    found = {each["path"]: (each["kind"], each["why"], each["added"]) for each in data["files"]}
    assert found == {
        "data": ("changed", "binary", 0), "expert.py": ("changed", "", 1),
        "gone.py": ("removed", "", 0), "large.py": ("added", "large", 0),
        "new.py": ("added", "", 1),
    }  # fmt: skip
    assert data["same"] == 2
    plain = client.get(f"/api/v1/runs/{pair[0].id}/source").json()
    assert {each["path"] for each in plain["files"]} >= {"expert.py", "git.diff"}


def test_sources_that_are_alike_or_were_not_kept(
    client: httpx.Client, pair: tuple[Run, Run], place: Place
) -> None:
    page = client.get(f"/runs/{pair[0].id}/source?against={pair[0].id}").text
    assert "The source is the same" in page and "5 files are" in page
    bare = make_run(place.store, started=START + 120)
    page = client.get(f"/runs/{pair[0].id}/source?against={bare.id}").text
    assert f"{bare.id} kept no source" in page
    assert "This run kept no source" in client.get(f"/runs/{bare.id}/source?against=worktree").text
    for against in ("nobody", "../..", "worktree/", "latest"):
        address = f"/runs/{pair[0].id}/source"
        assert client.get(address, params={"against": against}).status_code == 404


def test_the_folder_now_shows_nothing_that_is_not_kept(
    client: httpx.Client, pair: tuple[Run, Run], tmp_path: Path
) -> None:
    (tmp_path / "expert.py").write_text("lr = 3\n")
    for name in (".env", ".secret.py", "key.pem", "notes.docx"):
        (tmp_path / name).write_text("swordfish\n")
    (tmp_path.parent / "elsewhere.py").write_text("swordfish\n")
    os.symlink(tmp_path.parent / "elsewhere.py", tmp_path / "link.py")
    os.symlink("/etc", tmp_path / "etc")
    # A run cannot ask for more by what it says that it kept.
    keep(pair[0], {".env": "claimed\n", "link.py": "claimed\n", "etc/passwd": "claimed\n"})
    page = client.get(f"/runs/{pair[0].id}/source?against=worktree").text
    assert ("add", "", "1", "+lr = 3") in lines_of(page)
    assert "swordfish" not in page and "root:" not in page and "key.pem" not in page
    assert client.get(
        f"/runs/{pair[0].id}/source", params={"against": "worktree", "file": "key.pem"}
    ).status_code == 404  # fmt: skip


def test_a_large_difference_stays_a_page(place: Place, tmp_path: Path) -> None:
    one, other = make_run(place.store), make_run(place.store, started=START + 60)
    for run, word in ((one, "a"), (other, "b")):
        keep(run, {f"{n}.py": "".join(f"{word}{n} {k}\n" for k in range(900)) for n in range(4)})
        keep(run, {"long.py": word * 400_000, "most.py": f"{word}\n" * 30_000})
    with viewing(tmp_path) as client:
        address = f"/runs/{one.id}/source"
        page = client.get(address, params={"against": other.id}).text
        assert len(page) < 2**20 and "more files are too long for this page" in page
        assert "6 files differ" in page
        page = client.get(address, params={"against": other.id, "file": "most.py"}).text
        assert len(page) < 4 * 2**20 and "Only the beginning is shown" in page
        page = client.get(address, params={"against": other.id, "file": "long.py"}).text
        assert len(page) < 2**17 and "more characters" in page


def test_a_viewer_of_no_project_compares_only_runs_of_its_folder(tmp_path: Path) -> None:
    place = make_project(tmp_path)
    run = make_run(place.store)
    keep(run, {"expert.py": "x\n"})
    (tmp_path / "project.yml").unlink()
    with viewing(tmp_path, project=False) as client:
        page = client.get(f"/runs/{run.id}/source?against=worktree").text
    assert "started in another folder" in page


def test_names_that_are_no_text_break_no_page(place: Place, tmp_path: Path) -> None:
    one, other = make_run(place.store), make_run(place.store, started=START + 60)
    keep(one, {"expert.py": "a\n"})
    keep(other, {"expert.py": "b\n"})
    odd = os.fsencode(other.paths.sources) + b"/caf\xe9.py"
    with open(odd, "w") as file:
        file.write("odd\n")
    with viewing(tmp_path) as client:
        page = client.get(f"/runs/{one.id}/source", params={"against": other.id})
        assert page.status_code == 200 and "caf\\xe9.py" in page.text and "odd" in page.text
        assert "caf%E9.py" in page.text
        one_file = client.get(f"/runs/{one.id}/source?against={other.id}&file=caf%E9.py")
        assert one_file.status_code == 200 and "+</span>odd" in one_file.text
        assert "odd" in client.get(f"/runs/{other.id}/source?file=caf%E9.py").text
        data = client.get(f"/api/v1/runs/{one.id}/source", params={"against": other.id})
        assert data.status_code == 200
