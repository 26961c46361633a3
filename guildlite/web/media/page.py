"""What a run's media page shows: images, audio, text, distributions and the rest, card by card.

run.db says where each value lies; a page reads from the script's files only the values it shows, at
most `PAGE_BYTES` of them. A value that is gone or damaged is a card that says so. Everything in an
event file is somebody else's: nothing from it reaches a page but as text, numbers, or bytes that
`types.sniff` knows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from html import escape
from typing import TYPE_CHECKING
from urllib.parse import quote, urlencode

from markupsafe import Markup

from guildlite.runs import Run, RunReader
from guildlite.tfevents import BadContent, ContentLost
from guildlite.web import markdown
from guildlite.web.ansi import shown
from guildlite.web.cards import filter_keys
from guildlite.web.media import charts
from guildlite.web.media.cache import ContentCache
from guildlite.web.media.types import sniff
from guildlite.web.media.words import KINDS, Words, format_picks, parse_number, parse_picks
from guildlite.web.workspace import natural

if TYPE_CHECKING:
    from guildlite.runs.media import (
        EmbeddingRow,
        HParamSession,
        MediaItem,
        MediaSeries,
    )
    from guildlite.series import Experiment
    from guildlite.tfevents import Content
    from guildlite.tfevents.contents import Audio, Images, PrCurve, Text

#: Cards of one page.
CARDS_PER_PAGE = 24
#: Bytes read from event files for one page; cards beyond say how much they would read.
PAGE_BYTES = 32 * 1024 * 1024
#: A single value larger than this is only given as a download.
MOST_ITEM_BYTES = 128 * 1024 * 1024
#: Samples of one step on a card, and on the page of that card alone.
FEW_SAMPLES, MANY_SAMPLES = 12, 100
#: Histograms on one chart: not more than this, at least half, evenly over the values written.
MOST_SHAPES = 40
#: Characters of one text that are shown; what it holds beyond is a download.
MOST_CHARACTERS = 40_000
MOST_TEXTS = 200
_MOST_SESSIONS = 200

#: What one series is called on its card.
ONE = {
    "image": "image", "audio": "audio", "text": "text", "histogram": "histogram",
    "pr_curve": "PR curve", "hparams": "hyperparameters", "graph": "graph", "mesh": "mesh",
    "embedding": "embedding", "layout": "chart layout", "other": "value of another plugin",
}  # fmt: skip
#: What TensorBoard shows of a kind that is only named here.
ELSEWHERE = {
    "graph": "TensorBoard draws it.",
    "mesh": "TensorBoard shows it in 3D.",
    "embedding": "TensorBoard projects it in 2D and 3D.",
    "layout": "TensorBoard lays its charts out so.",
    "other": "If its plugin is installed, TensorBoard shows it.",
}
TIMES = " \N{MULTIPLICATION SIGN} "
#: Small images are shown this wide, in whole multiples of their pixels.
_FIT_WIDTH = 128
_GRAPH_FORMS = {
    "graph_def": "graph of the model",
    "meta_graph_def": "graph with its metadata",
    "run_metadata": "profile of one step",
    "keras": "conceptual graph of a Keras model",
}


# The address


def picked_url(reader: RunReader, path: str, query: Mapping[str, str]) -> str:
    """Return the address that the form of a card asks for: the value of `go` nearest to `to`."""
    rest = {name: value for name, value in query.items() if name not in ("go", "to", "at")}
    picks = parse_picks(query.get("at", ""))
    series, step = reader.media_series(query["go"]), parse_number(query.get("to"))
    item = nearest(reader, series, step) if series and step is not None else None
    if item is not None:
        picks[item.key] = item.seq
        at = format_picks(picks)
        rest = {**rest, "at": at} if at else rest
    anchor = f"#{card_id(item.key)}" if item else ""
    return f"{path}?{urlencode(rest)}{anchor}" if rest else f"{path}{anchor}"


# What a page holds


@dataclass(frozen=True, slots=True)
class Sample:
    """One picture or clip. `number` counts in its step; `url` is where its bytes are.

    Sizes as shown, in CSS pixels, 0 where not known. `problem` says why it is not shown.
    """

    number: int
    url: str
    label: str
    media_type: str
    facts: str
    width: int
    height: int
    pixelated: bool
    problem: str | None


@dataclass(frozen=True, slots=True)
class Card:
    """One series at one step. Which fields are filled depends on `kind`; `problem` says why none.

    `id` is for the page, the same at every look. `html` and `chart` were made here and are safe.
    """

    id: str
    key: str
    kind: str
    name: str
    description: str
    count: int
    segments: int
    item: MediaItem | None = None
    samples: list[Sample] = field(default_factory=list)
    sample_count: int = 0
    sample_page: int = 1
    sample_pages: int = 1
    html: Markup | None = None
    cut: int = 0
    chart: Markup | None = None
    columns: list[str] = field(default_factory=list)
    rows: list[list[float | int]] = field(default_factory=list)
    facts: list[tuple[str, str]] = field(default_factory=list)
    downloads: list[tuple[str, str]] = field(default_factory=list)
    problem: str | None = None
    note: str | None = None
    first: int = 0
    previous: int | None = None
    next: int | None = None
    last: int = 0
    asked_step: int | None = None


@dataclass(frozen=True, slots=True)
class HParams:
    """Trials as rows below the names of what varies."""

    names: list[str]
    sessions: list[HParamSession]
    experiments: list[Experiment]
    more: int


@dataclass(frozen=True, slots=True)
class MediaPage:
    """One page of cards by group. `kinds` counts the series of each kind, whatever is filtered."""

    words: Words
    groups: list[tuple[str, list[Card]]]
    kinds: dict[str, int]
    hparams: HParams | None
    problem: str | None
    series: int
    shown: int
    page: int
    pages: int

    @property
    def chosen(self) -> bool:
        """Whether someone looks at something particular, which a reload would disturb."""
        words = self.words
        return bool(words.tags or words.picks or words.only or words.step is not None)

    def hidden(self) -> list[tuple[str, str]]:
        """Return the words that a card's form sends along, so that the rest stays as it is."""
        words = self.words
        said = {
            "kind": words.kind, "tags": words.tags, "only": words.only,
            "page": str(words.page) if words.page > 1 else "",
            "step": "" if words.step is None else str(words.step),
            "zoom": str(words.zoom or ""), "text": "plain" if words.plain else "",
            "hist": words.look if words.look != "offset" else "",
            "x": words.along if words.along != "step" else "",
            "at": format_picks(words.picks) or "",
        }  # fmt: skip
        return [(name, value) for name, value in said.items() if value]

    def at(self, card: Card, seq: int | None) -> str | None:
        """Return the word `at` of the address in which a card shows another value."""
        picks = {key: each for key, each in self.words.picks.items() if key != card.key}
        return format_picks(picks if seq is None else {**picks, card.key: seq})


