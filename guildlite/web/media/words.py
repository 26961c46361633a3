"""The words of a media page's address, and what they may say."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import quote, unquote

#: What is what, in the order of the kind filter.
KINDS = {
    "image": "Images",
    "audio": "Audio",
    "text": "Text",
    "histogram": "Histograms",
    "pr_curve": "PR curves",
    "hparams": "Hyperparameters",
    "graph": "Graphs",
    "mesh": "Meshes",
    "embedding": "Embeddings",
    "layout": "Chart layouts",
    "other": "Others",
}
LOOKS = {"offset": "offset", "overlay": "overlay", "bands": "bands over steps"}
#: What histograms stand along.
AXES = {"step": "step", "relative": "time since the first", "wall": "time of day"}
ZOOMS = (1, 2, 4, 8, 16)


@dataclass(frozen=True, slots=True)
class Words:
    """The words of a media page's address.

    `step` is for all cards, `picks` (key to seq) for single ones and goes first; without either a
    card shows the newest value. `only` shows one card with all its samples, `card` one as it stands
    among others, for the page's script.
    """

    kind: str = ""
    tags: str = ""
    page: int = 1
    step: int | None = None
    picks: Mapping[str, int] = field(default_factory=dict)
    only: str = ""
    card: str = ""
    samples: int = 1
    look: str = "offset"
    along: str = "step"
    plain: bool = False
    zoom: int = 0

    @classmethod
    def parse(cls, query: Mapping[str, str]) -> Words:
        """Return what a query says; what makes no sense counts as not said."""
        zoom = parse_number(query.get("zoom"))
        return cls(
            kind=query.get("kind", "") if query.get("kind") in KINDS else "",
            tags=query.get("tags", "").strip(),
            page=max(1, parse_number(query.get("page")) or 1),
            step=parse_number(query.get("step")),
            picks=parse_picks(query.get("at", "")),
            only=query.get("only", ""),
            card=query.get("card", ""),
            samples=max(1, parse_number(query.get("samples")) or 1),
            look=query["hist"] if query.get("hist") in LOOKS else "offset",
            along=query["x"] if query.get("x") in AXES else "step",
            plain=query.get("text") == "plain",
            zoom=zoom if zoom in ZOOMS else 0,
        )

    @classmethod
    def for_images(cls, query: Mapping[str, str]) -> Words:
        """Return what a query for runs side by side says of their images."""
        return cls(
            tags=query.get("tags", "").strip(),
            page=max(1, parse_number(query.get("images")) or 1),
            step=parse_number(query.get("step")),
        )


def parse_picks(text: str) -> dict[str, int]:
    """Return the seq picked for each key, from `SEQ:KEY,SEQ:KEY` with the keys quoted."""
    picks = {}
    for each in text[:8000].split(",")[:200]:
        number, colon, key = each.partition(":")
        seq = parse_number(number)
        if colon and seq is not None and seq >= 0:
            picks[unquote(key)] = seq
    return picks


def format_picks(picks: Mapping[str, int]) -> str | None:
    """Return picks as `parse_picks` reads them; None for none."""
    return ",".join(f"{seq}:{quote(key, safe='/')}" for key, seq in picks.items()) or None


def parse_number(text: str | None) -> int | None:
    if text is None or not re.fullmatch(r"-?\d{1,18}", text.strip(), re.ASCII):
        return None
    return int(text)
