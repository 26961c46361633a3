"""The media page, its bytes and its JSON, over HTTP, on real event files."""

from __future__ import annotations

import html
import io
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.media import AT, collect_media, histogram, images, png, strings, text, wav, write_media
from support.run_dirs import make_run
from support.viewing import make_project, viewing
from tensorboard.backend.event_processing.event_file_loader import RawEventFileLoader
from tensorboard.compat.proto.event_pb2 import Event

from guildlite.runs import Run, RunReader
from guildlite.runs.db import RunDb
from guildlite.runs.media import MediaItem
from guildlite.series import Item, Items, Reading
from guildlite.web import markdown
from guildlite.web.media import charts
from guildlite.web.media.types import sniff

GOLDEN = Path(__file__).parent / "golden" / "events"
HOSTILE = "<script>alert('x')</script>\u202e\x1b[31m\"&"
SHADES = [10, 60, 110, 160]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("media")
    make_project(directory)
    return directory


@pytest.fixture(scope="module")
def client(place: Path) -> Iterator[httpx.Client]:
    with viewing(place) as client:
        yield client


@pytest.fixture(scope="module")
def good(place: Path) -> Run:
    """A run with an image at four steps, text, audio, a histogram, and what is wrong with some."""
    run = make_run(make_project(place).store)
    steps = [0, 10, 20, 30]
    write_media(
        run,
        *((step, images("val/pic", png(s))) for step, s in zip(steps, SHADES, strict=True)),
        (5, text("notes", "# Title\n\nIt *works*, see [this](https://example.org/a).")),
        (5, strings("table", "text", [b"a", b"b", b"c", b"d"], (2, 2))),
        (7, strings("sound", "audio", [wav(), b"a **loud** one"], (1, 2))),
        *((step, histogram("weights", [(0, 1, 10), (1, 3, 30)])) for step in steps),
        (1, images("bad", b"<html><script>alert(1)</script>", png(1)[:40], png(2)[:-20] + b"x" * 20,
                   png(3, 1, 1).replace(b"\0\0\0\1\0\0\0\1", b"\0\1\0\0\0\1\0\0"))),
        (1, images("none")),
        (1, strings("wrong", "histograms", [b"no numbers"])),
    )  # fmt: skip
    return run


def card_of(page: str, key: str) -> str:
    """Return the article of a key."""
    found = re.search(
        rf'<article[^>]*data-key="{re.escape(html.escape(key))}".*?</article>', page, re.DOTALL
    )
    assert found, key
    return found[0]


def pictures_of(card: str) -> list[str]:
    return [html.unescape(each) for each in re.findall(r'<img src="([^"]+)"', card)]


def text_of(page: str) -> str:
    """Return what a page says, with bits of a line together."""
    page = re.sub(r"</?(?:bdi|b|a|i)\b[^>]*>", "", page)
    return " ".join(re.sub(r"<[^>]+>", " ", page).split())


def media(client: httpx.Client, run: Run, query: str = "") -> str:
    answer = client.get(f"/runs/{run.id}/media{query}")
    assert answer.status_code == 200
    return answer.text


# The page


