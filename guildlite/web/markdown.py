"""Markdown as HTML that can do nothing: a subset, made for text that nobody vouches for.

Headings, paragraphs, emphasis, code, lists, quotes, tables, rules and links to http and https.
Every character of the text is escaped; the tags and attributes come from here alone. HTML in the
text is shown as it is written. Pictures become links, so that nothing is loaded from elsewhere.
Anything else, and anything nested deeper than people do, stays plain text. The time is linear in
the length of the text, whatever it holds.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from html import escape

from guildlite.web.ansi import shown

#: Quotes and lists within one another; deeper ones are shown as they are written.
MOST_DEPTH = 4
#: Rows and columns of one table.
MOST_ROWS, MOST_COLUMNS = 500, 50

_HEADING = re.compile(r" {0,3}(#{1,6})[ \t]+(.*?)[ \t]*#*[ \t]*$")
_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})[^`]*$")
_RULE = re.compile(r" {0,3}(?:\*[ \t]*){3,}$| {0,3}(?:-[ \t]*){3,}$| {0,3}(?:_[ \t]*){3,}$")
_BULLET = re.compile(r"( {0,3})([-*+]|\d{1,9}[.)])(?:[ \t]+|$)")
_QUOTE = re.compile(r" {0,3}> ?")
_DELIMITER = re.compile(r"[ \t]*\|?[ \t]*:?-+:?[ \t]*(?:\|[ \t]*:?-+:?[ \t]*)*\|?[ \t]*$")
# Every repetition has a bound: a hostile text costs a bound for each character, no more.
_INLINE = re.compile(
    r"(?P<escaped>\\[!-/:-@\[-`{-~])"
    r"|(?P<ticks>`{1,9})(?!`)(?P<code>.{1,500}?)(?<!`)(?P=ticks)(?!`)"
    r"|!?\[(?P<label>[^\[\]\n]{1,300})\]\((?P<url>https?://[^\s()<>]{1,1000})\)"
    r"|<(?P<auto>https?://[^\s<>]{1,1000})>"
    r"|\*\*(?=\S)(?P<strong>.{1,500}?)(?<=\S)\*\*"
    r"|(?<!\w)__(?=\S)(?P<strong_>.{1,500}?)(?<=\S)__(?!\w)"
    r"|\*(?=[^\s*])(?P<em>.{1,500}?)(?<=[^\s*])\*(?!\*)"
    r"|(?<!\w)_(?=[^\s_])(?P<em_>.{1,500}?)(?<=[^\s_])_(?!\w)"
    r"|~~(?=\S)(?P<struck>.{1,500}?)(?<=\S)~~"
    r"|(?P<break>(?: {2,9}|\\)\n)",
    re.DOTALL,
)


def to_html(text: str) -> str:
    """Return a text in Markdown as HTML. Headings begin at h4: the page has those above."""
    lines = shown(text.replace("\r\n", "\n").replace("\r", "\n")).expandtabs(4).split("\n")
    return "\n".join(_blocks(lines, 0))


def table_html(rows: Sequence[Sequence[str]], *, head: bool = False) -> str:
    """Return a table whose cells are Markdown of one line; the first row may be a head."""
    pieces = ['<div class="scroll"><table>']
    for number, row in enumerate(rows[:MOST_ROWS]):
        tag = "th" if head and number == 0 else "td"
        opening = '<th scope="col">' if tag == "th" else "<td>"
        cells = "".join(f"{opening}{inline(cell)}</{tag}>" for cell in row[:MOST_COLUMNS])
        pieces.append(f"<tr>{cells}</tr>")
    pieces.append("</table></div>")
    if len(rows) > MOST_ROWS:
        pieces.append(f'<p class="soft">and {len(rows) - MOST_ROWS:,} more rows</p>')
    return "".join(pieces)


def inline(text: str, depth: int = 0) -> str:
    """Return what may stand in a line as HTML: emphasis, code and links."""
    pieces: list[str] = []
    at = 0
    for match in _INLINE.finditer(text):
        pieces.append(escape(text[at : match.start()]))
        pieces.append(_token(match, depth))
        at = match.end()
    pieces.append(escape(text[at:]))
    return "".join(pieces)


_TAGS = {"strong": "strong", "strong_": "strong", "em": "em", "em_": "em", "struck": "del"}


def _token(match: re.Match[str], depth: int) -> str:
    if match["escaped"]:
        return escape(match["escaped"][1])
    if match["code"]:
        code = match["code"]
        if code.strip() and code[0] == code[-1] == " ":
            code = code[1:-1]
        return f"<code>{escape(code)}</code>"
    if match["url"]:
        return _link(match["url"], match["label"])
    if match["auto"]:
        return _link(match["auto"], match["auto"])
    if match["break"]:
        return "<br>\n"
    for name, tag in _TAGS.items():
        if match[name]:
            inside = match[name]
            html = inline(inside, depth + 1) if depth < MOST_DEPTH else escape(inside)
            return f"<{tag}>{html}</{tag}>"
    raise AssertionError(match)


def _link(url: str, label: str) -> str:
    return f'<a href="{escape(url)}" rel="nofollow noopener noreferrer">{escape(label)}</a>'


def _blocks(lines: list[str], depth: int) -> list[str]:
    """Return the blocks of some lines, one piece of HTML each."""
    html: list[str] = []
    at = 0
    while at < len(lines):
        if not lines[at].strip():
            at += 1
            continue
        for take in _TAKERS:
            taken = take(lines, at, depth)
            if taken is not None:
                piece, at = taken
                html.append(piece)
                break
        else:
            end = at + 1
            while end < len(lines) and not _interrupts(lines, end, depth):
                end += 1
            text = "\n".join(line.lstrip() for line in lines[at:end]).rstrip()
            html.append(f"<p>{inline(text)}</p>")
            at = end
    return html


Taken = tuple[str, int] | None


def _interrupts(lines: list[str], at: int, depth: int) -> bool:
    line = lines[at]
    if not line.strip() or _HEADING.match(line) or _FENCE.match(line) or _RULE.match(line):
        return True
    return depth < MOST_DEPTH and bool(_QUOTE.match(line) or _BULLET.match(line))


def _take_fence(lines: list[str], at: int, _: int) -> Taken:
    match = _FENCE.match(lines[at])
    if match is None:
        return None
    fence = match[1]
    end = at + 1
    while end < len(lines):
        line = lines[end].strip()
        if line.startswith(fence) and not line.strip(fence[0]):
            break
        end += 1
    code = "\n".join(lines[at + 1 : end])
    return f"<pre><code>{escape(code)}</code></pre>", end + 1


def _take_heading(lines: list[str], at: int, _: int) -> Taken:
    match = _HEADING.match(lines[at])
    if match is None:
        return None
    level = min(6, len(match[1]) + 3)
    return f"<h{level}>{inline(match[2])}</h{level}>", at + 1


def _take_rule(lines: list[str], at: int, _: int) -> Taken:
    return ("<hr>", at + 1) if _RULE.match(lines[at]) else None


def _take_quote(lines: list[str], at: int, depth: int) -> Taken:
    end = at
    while end < len(lines) and _QUOTE.match(lines[end]):
        end += 1
    if end == at or depth >= MOST_DEPTH:
        return None
    inside = [_QUOTE.sub("", line, count=1) for line in lines[at:end]]
    return f"<blockquote>{''.join(_blocks(inside, depth + 1))}</blockquote>", end


def _take_list(lines: list[str], at: int, depth: int) -> Taken:
    first = _BULLET.match(lines[at])
    if first is None or depth >= MOST_DEPTH:
        return None
    ordered = first[2][0].isdigit()
    items: list[list[str]] = []
    indent = 0
    while at < len(lines):
        line = lines[at]
        match = _BULLET.match(line)
        if match and items and len(match[1]) >= indent:
            match = None  # a list within this item
        if match and match[2][0].isdigit() == ordered and not _RULE.match(line):
            indent = match.end()
            items.append([line[indent:]])
        elif items and line.strip() and len(line) - len(line.lstrip()) >= min(2, indent):
            items[-1].append(line[min(indent, len(line) - len(line.lstrip())) :])
        elif items and not line.strip() and _goes_on(lines, at + 1):
            items[-1].append("")
        else:
            break
        at += 1
    tag = "ol" if ordered else "ul"
    start = int(first[2][:-1]) if ordered else 1
    opening = f'<ol start="{start}">' if start != 1 else f"<{tag}>"
    return f"{opening}{''.join(_item(item, depth) for item in items)}</{tag}>", at


def _goes_on(lines: list[str], at: int) -> bool:
    """Say whether a list goes on behind one empty line."""
    return at < len(lines) and bool(
        lines[at].strip() and (lines[at].startswith("  ") or _BULLET.match(lines[at]))
    )


def _item(lines: list[str], depth: int) -> str:
    if len(lines) == 1:
        return f"<li>{inline(lines[0])}</li>"
    blocks = _blocks(lines, depth + 1)
    if blocks and blocks[0].startswith("<p>") and "" not in lines:
        blocks[0] = blocks[0].removeprefix("<p>").removesuffix("</p>")
    return f"<li>{''.join(blocks)}</li>"


def _take_table(lines: list[str], at: int, _: int) -> Taken:
    if "|" not in lines[at] or at + 1 >= len(lines) or "-" not in lines[at + 1]:
        return None
    head = _cells(lines[at])
    if not _DELIMITER.match(lines[at + 1]) or len(_cells(lines[at + 1])) != len(head):
        return None
    end = at + 2
    while end < len(lines) and "|" in lines[end]:
        end += 1
    rows = [head, *(_cells(line) for line in lines[at + 2 : end])]
    return table_html([row[: len(head)] for row in rows], head=True), end


def _cells(line: str) -> list[str]:
    line = line.strip().removeprefix("|")
    if not line.endswith("\\|"):
        line = line.removesuffix("|")
    return [cell.replace("\\|", "|").strip() for cell in re.split(r"(?<!\\)\|", line)]


_TAKERS: tuple[Callable[[list[str], int, int], Taken], ...] = (
    _take_fence, _take_heading, _take_rule, _take_quote, _take_list, _take_table,
)  # fmt: skip
