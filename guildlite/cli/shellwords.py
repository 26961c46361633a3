"""Words of a command line as shells read and write them: parted, unquoted, quoted again. Pure."""

from __future__ import annotations

from typing import NamedTuple

from guildlite.wording import visible

#: What bash takes for itself in a word without quotes.
_SPECIAL = frozenset(" \t\"'`$\\!&|;<>()*?[]{}#~^")
#: What stays special between double quotes.
_IN_DOUBLE = frozenset('"$`\\')


#: Wider words are not lined up with what is said of them.
_WIDEST = 32


class Candidate(NamedTuple):
    """A word that can stand at the cursor, what it is, and whether `more` of it is to follow."""

    text: str
    help: str = ""
    more: bool = False


class Answer(NamedTuple):
    """Candidates for the word at the cursor; the first `kept` characters of it stay before each."""

    candidates: list[Candidate]
    kept: int = 0


class Word(NamedTuple):
    """The word at the cursor.

    `raw` is as typed, `text` what it means, `quote` the quote that is open at its end, `opened`
    where in `raw` that began.
    """

    raw: str
    text: str
    quote: str = ""
    opened: int = 0


def split_line(line: str) -> tuple[list[str], Word]:
    """Return the words of a command line before the one at its end, and that one.

    By the rules of bash and fish for quotes and backslashes; nothing is expanded.
    """
    words: list[str] = []
    start, text, quote, opened, inside = 0, "", "", 0, False
    place = 0
    while place < len(line):
        char = line[place]
        if not quote and char in " \t\n":
            if inside:
                words.append(text)
            start, text, inside = place + 1, "", False
        elif char == "\\" and quote != "'" and place + 1 < len(line):
            place += 1
            kept = quote == '"' and line[place] not in _IN_DOUBLE
            text += f"\\{line[place]}" if kept else line[place]
            inside = True
        elif char == quote:
            quote = ""
        elif not quote and char in "\"'":
            quote, opened, inside = char, place - start, True
        else:
            text += char
            inside = True
        place += 1
    return words, Word(line[start:], text, quote, opened if quote else 0)


def quote_for_bash(text: str, quote: str = "") -> str:
    """Return `text` as it is typed in bash: inside an open `quote`, or with backslashes."""
    if quote == "'":
        return text.replace("'", "'\\''")
    if quote == '"':
        return "".join(f"\\{char}" if char in _IN_DOUBLE else char for char in text)
    # A tilde in front is a home directory that was typed as one.
    head, rest = (text[:1], text[1:]) if text.startswith("~/") else ("", text)
    return head + "".join(f"\\{char}" if char in _SPECIAL else char for char in rest)


def replacement_for_bash(word: Word, text: str, breaks: str) -> str:
    """Return what bash puts in place of the part of `word` that it takes for a word of its own.

    That part begins after an open quote, else after the last of the characters in `breaks`, by
    which readline parts words (`COMP_WORDBREAKS`; `=` and `:` are among them).
    """
    if word.quote:
        before = word.raw[: word.opened]
        whole = quote_for_bash(text, word.quote)
        return whole[len(before) :] if before and whole.startswith(before) else whole
    whole = quote_for_bash(text)
    kept = _last_break(word.raw, breaks)
    return whole[kept:] if whole.startswith(word.raw[:kept]) else whole


def _last_break(raw: str, breaks: str) -> int:
    """Return how many characters come before the part that readline replaces."""
    place, found = 0, 0
    while place < len(raw):
        if raw[place] == "\\":
            place += 2
            continue
        place += 1
        if raw[place - 1] in breaks and raw[place - 1] not in "\"'":
            found = place
    return found


# What the shells' scripts read --------------------------------------------------------------------


def format_bash(answer: Answer, word: Word, breaks: str) -> str:
    """Return a line that says `nospace` where no space may follow, then a line for each candidate.

    `breaks` is `COMP_WORDBREAKS`.
    """
    found = _whole(answer, word.text)
    lines = [replacement_for_bash(word, text, breaks) for text, _ in found]
    last = len(found) == 1 and found[0][1].more
    return "".join(f"{line}\n" for line in ["nospace" if last else "", *dict.fromkeys(lines)])


def format_zsh(answer: Answer, incomplete: str) -> str:
    """Return for each candidate three lines: `more` or nothing, the word, what is listed of it."""
    found = _whole(answer, incomplete)
    width = min(_WIDEST, max((len(each.text) for _, each in found), default=0))
    lines = []
    for text, each in found:
        shown = f"{each.text:<{width}}  -- {each.help}" if each.help else each.text
        lines += ["more" if each.more else "", text, shown]
    return "".join(f"{line}\n" for line in lines)


def format_fish(answer: Answer, incomplete: str) -> str:
    """Return a line for each candidate, what is said of it after a tab."""
    found = _whole(answer, incomplete)
    return "".join(f"{text}\t{each.help}\n" for text, each in found)


def _whole(answer: Answer, incomplete: str) -> list[tuple[str, Candidate]]:
    """Return the whole words; one with a line end cannot be typed, so it is left out."""
    before = incomplete[: answer.kept]
    return [
        (before + each.text, each._replace(help=visible(each.help)))
        for each in answer.candidates
        if each.text.isprintable()
    ]