# Reading


def read_media(run: Run, reader: RunReader, words: Words, contents: ContentCache) -> MediaPage:
    """Return one page of a run's media. Raises RunUnreadable."""
    everything = reader.media()
    kinds = {kind: sum(s.kind == kind for s in everything) for kind in KINDS}
    alone = words.only or words.card
    wanted: Sequence[MediaSeries] = [s for s in everything if s.key == alone]
    problem = None
    if not alone:
        found, problem = filter_keys(everything, words.tags)
        wanted = [s for s in found if not words.kind or s.kind == words.kind]
    cards = [s for s in wanted if s.kind != "hparams"]
    cards.sort(key=_order)
    pages = max(1, -(-len(cards) // CARDS_PER_PAGE))
    page = min(words.page, pages)
    maker = CardMaker(run, reader, words, contents)
    groups: dict[str, list[Card]] = {}
    for series in cards[(page - 1) * CARDS_PER_PAGE : page * CARDS_PER_PAGE]:
        groups.setdefault(_group(series.key), []).append(maker.card(series))
    return MediaPage(
        words=words,
        groups=list(groups.items()),
        kinds={kind: count for kind, count in kinds.items() if count},
        hparams=_hparams(reader) if page == 1 and not alone and len(cards) < len(wanted) else None,
        problem=problem,
        series=len(everything),
        shown=len(wanted),
        page=page,
        pages=pages,
    )


def _group(key: str) -> str:
    head, slash, _ = key.partition("/")
    return head if slash else "other"


def _order(series: MediaSeries) -> tuple[bool, object, object]:
    """Return where a card stands: by group as on the metrics page, those without one last."""
    group = _group(series.key)
    return group == "other", natural(group), natural(series.key)


def prose(text: str) -> Markup:
    """Return a description or a label, which are Markdown, as HTML that can do nothing."""
    return Markup(markdown.to_html(text))


def card_id(key: str) -> str:
    """Return the id of a key's card: a word for HTML, whatever the key holds."""
    return "m-" + sha256(key.encode("utf-8", "surrogatepass")).hexdigest()[:12]


def bytes_url(run_id: str, item: MediaItem, nth: int = 0, what: str = "bytes") -> str:
    """Return the address of one sample's bytes; its checksum makes it good for ever."""
    words = {"key": item.key, "seq": item.seq, "nth": nth, "sum": item.reference.checksum}
    if what == "record":
        del words["nth"]
    return f"/api/v1/runs/{quote(run_id, safe='')}/media/{what}?{urlencode(words)}"


def nearest(reader: RunReader, series: MediaSeries, step: int) -> MediaItem | None:
    """Return the value nearest to a step, of several the last written.

    Where steps only rise this takes a few look-ups in the index, however long the series is; a
    resumed training is searched in the order written, exact steps before near ones.
    """
    if series.segments > 1:
        exact = reader.items(series.key, first_step=step, last_step=step)
        if exact:
            return exact[-1]
        above = reader.items(series.key, first_step=step, limit=1)
        place = above[0].seq if above else series.count
    else:
        low, high = 0, series.count
        while low < high:  # the first behind the step
            middle = (low + high) // 2
            item = reader.item(series.key, middle)
            if item is None or item.step > step:
                high = middle
            else:
                low = middle + 1
        place = low
    around = [reader.item(series.key, seq) for seq in (place - 1, place) if seq >= 0]
    found = [item for item in around if item is not None]
    return min(found, key=lambda item: abs(item.step - step), default=None)


class CardMaker:
    """Makes the cards of one page, and keeps count of what that reads."""

    def __init__(
        self,
        run: Run,
        reader: RunReader,
        words: Words,
        contents: ContentCache,
        most_bytes: int = PAGE_BYTES,
    ) -> None:
        self.run = run
        self.reader = reader
        self.words = words
        self.contents = contents
        self._left = most_bytes
        self._embeddings: list[EmbeddingRow] | None = None

    def card(self, series: MediaSeries) -> Card:
        """Return a series as a card; whatever is wrong with its value, the card says."""
        card = Card(
            id=card_id(series.key),
            key=series.key,
            kind=series.kind,
            name=series.display_name if series.display_name != series.key else "",
            description=series.description[:2000],
            count=series.count,
            segments=series.segments,
            last=max(0, series.count - 1),
        )
        if series.kind == "embedding":
            return replace(card, facts=self._embedding_facts(series.key))
        item = self._chosen(series)
        if item is None:
            return replace(card, problem="the value is not there any more")
        card = replace(
            card,
            item=item,
            asked_step=None if series.key in self.words.picks else self.words.step,
            previous=item.seq - 1 if item.seq else None,
            next=item.seq + 1 if item.seq < card.last else None,
            downloads=[("record", bytes_url(self.run.id, item, what="record"))],
        )
        if series.kind == "histogram":
            return self._histograms(card, series)
        try:
            content = self._read(item)
        except (ContentLost, BadContent) as error:
            return replace(card, problem=error.message)
        fill: Callable[..., Card] = getattr(self, _FILLERS.get(series.kind, ""), self._other)
        return fill(card, item, content)

    def _chosen(self, series: MediaSeries) -> MediaItem | None:
        seq = self.words.picks.get(series.key)
        if seq is None and self.words.step is not None:
            return nearest(self.reader, series, self.words.step)
        last = series.count - 1
        return self.reader.item(series.key, last if seq is None else min(seq, last))

    def _read(self, item: MediaItem) -> Content:
        """Return a content within what a page may read; raises ContentLost, BadContent."""
        size = item.reference.length
        most = MOST_ITEM_BYTES if self.words.only else self._left
        if size > min(most, MOST_ITEM_BYTES):
            how = "too large to be shown" if size > MOST_ITEM_BYTES else "not read on this page"
            raise BadContent(f"{size / 2**20:,.0f} MiB, {how}")
        self._left -= size
        return self.contents.read(self.run, self.reader, item)

    # Images and audio

    def _images(self, card: Card, item: MediaItem, content: Images) -> Card:
        page, pages, chosen = self._samples(len(content.images))
        samples = [self._picture(item, n, content.images[n], content) for n in chosen]
        note = None if content.images else "no image in this value"
        return replace(
            card, samples=samples, sample_count=len(content.images),
            sample_page=page, sample_pages=pages, note=note,
        )  # fmt: skip

    def _samples(self, count: int) -> tuple[int, int, range]:
        """Return page, pages, and the numbers of the samples that are shown."""
        most = MANY_SAMPLES if self.words.only else FEW_SAMPLES
        pages = max(1, -(-count // most))
        page = min(self.words.samples, pages) if self.words.only else 1
        return page, pages, range((page - 1) * most, min(count, page * most))

    def _picture(self, item: MediaItem, nth: int, data: bytes, content: Images) -> Sample:
        found = sniff(data)
        width, height = found.width or content.width, found.height or content.height
        problem = found.problem
        if not found.is_image:
            problem = f"{len(data):,} bytes that are no image"
        factor = self.words.zoom or max(1, _FIT_WIDTH // max(1, width, height))
        return Sample(
            number=nth,
            url=bytes_url(self.run.id, item, nth),
            label=f"{item.key}, step {item.step:,}, sample {nth + 1}",
            media_type=found.media_type,
            facts=f"{width:,}{TIMES}{height:,}" if width and height else "",
            width=width * factor,
            height=height * factor,
            pixelated=factor > 1,
            problem=problem,
        )

    def _audio(self, card: Card, item: MediaItem, content: Audio) -> Card:
        page, pages, chosen = self._samples(len(content.clips))
        samples = []
        for nth in chosen:
            found = sniff(content.clips[nth])
            label = content.labels[nth] if nth < len(content.labels) else ""
            problem = None if found.is_audio else f"{len(content.clips[nth]):,} bytes, no audio"
            url = bytes_url(self.run.id, item, nth)
            samples.append(
                Sample(nth, url, label[:500], found.media_type, found.facts, 0, 0, False, problem)
            )
        return replace(
            card, samples=samples, sample_count=len(content.clips),
            sample_page=page, sample_pages=pages,
            note=None if content.clips else "no clip in this value",
        )  # fmt: skip

    # Text

    def _text(self, card: Card, item: MediaItem, content: Text) -> Card:
        left = MOST_CHARACTERS
        texts: list[str] = []
        for text in content.texts:
            # A table's cell counts with its tags.
            if left <= 0 or len(texts) >= MOST_TEXTS * (1 if len(content.shape) < 2 else 25):
                break
            texts.append(text[:left])
            left -= len(text) + 10
        cut = sum(map(len, content.texts)) - sum(map(len, texts))
        left_out = len(content.texts) - len(texts)
        if len(content.shape) >= 2 and content.shape[-1] > 0:
            columns = content.shape[-1]
            rows = [texts[at : at + columns] for at in range(0, len(texts), columns)]
            html = markdown.table_html([[shown(cell) for cell in row] for row in rows])
        elif self.words.plain:
            html = "<hr>".join(f"<pre>{escape(shown(text))}</pre>" for text in texts)
        else:
            html = "<hr>".join(markdown.to_html(text) for text in texts)
        downloads = [("whole text", bytes_url(self.run.id, item)), *card.downloads]
        note = f"of shape {TIMES.join(map(str, content.shape))}" if len(content.shape) > 2 else None
        if left_out:
            note = f"{left_out:,} more texts are not shown"
        return replace(card, html=Markup(html), cut=cut, downloads=downloads, note=note)

    # Distributions and curves

    def _histograms(self, card: Card, series: MediaSeries) -> Card:
        shapes, problems = [], []
        for item in self._spread(series):
            try:
                content = self._read(item)
            except (ContentLost, BadContent) as error:
                problems.append(error.message)
                continue
            buckets = content.buckets if hasattr(content, "buckets") else []
            shapes.append(charts.clean(item.step, buckets, item.time))
        if not shapes:
            return replace(card, problem=problems[0] if problems else "no value")
        if self.words.look == "bands":
            chart = charts.bands(card.key, shapes, along=self.words.along)
        else:
            overlay = self.words.look == "overlay"
            chart = charts.ridges(card.key, shapes, overlay=overlay, along=self.words.along)
        notes = []
        if len(shapes) + len(problems) < series.count:
            notes.append(f"{len(shapes)} of {series.count:,} histograms, evenly chosen")
        if problems:
            notes.append(f"{len(problems)} cannot be read: {problems[0]}")
        return replace(
            card,
            chart=Markup(chart),
            columns=["Step", "Count", "min", "5 %", "25 %", "median", "75 %", "95 %", "max"],
            rows=[[step, count, *values] for step, count, values in charts.table(shapes)],
            note="; ".join(notes) or None,
        )

    def _spread(self, series: MediaSeries) -> list[MediaItem]:
        """Return values evenly chosen, the newest among them.

        Their distance is a power of two, so that a growing series keeps those it showed.
        """
        stride = 1
        while -(-series.count // stride) > MOST_SHAPES - 1:
            stride *= 2
        last = series.count - 1
        if stride == 1:
            return self.reader.items(series.key, limit=MOST_SHAPES)
        chosen = [*range(0, last, stride), last]
        items = (self.reader.item(series.key, seq) for seq in chosen)
        return [item for item in items if item is not None]

    def _pr_curve(self, card: Card, item: MediaItem, content: PrCurve) -> Card:
        chart = charts.pr_chart(card.key, content.precision, content.recall)
        last = len(content.precision) - 1
        chosen = range(last + 1) if last < 11 else [n * last // 10 for n in range(11)]
        counts = (
            content.true_positives, content.false_positives,
            content.true_negatives, content.false_negatives,
        )  # fmt: skip
        return replace(
            card,
            chart=Markup(chart),
            columns=["Threshold", "Precision", "Recall", "TP", "FP", "TN", "FN"],
            rows=[
                [
                    n / last if last else 0.0,
                    content.precision[n],
                    content.recall[n],
                    *(each[n] for each in counts),
                ]
                for n in chosen
            ],
        )

    # What is named, and shown elsewhere

    def _other(self, card: Card, item: MediaItem, content: Content) -> Card:
        return replace(
            card,
            facts=content_facts(content),
            downloads=[*self._data(item, content), *card.downloads],
        )

    def _data(self, item: MediaItem, content: Content) -> list[tuple[str, str]]:
        if hasattr(content, "form"):
            return [("graph", bytes_url(self.run.id, item))]
        return []

    def _embedding_facts(self, key: str) -> list[tuple[str, str]]:
        if self._embeddings is None:
            self._embeddings = self.reader.embeddings()
        row = next((each for each in self._embeddings if each.key == key), None)
        if row is None:
            return []
        facts = [("tensor", row.name)]
        if row.shape:
            facts.append(("shape", TIMES.join(map(str, row.shape))))
        for name in ("tensor", "metadata", "sprite", "bookmarks"):
            file = getattr(row, name)
            if file is not None:
                facts.append((f"{name} file", f"{file.path}, {file.size:,} bytes"))
        facts.append(("listed in", row.config))
        return facts


_FILLERS = {"image": "_images", "audio": "_audio", "text": "_text", "pr_curve": "_pr_curve"}


def content_facts(content: Content) -> list[tuple[str, str]]:
    """Return what a value is in words, for kinds that are only named."""
    from guildlite.tfevents import contents as kinds

    if isinstance(content, kinds.Graph):
        form = _GRAPH_FORMS.get(content.form, content.form)
        return [("what", form), ("size", f"{len(content.data):,} bytes")]
    if isinstance(content, kinds.Mesh):
        shape = TIMES.join(map(str, content.shape))
        return [("mesh", content.name), ("part", content.part), ("shape", shape)]
    if isinstance(content, kinds.Layout):
        return [
            (title[:200], ", ".join(chart.title for chart in charts[:20]))
            for title, charts in content.categories[:50]
        ]
    if isinstance(content, kinds.Other):
        facts = [("plugin data", f"{len(content.plugin_content):,} bytes")]
        if content.tensor is not None:
            shape = TIMES.join(map(str, content.tensor.shape)) or "one value"
            facts.append(("tensor", shape))
            first = ", ".join(
                each[:60].decode("utf-8", "backslashreplace")
                if isinstance(each, bytes)
                else f"{each:.6g}"
                for each in content.tensor.values[:8]
            )
            facts.append(("begins", first + (", …" if len(content.tensor.values) > 8 else "")))
        return facts
    return []


def _hparams(reader: RunReader) -> HParams | None:
    sessions, experiments = reader.sessions(), reader.experiments()
    if not sessions and not experiments:
        return None
    names: dict[str, None] = {}
    for experiment in experiments:
        names.update(dict.fromkeys(experiment.hparams))
    for session in sessions:
        names.update(dict.fromkeys(session.values))
    shown_ = sessions[:_MOST_SESSIONS]
    return HParams(list(names)[:100], shown_, experiments, len(sessions) - len(shown_))
