"""The filter language: text to a tree of small typed nodes, or an error that points.

Nothing here knows which fields there are; `fields.resolve` gives names their meaning. The grammar
below is the one in docs/reference/filters.md; a test draws sentences from it and parses them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from guildlite.errors import FilterError, nearest
from guildlite.index.text import NUMBER, parse_number
from guildlite.query.nodes import EVERYTHING, And, Condition, Literal, Node, Not, Or, Term, Word

GRAMMAR = """\
filter      = [ either ] ;
either      = both , { "or" , both } ;
both        = negation , { [ "and" ] , negation } ;
negation    = "not" , negation | atom ;
atom        = "(" , either , ")" | "has" , field | test | text ;
test        = field , comparison , value
            | field , [ "not" ] , "contains" , text
            | field , [ "not" ] , "in" , "(" , value , { "," , value } , ")" ;
field       = name | summary , "(" , name , ")" ;
summary     = "last" | "first" | "min" | "max" | "mean" | "count" ;
comparison  = "=" | "!=" | "<" | "<=" | ">" | ">=" ;
value       = number | duration | duration , "ago" | moment | text ;
moment      = "today" | "yesterday" | instant | date | date , clock ;
text        = word | quoted ;
"""

#: What a series is reduced to; the first is meant where none is named.
SUMMARIES = ("last", "first", "min", "max", "mean", "count")
COMPARISONS = ("=", "!=", "<", "<=", ">", ">=")
KEYWORDS = ("and", "or", "not", "in", "contains", "has")

#: A filter is a line somebody typed. Beyond these SQLite's own limits would speak.
MOST_CHARACTERS, MOST_TOKENS, MOST_NESTING = 100_000, 5_000, 50

_DURATION = re.compile(r"(?:\d+(?:\.\d+)?(?:ms|[smhdw]))+")
_DURATION_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|[smhdw])")
_DATE = re.compile(r"\d{4}-\d\d-\d\d(?:T\d\d:\d\d(?::\d\d)?)?")
_CLOCK = re.compile(r"\d\d:\d\d(?::\d\d)?")
_SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_TOKEN = re.compile(
    r"""\s*(?:
      (?P<quoted>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')
    | (?P<name>`[^`]+`)
    | (?P<sign>==|!=|<>|<=|>=|&&|\|\||[=<>(),!~&|])
    | (?P<word>[^\s"'`=<>(),!~&|]+)
    )""",
    re.VERBOSE | re.DOTALL,
)
#: What people bring from other languages → what it is here.
_ELSEWHERE = {
    "&&": "and",
    "&": "and",
    "||": "or",
    "|": "or",
    "!": "not",
    "<>": "!=",
    "~": "contains",
}


# Tokens -------------------------------------------------------------------------------------------


class Token(NamedTuple):
    """`kind` is word, quoted, name (in backticks), sign or end; `text` is as written."""

    kind: str
    text: str
    position: int

    @property
    def end(self) -> int:
        return self.position + len(self.text)

    @property
    def keyword(self) -> str:
        """The keyword this word is, or ""."""
        lower = self.text.lower()
        return lower if self.kind == "word" and lower in KEYWORDS else ""


def iter_tokens(text: str) -> Iterator[Token]:
    """Yield the tokens and an end. Raises FilterError for a quote that is never closed."""
    place = 0
    while True:
        match = _TOKEN.match(text, place)
        if match is None:
            break
        kind = match.lastgroup or ""
        yield Token(kind, match[kind], match.start(kind))
        place = match.end()
    rest = text[place:].lstrip()
    if rest:
        position = len(text) - len(rest)
        raise FilterError(
            f"the quote {rest[0]} is never closed", text=text, position=position,
            expected=(rest[0],),
        )  # fmt: skip
    yield Token("end", "", len(text))


def unquote(text: str) -> str:
    """Return the text between quotes; a backslash takes the next character as it is."""
    return re.sub(r"\\(.)", r"\1", text[1:-1], flags=re.DOTALL)


def quote(text: str) -> str:
    """Return `text` as a value of the language: bare where that reads the same."""
    match = _TOKEN.fullmatch(text)
    if match and match.lastgroup == "word" and text.lower() not in KEYWORDS:
        return text
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def quote_name(name: str) -> str:
    """Return `name` as a field of the language: bare where that reads the same."""
    match = _TOKEN.fullmatch(name)
    plain = match and match.lastgroup == "word" and name.lower() not in KEYWORDS
    return name if plain and not _is_value(name) else f"`{name}`"


def _is_value(text: str) -> bool:
    return any(form.fullmatch(text) for form in (NUMBER, _DURATION, _DATE, _CLOCK))


def parse_duration(text: str) -> float | None:
    """Return the seconds of `90s`, `1h30m` or `2d`, or None."""
    if _DURATION.fullmatch(text) is None:
        return None
    return sum(float(amount) * _SECONDS[unit] for amount, unit in _DURATION_PART.findall(text))


# Parser -------------------------------------------------------------------------------------------


def parse(text: str) -> Node:
    """Return the tree of a filter; an empty one lets every run pass. Raises FilterError."""
    return Parser(text).parse_filter()


def parse_term(text: str) -> Term:
    """Return a single field, as in `loss` or `min(loss)`. Raises FilterError."""
    parser = Parser(text)
    term = parser.parse_field()
    parser.finish()
    return term


class Parser:
    """One pass over one text. After an error or the end, `wanted` says what could follow.

    `wanted` holds what was looked for at the end of the text: keywords, signs, and the words
    `name`, `value`, `text`, `summary`, `comparison`. `term` is the field whose value is wanted.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self.wanted: dict[str, None] = {}
        self.term: Term | None = None
        if len(text) > MOST_CHARACTERS:
            raise self._error(f"a filter has at most {MOST_CHARACTERS} characters", MOST_CHARACTERS)
        self._tokens = list(iter_tokens(text))
        if len(self._tokens) > MOST_TOKENS:
            position = self._tokens[MOST_TOKENS].position
            raise self._error(f"a filter has at most {MOST_TOKENS} words and signs", position)
        self._index = 0
        self._depth = 0

    # The grammar, a method a rule ---------------------------------------------------------------

    def parse_filter(self) -> Node:
        """Return the tree of the whole text."""
        if self._token.kind == "end":
            self._want("name", "text", "not", "has", "(", "summary")
            return EVERYTHING
        node = self._either()
        self.finish()
        return node

    def finish(self) -> None:
        """Raise unless everything has been read."""
        if self._token.kind != "end":
            raise self._unexpected("`and`, `or` or the end", ("and", "or"))

    def _either(self) -> Node:
        nodes = [self._both()]
        while self._take_keyword("or"):
            nodes.append(self._both())
        return nodes[0] if len(nodes) == 1 else Or(tuple(nodes))

    def _both(self) -> Node:
        nodes = [self._negation()]
        while self._take_keyword("and") or self._atom_follows():
            nodes.append(self._negation())
        return nodes[0] if len(nodes) == 1 else And(tuple(nodes))

    def _negation(self) -> Node:
        if not self._take_keyword("not"):
            return self._atom()
        with_not = self._deeper(self._negation)
        return Not(with_not)

    def _atom(self) -> Node:
        if self._take("("):
            node = self._deeper(self._either)
            if not self._take(")"):
                raise self._unexpected("`)`, `and` or `or`", (")", "and", "or"))
            return node
        if self._take_keyword("has"):
            return Condition(self.parse_field(), "has", ())
        token = self._token
        if token.kind == "quoted":
            self._index += 1
            if self._comparison_follows():
                raise self._misplaced_value(token)
            return Word(unquote(token.text), token.position)
        if not self._name_follows():
            self._want("name", "text", "not", "has", "(", "summary")
            raise self._unexpected("a name, a word or `(`", ("name", "text", "not", "("))
        return self._test_or_word(token)

    def _test_or_word(self, token: Token) -> Node:
        term = self.parse_field()
        operator = self._operator(term)
        if operator is None:
            if term.summary is not None or term.quoted:
                raise self._unexpected("a comparison such as `<`", COMPARISONS)
            return Word(term.name, term.position)
        if _is_value(term.name) and not term.quoted:
            raise self._misplaced_value(token)
        self.term = term
        negated = operator.startswith("not ")
        operator = operator.removeprefix("not ")
        if operator == "in":
            literals = self._list()
        elif operator == "contains":
            literals = (self._literal("a text after `contains`", "text"),)
        else:
            literals = (self._literal(f"a value after `{operator}`", "value"),)
        self.term = None
        test = Condition(term, operator, literals)
        return Not(test) if negated else test

    def parse_field(self) -> Term:
        """Return `name` or `summary(name)`."""
        token = self._token
        if not self._name_follows():
            self._want("name", "summary")
            raise self._unexpected("a name", ("name",))
        self._index += 1
        if token.kind == "word" and self._called(token):
            return self._summary(token)
        name = token.text.strip("`") if token.kind == "name" else token.text
        return Term(name, None, token.position, token.kind == "name")

    def _summary(self, token: Token) -> Term:
        summary = token.text.lower()
        if summary not in SUMMARIES:
            close = nearest(summary, SUMMARIES)
            raise self._error(
                f"`{token.text}` is not a summary of a series",
                token.position,
                SUMMARIES,
                f"did you mean `{close}`?" if close else f"known: {', '.join(SUMMARIES)}",
            )
        self._index += 1
        name = self.parse_field() if self._name_follows() else None
        if name is None or name.summary is not None:
            self._want("name")
            raise self._unexpected(f"the name of a series after `{token.text}(`", ("name",))
        if not self._take(")"):
            raise self._unexpected("`)`", (")",))
        return Term(name.name, summary, token.position, name.quoted)

    def _operator(self, term: Term) -> str | None:
        """Take a comparison, `in`, `contains` or their negation; None when none follows."""
        if self._comparison_follows():
            sign = self._token.text
            self._index += 1
            return "=" if sign == "==" else sign
        negated = self._token.keyword == "not" and self._after.keyword in ("in", "contains")
        if negated:
            self._index += 1
        for keyword in ("in", "contains"):
            if self._take_keyword(keyword):
                return f"not {keyword}" if negated else keyword
        self._want("comparison")
        return None

    def _list(self) -> tuple[Literal, ...]:
        if not self._take("("):
            raise self._unexpected("`(` after `in`", ("(",))
        literals = [self._literal("a value", "value")]
        while self._take(","):
            literals.append(self._literal("a value after `,`", "value"))
        if not self._take(")"):
            raise self._unexpected("`,` or `)`", (",", ")"))
        return tuple(literals)

    def _literal(self, what: str, want: str) -> Literal:
        token = self._token
        if token.kind == "quoted":
            self._index += 1
            return Literal(unquote(token.text), "quoted", None, token.position)
        if token.kind != "word" or token.keyword:
            self._want(want)
            raise self._unexpected(what, (want,))
        self._index += 1
        return self._typed(token)

    def _typed(self, token: Token) -> Literal:
        text, at = token.text, token.position
        duration = parse_duration(text)
        if duration is not None:
            if self._token.kind == "word" and self._token.text.lower() == "ago":
                self._index += 1
                return Literal(f"{text} ago", "ago", duration, at)
            self._want("ago")
            return Literal(text, "duration", duration, at)
        number = parse_number(text)
        if number is not None:
            return Literal(text, "number", number, at)
        if _DATE.fullmatch(text):
            if "T" not in text and _CLOCK.fullmatch(self._token.text):
                text += f" {self._token.text}"
                self._index += 1
            return Literal(text, "moment", None, at)
        return Literal(text, "moment" if text in ("today", "yesterday") else "word", None, at)

    # Looking and taking -------------------------------------------------------------------------

    @property
    def _token(self) -> Token:
        return self._tokens[self._index]

    @property
    def _after(self) -> Token:
        return self._tokens[min(self._index + 1, len(self._tokens) - 1)]

    def _want(self, *kinds: str) -> None:
        if self._token.kind == "end":
            self.wanted.update(dict.fromkeys(kinds))

    def _take(self, sign: str) -> bool:
        self._want(sign)
        if self._token.kind == "sign" and self._token.text == sign:
            self._index += 1
            return True
        return False

    def _take_keyword(self, keyword: str) -> bool:
        self._want(keyword)
        if self._token.keyword == keyword:
            self._index += 1
            return True
        return False

    def _name_follows(self) -> bool:
        token = self._token
        return token.kind == "name" or (token.kind == "word" and not token.keyword)

    def _called(self, token: Token) -> bool:
        """Return whether the word just taken stands before the bracket of a summary.

        `expert (a or b)` is a word and a group, `lst(loss)` a summary with a typing error.
        """
        bracket = self._token
        if bracket.kind != "sign" or bracket.text != "(":
            return False
        return token.text.lower() in SUMMARIES or token.end == bracket.position

    def _comparison_follows(self) -> bool:
        return self._token.kind == "sign" and self._token.text in (*COMPARISONS, "==")

    def _atom_follows(self) -> bool:
        token = self._token
        if token.kind in ("word", "quoted", "name"):
            return token.keyword in ("", "not", "has")
        return token.kind == "sign" and token.text == "("

    def _deeper(self, rule: object) -> Node:
        self._depth += 1
        if self._depth > MOST_NESTING:
            raise self._error(f"a filter nests at most {MOST_NESTING} deep", self._token.position)
        node: Node = rule()  # type: ignore[operator]
        self._depth -= 1
        return node

    # Errors -------------------------------------------------------------------------------------

    def _error(
        self, message: str, position: int, expected: tuple[str, ...] = (), hint: str | None = None
    ) -> FilterError:
        return FilterError(message, text=self.text, position=position, expected=expected, hint=hint)

    def _unexpected(self, what: str, expected: tuple[str, ...]) -> FilterError:
        token = self._token
        got = f"`{token.text}`" if token.kind != "end" else "the end"
        hint = None
        if token.kind == "sign" and token.text in _ELSEWHERE:
            hint = f"write `{_ELSEWHERE[token.text]}`"
        elif token.keyword and "value" in expected:
            hint = f'put a word of the language in quotes: "{token.text}"'
        return self._error(f"expected {what}, got {got}", token.position, expected, hint)

    def _misplaced_value(self, token: Token) -> FilterError:
        return self._error(
            f"expected a name before `{self._tokens[self._index - 1].text}`, got `{token.text}`"
            if self._index and self._tokens[self._index - 1].kind == "sign"
            else f"expected a name, got `{token.text}`",
            token.position,
            ("name",),
            "the name stands first, as in `loss < 0.1`; a name like that goes into backticks",
        )
