"""Images of several runs side by side at one step."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from guildlite.errors import RunUnreadable
from guildlite.runs import Run, RunReader
from guildlite.web.cards import filter_keys
from guildlite.web.media.cache import ContentCache
from guildlite.web.media.page import PAGE_BYTES, Card, CardMaker
from guildlite.web.media.words import Words
from guildlite.web.workspace import Workspace, natural

if TYPE_CHECKING:
    from guildlite.runs.media import MediaSeries


@dataclass(frozen=True, slots=True)
class Picture:
    """What one run has of a key: a card with its images, None where it has none of that key."""

    run: str
    slot: int
    card: Card | None


@dataclass(frozen=True, slots=True)
class SideBySide:
    """Images of several runs, one row a key, each at the value nearest to `step`.

    `step` None is each run's newest. `keys` counts all, `problem` says that the regex is bad.
    `steps` are those that images of this page have, rising; empty where they are very many.
    """

    rows: list[tuple[str, list[Picture]]]
    keys: int
    step: int | None
    first_step: int | None
    last_step: int | None
    page: int
    pages: int
    problem: str | None
    steps: list[int]


#: Rows of one page of images side by side.
ROWS_PER_PAGE = 8
#: Values of one series whose steps are looked up for the slider.
_MOST_STEPS = 500


def read_images(
    workspace: Workspace, ids: Sequence[str], words: Words, contents: ContentCache
) -> SideBySide:
    """Return the images of the runs with these ids; a run that cannot be read has none."""
    everything = workspace.runs()
    runs = [workspace.get(run_id, everything) for run_id in dict.fromkeys(ids)]
    readers = {}
    with ExitStack() as stack:
        for run in runs:
            with suppress(RunUnreadable):
                if run.error is None:
                    readers[run.id] = stack.enter_context(run.read())
        return read_side_by_side(runs, readers, words, contents)


def read_side_by_side(
    runs: Sequence[Run],
    readers: Mapping[str, RunReader],
    words: Words,
    contents: ContentCache,
) -> SideBySide:
    """Return the images of runs side by side; `readers` has those that can be read, by run id."""
    series = {name: {s.key: s for s in reader.media("image")} for name, reader in readers.items()}
    every = {key: one for each in series.values() for key, one in each.items()}
    held = [one for each in series.values() for one in each.values()]
    wanted, problem = filter_keys(list(every.values()), words.tags)
    holders = {key: sum(key in each for each in series.values()) for key in every}
    # What most runs have comes first: it is what can be compared.
    keys = sorted((one.key for one in wanted), key=lambda key: (-holders[key], natural(key)))
    pages = max(1, -(-len(keys) // ROWS_PER_PAGE))
    page = min(words.page, pages)
    chosen = keys[(page - 1) * ROWS_PER_PAGE : page * ROWS_PER_PAGE]
    makers = {
        run.id: CardMaker(run, readers[run.id], words, contents, PAGE_BYTES // len(readers))
        for run in runs
        if run.id in readers
    }
    rows = []
    for key in chosen:
        row = []
        for slot, run in enumerate(runs):
            one = series.get(run.id, {}).get(key)
            row.append(Picture(run.id, slot, makers[run.id].card(one) if one else None))
        rows.append((key, row))
    return SideBySide(
        rows=rows,
        keys=len(every),
        step=words.step,
        first_step=_least((one.first_step for one in held), min),
        last_step=_least((one.last_step for one in held), max),
        page=page,
        pages=pages,
        problem=problem,
        steps=_steps(readers, series, chosen),
    )


def _steps(
    readers: Mapping[str, RunReader],
    series: Mapping[str, Mapping[str, MediaSeries]],
    keys: Sequence[str],
) -> list[int]:
    """Return the steps of all images of these keys, none where a series is very long."""
    held = [(name, own[key]) for name, own in series.items() for key in keys if key in own]
    if any(each.count > _MOST_STEPS for _, each in held):
        return []
    return sorted(
        {
            item.step
            for name, each in held
            for item in readers[name].items(each.key, limit=_MOST_STEPS)
        }
    )


def _least(steps: Iterable[int | None], choose: Callable[[list[int]], int]) -> int | None:
    found = [step for step in steps if step is not None]
    return choose(found) if found else None