def test_every_kind_of_every_writer_is_shown_or_named(tmp_path: Path) -> None:
    store = make_project(tmp_path).store
    writers = sorted(path.parent.name for path in GOLDEN.glob("*/media.json"))
    runs = {}
    for number, writer in enumerate(writers):
        runs[writer] = make_run(store, started=AT + 60 * number)
        shutil.copytree(GOLDEN / writer, runs[writer].path, dirs_exist_ok=True)
        collect_media(runs[writer])
    with viewing(tmp_path) as client:
        pages = {writer: media(client, run) for writer, run in runs.items()}
        for writer, run in runs.items():
            with run.read() as reader:
                kinds = {each.key: each.kind for each in reader.media()}
            for key, kind in kinds.items():
                if kind != "hparams":
                    assert "Not shown" not in card_of(pages[writer], key), key
            for address in pictures_of(pages[writer]):
                assert client.get(address).headers["content-type"].startswith("image/")
    assert "unknown value of another plugin" in text_of(pages["tf2-media"])
    assert "0.10 s, 8 kHz, mono" in text_of(pages["torch-media"])
    assert "8 \u00d7 8" in text_of(card_of(pages["torch-media"], "boxes"))
    assert "losses both, band" in text_of(card_of(pages["torch-media"], "custom_scalars__config__"))
    assert 'href="/tensorboard/"' in card_of(pages["torch-media"], "graph")
    assert "graph with its metadata" in card_of(pages["tf1-media"], "graph")
    assert "graph of the model" in card_of(pages["torch-media"], "graph")
    assert "trial 0.25 a" in text_of(pages["tf2-media"])
    assert "varied: lr 0 to 1, kind (a); judged by train/loss" in text_of(pages["tf2-media"])


def test_a_card_shows_the_newest_value_and_leads_to_the_others(
    client: httpx.Client, good: Run
) -> None:
    page = media(client, good)
    card = card_of(page, "val/pic")
    assert 'data-seq="3"' in card and "step 30" in text_of(card) and "4 of 4" in card
    for shade in reversed(SHADES):
        (address,) = pictures_of(card)
        assert client.get(address).content == png(shade)
        link = re.search(r'href="([^"]+)" data-go="\d+" title="previous"', card)
        if link:
            card = card_of(client.get(html.unescape(link[1])).text, "val/pic")
    assert link is None and 'data-seq="0"' in card


@pytest.mark.parametrize(
    ("query", "step"),
    [("?step=12", 10), ("?step=-5", 0), ("?step=99", 30), ("?step=30", 30), ("?step=x", 30),
     ("?at=1:val/pic", 10), ("?at=99:val/pic", 30), ("?at=x:val/pic,0", 30),
     ("?step=0&at=2:val%252Fpic", 20)],
)  # fmt: skip
def test_a_step_is_chosen_in_the_address(
    client: httpx.Client, good: Run, query: str, step: int
) -> None:
    card = card_of(media(client, good, query), "val/pic")
    assert f'data-step="{step}"' in card
    assert ("nearest to" in card) == (query in ("?step=12", "?step=-5", "?step=99"))


def test_the_form_of_a_card_leads_to_the_nearest_step(client: httpx.Client, good: Run) -> None:
    words = {"go": "val/pic", "to": "19", "zoom": "4", "at": "0:notes"}
    answer = client.get(f"/runs/{good.id}/media", params=words)
    assert answer.status_code == 303
    place = urlsplit(answer.headers["location"])
    assert parse_qs(place.query) == {"zoom": ["4"], "at": ["0:notes,2:val/pic"]}
    card = card_of(client.get(answer.headers["location"].partition("#")[0]).text, "val/pic")
    assert 'data-step="20"' in card and 'width="16"' in card
    assert f'id="{place.fragment}"' in card
    for odd in ({"go": "no such key", "to": "1"}, {"go": "val/pic", "to": "no number"}):
        answer = client.get(f"/runs/{good.id}/media", params=odd)
        assert answer.headers["location"] == f"/runs/{good.id}/media"


def test_resumed_training_shows_the_later_of_two_values(place: Path, client: httpx.Client) -> None:
    run = make_run(make_project(place).store, started=AT + 9)
    order = [(0, 1), (10, 2), (20, 3), (10, 4), (20, 5), (30, 6)]
    write_media(run, *((step, images("pic", png(shade))) for step, shade in order))
    for step, shade in ((0, 1), (10, 4), (20, 5), (29, 6), (99, 6)):
        card = card_of(media(client, run, f"?step={step}"), "pic")
        assert client.get(pictures_of(card)[0]).content == png(shade)
    assert "session 2 of 2" in text_of(card)


