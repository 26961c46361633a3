"""Text that others wrote, made safe to look at: control characters visible, ANSI colours as spans.

A page never runs or obeys what a script printed. Colours become classes (the policy of the pages
forbids inline styles), everything else a terminal would obey is dropped, and characters that would
reorder or hide text are spelled out.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from html import escape

from guildlite.wording import visible

# One escape sequence: CSI; a string up to its end (OSC, DCS, PM, APC, SOS); any other short one.
_ESCAPE = re.compile(
    "(?:\x1b\\[|\x9b)([0-?]*)[ -/]*([@-~])"
    "|\x1b[\\]PX^_][^\x07\x1b\x9c]*(?:\x07|\x1b\\\\|\x9c|$)"
    "|\x1b[ -/]*[0-~]"
)

# Colours of xterm for the 16 names; 256 and true colours take the nearest of them.
_NAMED = (
    (0, 0, 0), (205, 0, 0), (0, 205, 0), (205, 205, 0),
    (0, 0, 238), (205, 0, 205), (0, 205, 205), (229, 229, 229),
    (127, 127, 127), (255, 0, 0), (0, 255, 0), (255, 255, 0),
    (92, 92, 255), (255, 0, 255), (0, 255, 255), (255, 255, 255),
)  # fmt: skip
_CUBE = (0, 95, 135, 175, 215, 255)
_WORDS = {1: "bold", 2: "dim", 3: "italic", 4: "underline", 7: "reverse", 9: "strike"}
_ENDS = {22: ("bold", "dim"), 23: ("italic",), 24: ("underline",), 27: ("reverse",),
         29: ("strike",)}  # fmt: skip


def shown(text: str) -> str:
    """Return `text` as a page shows it: what is not seen as itself spelled out, but for layout."""
    return visible(text, keep="\t\n")


def strip_ansi(text: str) -> str:
    """Return `text` without escape sequences, as it is searched."""
    if "\x1b" not in text and "\x9b" not in text:
        return text
    return _ESCAPE.sub("", text)


def to_html(text: str, spans: Sequence[tuple[int, int]] = ()) -> str:
    """Return one line as HTML: text escaped, colours and weights as `<span class="...">`.

    spans: begin and end of what is marked with `<mark>`, in the text without escape sequences, in
        order and apart from one another.

    Every line begins plain: a page shows a part of the output, and what an earlier line left
    switched on is not known there.
    """
    style = _Style()
    marks = _Marks(spans)
    pieces: list[str] = []
    at = 0
    for match in _ESCAPE.finditer(text):
        pieces.append(style.wrap(marks.take(text[at : match.start()])))
        if match[2] == "m":
            style.apply(match[1])
        at = match.end()
    pieces.append(style.wrap(marks.take(text[at:])))
    return "".join(pieces)


class _Marks:
    """Escapes a line piece by piece, with what was found in it marked."""

    def __init__(self, spans: Sequence[tuple[int, int]]) -> None:
        self._spans = spans
        self._at = 0

    def take(self, text: str) -> str:
        """Return the next piece as HTML."""
        begin, self._at = self._at, self._at + len(text)
        pieces: list[str] = []
        done = 0
        for start, end in self._spans:
            low, high = max(start - begin, done), min(end - begin, len(text))
            if low < high:
                pieces += [_plain(text[done:low]), f"<mark>{_plain(text[low:high])}</mark>"]
                done = high
        return "".join(pieces) + _plain(text[done:])


def _plain(text: str) -> str:
    return escape(shown(text))


class _Style:
    """What is switched on at one place of a line."""

    def __init__(self) -> None:
        self.words: set[str] = set()
        self.colours: dict[str, int] = {}

    def wrap(self, html: str) -> str:
        if not html:
            return ""
        classes = sorted(self.words) + [f"{kind}{n}" for kind, n in sorted(self.colours.items())]
        return f'<span class="{" ".join(classes)}">{html}</span>' if classes else html

    def apply(self, parameters: str) -> None:
        """Obey one SGR sequence; unknown codes are passed over."""
        words = parameters.replace(":", ";").split(";")
        codes = [int(word) if word.isdigit() and len(word) < 4 else 0 for word in words]
        index = 0
        while index < len(codes):
            index += self._one(codes, index)

    def _one(self, codes: list[int], index: int) -> int:
        """Obey the code at `index`; return how many codes it took."""
        code = codes[index]
        if code == 0:
            self.words.clear()
            self.colours.clear()
        elif code in _WORDS:
            self.words.add(_WORDS[code])
        elif code in _ENDS:
            self.words.difference_update(_ENDS[code])
        elif code in (39, 49):
            self.colours.pop("fg" if code == 39 else "bg", None)
        elif code in (38, 48):
            return self._extended("fg" if code == 38 else "bg", codes[index + 1 : index + 5])
        elif 30 <= code <= 37 or 40 <= code <= 47:
            self.colours["fg" if code < 40 else "bg"] = code % 10
        elif 90 <= code <= 97 or 100 <= code <= 107:
            self.colours["fg" if code < 100 else "bg"] = code % 10 + 8
        return 1

    def _extended(self, kind: str, rest: list[int]) -> int:
        if rest[:1] == [5] and len(rest) >= 2:
            self.colours[kind] = _of_256(min(rest[1], 255))
            return 3
        if rest[:1] == [2] and len(rest) >= 4:
            self.colours[kind] = _nearest((rest[1], rest[2], rest[3]))
            return 5
        return 1 + len(rest)


def _of_256(number: int) -> int:
    if number < 16:
        return number
    if number >= 232:
        grey = 8 + (number - 232) * 10
        return _nearest((grey, grey, grey))
    cube = number - 16
    return _nearest((_CUBE[cube // 36], _CUBE[cube // 6 % 6], _CUBE[cube % 6]))


def _nearest(colour: tuple[int, int, int]) -> int:
    def distance(number: int) -> int:
        return sum((a - b) ** 2 for a, b in zip(colour, _NAMED[number], strict=True))

    return min(range(16), key=distance)