def test_series_are_filtered_by_kind_and_by_expression(client: httpx.Client, good: Run) -> None:
    page = media(client, good, "?kind=text")
    assert re.findall(r'data-key="([^"]+)"', page) == ["notes", "table"]
    assert "2 of 8 series" in text_of(page)
    page = media(client, good, "?tags=^val/")
    assert re.findall(r'data-key="([^"]+)"', page) == ["val/pic"]
    assert "No series matches" in media(client, good, "?tags=nothing")
    assert "This is no regular expression" in media(client, good, "?tags=(")


def test_a_run_without_media_says_so(place: Path, client: httpx.Client) -> None:
    run = make_run(make_project(place).store, started=AT + 5)
    assert "No media" in media(client, run)


# What is wrong is said


def test_what_is_no_image_is_never_sent_as_one(client: httpx.Client, good: Run) -> None:
    page = media(client, good)
    words = text_of(card_of(page, "bad"))
    assert "31 bytes that are no image" in words
    assert "the PNG is cut off" in words
    assert "a checksum is wrong" in words or "cut off" in words
    assert "65,536 by 65,536 pixels are too many to show" in words or "checksum" in words
    assert pictures_of(card_of(page, "bad")) == []
    assert "no image in this value" in card_of(page, "none")
    assert "Not shown" in card_of(page, "wrong")
    for address in re.findall(r'href="([^"]+)" download', card_of(page, "bad")):
        answer = client.get(html.unescape(address))
        assert answer.headers["content-type"] == "application/octet-stream"
        assert answer.headers["content-disposition"].startswith("attachment")


def test_a_value_whose_file_changed_says_so(tmp_path: Path) -> None:
    run = make_run(make_project(tmp_path).store)
    write_media(run, (0, images("first", png(1))), (0, images("second", png(2))))
    (file,) = run.path.glob("events*")
    data = file.read_bytes()
    file.write_bytes(data.replace(png(2), png(3)))
    with viewing(tmp_path) as client:
        page = media(client, run)
        assert "Not shown" in card_of(page, "second")
        assert len(pictures_of(card_of(page, "first"))) == 1
        gone = client.get(f"/api/v1/runs/{run.id}/media/bytes", params={"key": "second", "seq": 0})
        assert gone.status_code == 404
        file.unlink()
        record = f"/api/v1/runs/{run.id}/media/record"
        assert client.get(record, params={"key": "first", "seq": 0}).status_code == 404


def test_text_is_markdown_or_as_written(client: httpx.Client, good: Run) -> None:
    card = card_of(media(client, good), "notes")
    assert "<h4>Title</h4>" in card and "<em>works</em>" in card
    card = card_of(media(client, good, "?text=plain"), "notes")
    assert "<pre># Title\n\nIt *works*, see [this](https://example.org/a).</pre>" in card
    table = card_of(media(client, good), "table")
    assert "<tr><td>a</td><td>b</td></tr><tr><td>c</td><td>d</td></tr>" in table


def test_hostile_names_and_texts_stay_text(place: Path, client: httpx.Client) -> None:
    run = make_run(make_project(place).store, started=AT + 3)
    odd = HOSTILE + ",:/?#%"
    write_media(
        run,
        (0, text(odd, HOSTILE + "\n\n[x](javascript:alert(1)) ![y](http://e.org/p) <img src=x>")),
        (0, images(f"pic {odd}", png(1))),
        (1, images(f"pic {odd}", png(2))),
    )  # fmt: skip
    page = media(client, run)
    own = r'<script type="module" src="/static/dist/[\w-]+\.js"></script>'
    for body in (page, media(client, run, "?kind=" + HOSTILE[:9] + "&hist=%3Cb&at=1:%3Cscript")):
        assert "<script" not in re.sub(own, "", body)
        assert "<img src=x" not in body
        assert "\u202e" not in body and "\x1b" not in body
        assert not re.search(r"\son\w+=|\sstyle=|href=\"javascript:", body)
    (address,) = pictures_of(page)
    assert client.get(address).content == png(2)
    link = re.search(r'href="([^"#]+)[^"]*" data-go="0" title="previous"', page)
    assert link
    (address,) = pictures_of(client.get(html.unescape(link[1])).text)
    assert client.get(address).content == png(1)


# Much of it


def test_ten_thousand_images_of_one_step_make_pages(place: Path, client: httpx.Client) -> None:
    run = make_run(make_project(place).store, started=AT + 1)
    write_media(run, (0, images("many", *(png(n % 256, 1 + n // 256, 1) for n in range(10_000)))))
    page = media(client, run)
    assert len(pictures_of(page)) == 12 and "10,000 samples" in page
    page = media(client, run, "?only=many&samples=100")
    found = pictures_of(page)
    assert len(found) == 100 and "page 100 of 100" in text_of(page)
    assert client.get(found[-1]).content == png(9_999 % 256, 1 + 9_999 // 256, 1)
    assert client.get(found[-1].replace("nth=9999", "nth=10000")).status_code == 404


def test_a_page_reads_only_what_it_shows(
    place: Path, client: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run(make_project(place).store, started=AT + 2)
    values = [(1, histogram("h", [(0, 1, 5)])), (1, text("t", "words")), (1, images("i", png(9)))]
    write_media(run, *values)
    with run.read() as reader:
        items = {key: reader.items(key)[0] for key in "hti"}
        cursor = None
    with RunDb(run.paths.db) as db:
        (cursor,) = db.cursors()
        more = [
            Items(key, items[key].kind, plugin, [
                _moved(items[key], step) for step in range(2, 100_001)
            ])
            for key, plugin in (("h", "histograms"), ("t", "text"), ("i", "images"))
        ]  # fmt: skip
        db.write([Reading(cursor, media=more)])
    read: list[str] = []
    rows: list[int] = []
    content, look = RunReader.content, RunReader.items

    def counted(self: RunReader, item: MediaItem) -> object:
        read.append(item.key)
        return content(self, item)

    def looked(self: RunReader, *args: object, **kwargs: object) -> object:
        found = look(self, *args, **kwargs)  # type: ignore[arg-type]
        rows.append(len(found))
        return found

    monkeypatch.setattr(RunReader, "content", counted)
    monkeypatch.setattr(RunReader, "items", looked)
    page = media(client, run, "?step=77777")
    assert 'data-step="77777"' in card_of(page, "t") and 'data-step="77777"' in card_of(page, "i")
    assert read.count("t") == read.count("i") == 1
    assert sum(rows) < 150
    # All lie in one record, so the cache knows it after the first.
    assert read.count("h") == 1 and "of 100,000 histograms" in page


def _moved(item: MediaItem, step: int) -> Item:
    return Item(step, item.time, *item.reference)


def test_a_long_text_is_cut_and_can_be_had_whole(place: Path, client: httpx.Client) -> None:
    run = make_run(make_project(place).store, started=AT + 4)
    long = "word " * 100_000
    write_media(run, (0, text("long", long)))
    page = media(client, run)
    assert len(page) < 100_000 and "460,000 more characters" in page
    link = re.search(r'href="([^"]+)" download>whole text', page)
    assert link
    answer = client.get(html.unescape(link[1]))
    assert answer.text == long
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"


# Bytes


def test_bytes_are_inert_and_kept_by_checksum(client: httpx.Client, good: Run) -> None:
    (address,) = pictures_of(card_of(media(client, good), "val/pic"))
    answer = client.get(address)
    assert answer.headers["content-type"] == "image/png"
    assert answer.headers["content-security-policy"] == "sandbox; default-src 'none'"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "immutable" in answer.headers["cache-control"]
    again = client.get(address, headers={"if-none-match": answer.headers["etag"]})
    assert again.status_code == 304 and again.content == b""
    other = client.get(re.sub(r"sum=\d+", "sum=1", address))
    assert other.headers["cache-control"] == "no-cache" and other.content == png(SHADES[-1])


def test_audio_is_played_by_ranges(client: httpx.Client, good: Run) -> None:
    card = card_of(media(client, good), "sound")
    assert "0.25 s, 8 kHz, mono" in text_of(card) and "<strong>loud</strong>" in card
    source = re.search(r'<audio[^>]* src="([^"]+)"', card)
    assert source
    address = html.unescape(source[1])
    assert client.get(address).headers["content-type"] == "audio/wav"
    part = client.get(address, headers={"range": "bytes=4-9"})
    assert part.status_code == 206 and part.content == wav()[4:10]
    assert part.headers["content-range"] == f"bytes 4-9/{len(wav())}"
    assert client.get(address, headers={"range": "bytes=99999-"}).status_code == 416


def test_a_record_is_an_event_file_that_tensorboard_reads(
    client: httpx.Client, good: Run, tmp_path: Path
) -> None:
    answer = client.get(f"/api/v1/runs/{good.id}/media/record", params={"key": "val/pic", "seq": 2})
    assert "events.out.tfevents" in answer.headers["content-disposition"]
    path = tmp_path / "events.out.tfevents.1"
    path.write_bytes(answer.content)
    first, event = (Event.FromString(each) for each in RawEventFileLoader(str(path)).Load())
    assert first.file_version == "brain.Event:2"
    assert event.step == 20
    assert event.summary.value[0].tensor.string_val[2] == png(SHADES[2])


# JSON


def test_series_and_items_as_json(client: httpx.Client, good: Run) -> None:
    base = f"/api/v1/runs/{good.id}/media"
    answer = client.get(base)
    assert answer.json()["live"] is False
    series = {each["key"]: each for each in answer.json()["series"]}
    assert (series["val/pic"]["kind"], series["val/pic"]["count"]) == ("image", 4)
    assert client.get(base, headers={"if-none-match": answer.headers["etag"]}).status_code == 304
    assert [s["key"] for s in client.get(base, params={"kind": "audio"}).json()["series"]] == [
        "sound"
    ]
    assert client.get(base, params={"tags": "("}).status_code == 400
    page = client.get(f"{base}/items", params={"key": "val/pic", "limit": 3}).json()
    assert [item["step"] for item in page["items"]] == [0, 10, 20] and page["next"] == 2
    rest = client.get(f"{base}/items", params={"key": "val/pic", "after": 2, "limit": 3}).json()
    assert [item["step"] for item in rest["items"]] == [30] and rest["next"] is None
    content = client.get(page["items"][1]["content"]).json()
    (sample,) = content["samples"]
    assert (sample["type"], sample["width"], sample["bytes"]) == ("image/png", 4, len(png(60)))
    assert client.get(sample["url"]).content == png(60)
    ask = {"key": "weights", "seq": "0"}
    assert client.get(f"{base}/content", params=ask).json()["buckets"] == [[0, 1, 10], [1, 3, 30]]
    for path, params in (("items", {"key": "x"}), ("content", {"key": "x", "seq": "0"}),
                         ("bytes", {"key": "val/pic", "seq": "9"})):  # fmt: skip
        assert client.get(f"{base}/{path}", params=params).status_code == 404
    wrong = client.get(f"{base}/content", params={"key": "wrong", "seq": 0})
    assert wrong.status_code == 422 and wrong.json()["error"] == "a tensor of shape [1]"


# Runs side by side


def test_images_side_by_side_at_the_nearest_step(tmp_path: Path) -> None:
    store = make_project(tmp_path).store
    one, two, three = (make_run(store, started=AT + 60 * n) for n in range(3))
    write_media(one, (0, images("pic", png(1))), (10, images("pic", png(2))))
    write_media(two, (4, images("pic", png(3))), (20, images("pic", png(4))))
    write_media(three, (0, images("alone", png(5))))
    ids = {"run": [run.id for run in (one, two, three)]}
    with viewing(tmp_path) as client:
        page = client.get("/compare", params={**ids, "step": "5"}).text
        side = page[page.index('id="images"') :]
        shown = [client.get(address).content for address in pictures_of(side)]
        assert shown == [png(1), png(3), png(5)]
        words = text_of(side)
        assert "pic step 0 nearest 4 \u00d7 4 step 4 nearest 4 \u00d7 4 none" in words
        assert "steps 0 to 20" in words
        newest = client.get("/compare", params=ids).text
        shown = [client.get(each).content for each in pictures_of(newest[newest.index("images") :])]
        assert shown == [png(2), png(4), png(5)]
        link = re.search(r'href="([^"#]+)#images">newest', page)
        assert link and html.unescape(link[1]).count("run=") == 3
        (one.path / "gl.d" / "run.db").write_bytes(b"no database")
        assert client.get("/compare", params=ids).status_code == 200


# Charts


def test_quantiles_are_even_within_a_bucket() -> None:
    shape = charts.clean(0, [(0.0, 1.0, 10.0), (1.0, 3.0, 30.0)])
    assert charts.quantiles(shape, (0, 0.125, 0.25, 0.625, 1)) == [0, 0.5, 1, 2, 3]
    assert charts.quantiles(charts.clean(0, []), (0.5,)) is None


_edges = st.floats(allow_nan=True, allow_infinity=True)


@given(
    st.lists(
        st.tuples(
            st.integers(-(2**63), 2**63 - 1),
            st.lists(st.tuples(_edges, _edges, _edges), max_size=6),
        ),
        max_size=5,
    )
)
def test_no_histogram_breaks_a_chart(shapes: list) -> None:  # type: ignore[type-arg]
    drawn = [charts.clean(step, buckets) for step, buckets in shapes]
    for made in (
        charts.ridges("t", drawn),
        charts.ridges("t", drawn, overlay=True),
        charts.bands("t", drawn),
    ):
        assert made.startswith("<svg") and made.endswith("</svg>")
        numbers = re.sub(r"<(title|desc|text).*?</\1>", "", made)
        assert "nan" not in numbers and "inf" not in numbers
    charts.table(drawn)


def test_looks_of_histograms(client: httpx.Client, good: Run) -> None:
    offset = card_of(media(client, good), "weights")
    assert offset.count('class="ridge') == 4 and "<td" in offset
    overlay = card_of(media(client, good, "?hist=overlay"), "weights")
    assert overlay.count('class="line thin') == 4
    bands = card_of(media(client, good, "?hist=bands"), "weights")
    assert "<title>median</title>" in bands


# Markdown


@pytest.mark.parametrize(
    ("source", "made"),
    [
        ("# One\n###### Six", "<h4>One</h4>\n<h6>Six</h6>"),
        ("a **b** *c* `d*` ~~e~~ __f__ _g_",
         "<p>a <strong>b</strong> <em>c</em> <code>d*</code> <del>e</del> <strong>f</strong>"
         " <em>g</em></p>"),
        ("snake_case_name 2*3*4", "<p>snake_case_name 2<em>3</em>4</p>"),
        ("[x](http://a.b/c?d=1&e=2)",
         '<p><a href="http://a.b/c?d=1&amp;e=2" rel="nofollow noopener noreferrer">x</a></p>'),
        ("[x](javascript:alert(1)) [y](data:text/html,z)",
         "<p>[x](javascript:alert(1)) [y](data:text/html,z)</p>"),
        ('[x](http://a/"onclick=b)',
         '<p><a href="http://a/&quot;onclick=b" rel="nofollow noopener noreferrer">x</a></p>'),
        ("<b onclick=x>&amp;</b>", "<p>&lt;b onclick=x&gt;&amp;amp;&lt;/b&gt;</p>"),
        ("- a\n- b\n  - c\n1. d", "<ul><li>a</li><li>b<ul><li>c</li></ul></li></ul>\n"
         "<ol><li>d</li></ol>"),
        ("3. x\n4. y", '<ol start="3"><li>x</li><li>y</li></ol>'),
        ("> a\n> b", "<blockquote><p>a\nb</p></blockquote>"),
        ("```py\n<x>\n```\nend", "<pre><code>&lt;x&gt;</code></pre>\n<p>end</p>"),
        ("one\n\n---\n\ntwo  \nthree", "<p>one</p>\n<hr>\n<p>two<br>\nthree</p>"),
        ("|a|b|\n|-|:-:|\n|1|`x`|",
         '<div class="scroll"><table><tr><th scope="col">a</th><th scope="col">b</th></tr>'
         "<tr><td>1</td><td><code>x</code></td></tr></table></div>"),
        ("\\*no\\*", "<p>*no*</p>"),
    ],
)  # fmt: skip
def test_markdown(source: str, made: str) -> None:
    flat = re.sub(r">\n?<(?=ul)", "><", markdown.to_html(source))
    assert flat.replace("b\n<ul>", "b<ul>") == made or markdown.to_html(source) == made


_TAG = re.compile(
    r"</?(?:h[4-6]|p|strong|em|del|code|pre|ul|ol|li|blockquote|table|tr|td|br|hr|div|th|a)"
    r'(?: (?:class="scroll"|scope="col"|start="\d+"|href="https?://[^"<>\s]*"'
    r' rel="nofollow noopener noreferrer"))?>'
)


@given(st.text(alphabet="ab 1.\n\t*_`~[]()<>|-#!\\&\"'/:=http://x", max_size=200) | st.text())
def test_markdown_makes_only_its_own_tags(source: str) -> None:
    rest = _TAG.sub("", markdown.to_html(source))
    assert "<" not in rest and ">" not in rest


@pytest.mark.parametrize(
    "unit", ["*a ", "[", "`", "` ", "> ", "- ", "|", "_a ", "![](", "#", "  - a\n"]
)
def test_markdown_of_a_hostile_length(unit: str) -> None:
    assert len(markdown.to_html(unit * (40_000 // len(unit)))) < 10_000_000


# Formats


def test_formats_are_told_from_the_bytes() -> None:
    assert sniff(png(1)).media_type == "image/png" and sniff(png(1)).problem is None
    assert sniff(png(1)[:-1]).problem == "the PNG is cut off"
    assert (sniff(b"GIF89a\x08\0\x04\0" + b"\0" * 9).width) == 8
    assert sniff(wav()).media_type == "audio/wav"
    for other in (b"", b"<svg/>", b"%PDF-1.4", b"<html>", b"\x89PNG", b"RIFF", b"\xff\xd8"):
        assert sniff(other).media_type == "application/octet-stream"
    assert sniff(b"\xff\xd8\xff\xe0").media_type == "image/jpeg"


@given(st.sampled_from([b"\x89PNG\r\n\x1a\n", b"GIF89a", b"\xff\xd8\xff", b"BM", b"RIFF"]),
       st.binary(max_size=60))  # fmt: skip
def test_no_bytes_break_the_sniffing(head: bytes, rest: bytes) -> None:
    sniff(head + rest)
    sniff(head + rest[:4] + b"WEBP" + rest[4:])
    sniff(b"RIFF" + rest[:4] + b"WAVE" + rest[4:])


def test_json_is_valid_for_numbers_that_are_not_finite(place: Path, client: httpx.Client) -> None:
    run = make_run(make_project(place).store, started=AT + 6)
    write_media(run, (0, histogram("odd", [(float("-inf"), float("nan"), 3.0)])))
    answer = client.get(f"/api/v1/runs/{run.id}/media/content", params={"key": "odd", "seq": 0})
    assert json.load(io.BytesIO(answer.content))["buckets"] == [[None, None, 3.0]]
    assert "no finite value" in media(client, run)
