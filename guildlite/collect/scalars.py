"""Numbers in lines of output: what training scripts print, as (name, step, value).

Known shapes: `loss: 0.25`, `loss = 0.25`, `loss=0.25`, JSON lines and printed dicts, tables with
`|` or tabs between cells, the progress lines of Keras 2 and 3, tqdm and Lightning, and the lines of
the PyTorch examples and tutorials, nanoGPT, XGBoost and Hugging Face's Trainer.

Rules:

- A value is the number as printed: `98%` is 98. `Accuracy: 9842/10000` is the fraction.
- A name keeps its case; spaces become `_`. Up to three words before a colon are a name; of a
  longer phrase only a metric with its qualifiers, as in `done with train loss: 0.3`.
- The step is `global_step`, `step`, `iter`, `iteration` or `batch` in the line; else the position
  in a progress such as `640/60000`, which together with the epoch makes one number that grows
  over the whole training; else the epoch; else a count of the values of that name, from 1.
- What only looks like a number with a name gives nothing: times, paths, URLs, versions, addresses,
  tracebacks, printed objects such as `Linear(in_features=784)`.

Every pattern is bounded or starts at a fixed character, so a line costs time in proportion to its
length.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from typing import Any

#: Names per finder; more is a script that prints its data, not its metrics.
MOST_NAMES = 100
#: Longer lines are data (arrays, base64, configurations). In characters.
LONGEST_LINE = 8192
LONGEST_NAME = 100
#: More on one line is a table of data.
MOST_PER_LINE = 100

Found = tuple[str, int, float]

_NUMBER = r"[-+]?(?:(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d{1,4})?|(?i:nan|inf(?:inity)?)\b)"
#: What may follow a number; anything else makes it part of a time, version, size or word.
_END = r"(?=\s|$|[;|(){}\]\"'!]|,(?!\d)|%(?!\|)|\.(?:\s|$))"
_DIGITS = r"\d{1,18}(?![\w.]\d)"
_METRIC = (
    r"(?:loss|acc(?:uracy)?(?:@\d+)?|prec(?:ision)?(?:@\d+)?|recall(?:@\d+)?|top-?\d|err(?:or)?"
    r"|ppl|perplexity|bpc|bleu|rouge|f1|auc|auroc|rmse|mse|mae|logloss|map|iou|miou|dice|lr"
    r"|reward|return|score|psnr|ssim|fid|wer|cer|grad_norm)"
)
_QUALIFIER = (
    r"(?:train(?:ing)?|val(?:id(?:ation)?)?|test(?:ing)?|eval(?:uation)?|dev|avg|average|mean|total"
    r"|running|best|final|top|epoch|batch)"
)

_CANDIDATE = re.compile(r"\d|nan|inf", re.I)
_WORD_OF_METRIC = re.compile(rf"(?<![\w/@.-]){_METRIC}(?![\w/-])", re.I)
_ESCAPE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\^_])|\x08+")
_URL = re.compile(r"\w{1,12}://\S*")
_CALL = re.compile(r"\w\(")

_PAIR = re.compile(
    rf"[:=](?P<space>[ \t]{{0,8}})[\"']?(?:tensor\(|np\.float\d+\()?"
    rf"(?P<value>{_NUMBER})(?:(?P<total>/\d+)(?=\s|$|[,;|()\]])|{_END})"
)
_NAME = re.compile(r"(?<![\w@./\\?&'-])(?:[A-Za-z_][\w@/-]*(?:'s)? )*[A-Za-z_][\w@/.-]*$")
_WORDED = re.compile(
    rf"(?<![\w@./\\?&-])(?P<name>(?:{_QUALIFIER}[ _]){{0,3}}{_METRIC})[ \t]{{1,8}}"
    rf"(?P<value>{_NUMBER}){_END}",
    re.I,
)
_METRIC_AT_END = re.compile(rf"(?<![\w@/.-])(?:{_QUALIFIER}[ _]){{0,3}}{_METRIC}$", re.I)
_CELL = re.compile(
    rf"(?P<name>[A-Za-z_][\w@/.-]{{0,40}}(?: [A-Za-z_][\w@/.-]{{0,40}})?)[ ]{{1,20}}"
    rf"(?P<value>{_NUMBER})[ ]{{0,8}}(?:\([^()]{{0,40}}\))?$"
)

_EPOCH = re.compile(
    rf"(?<![\w/])epoch\b[\"']?\s{{0,4}}[:=#]?\s{{0,8}}\[?\s{{0,8}}(?P<epoch>{_DIGITS})"
    r"(?:\s{0,4}(?:/|of)\s{0,4}\d{1,18})?\]?",
    re.I,
)
_STEP = re.compile(
    r"(?<![\w/])(?P<word>global[_ ]step|step|iteration|iter|batch)\b[\"']?\s{0,4}[:=#]?\s{0,8}"
    rf"[\[(]?\s{{0,8}}(?P<step>{_DIGITS})(?:\s{{0,4}}/\s{{0,4}}(?P<total>\d{{1,18}}))?",
    re.I,
)
#: `[640/60000`, `1875/1875 [==`, `1875/1875 - 3s`, `| 200/ 2983 batches`, `| 10/20 [00:01`.
_POSITION = re.compile(
    r"(?:\[\s{0,8}(?P<i>\d{1,18})\s{0,4}/\s{0,4}(?P<n>\d{1,18})(?=[\s\]])"
    r"|^\s{0,8}(?P<i2>\d{1,18})/(?P<n2>\d{1,18})(?=\s{1,4}(?:[\[━]|- ))"
    r"|(?<![\d/])(?P<i3>\d{1,18})/\s{0,8}(?P<n3>\d{1,18})(?= batches| \[\d))"
)
#: XGBoost's `[12]` and the CIFAR tutorial's `[1,  2000]` at the start of a line.
_ROUND = re.compile(r"\[(?P<step>\d{1,18})\](?=\s)")
_EPOCH_AND_BATCH = re.compile(r"\[(?P<epoch>\d{1,18}), {1,8}(?P<step>\d{1,18})\](?=\s)")
_PHASE = re.compile(r"\s{0,4}(test|val|valid|validation|eval):\s{1,4}\[", re.I)
_TRACE = re.compile(r'\s{1,8}File ".*", line \d+')

#: Names that are places in the training or facts about a process, never metrics.
_NOT_METRICS = frozenset(
    {
        *("epoch", "step", "steps", "global_step", "iter", "iteration", "batch", "it", "progress"),
        *("eta", "timestamp", "asctime", "created", "date"),
        *("line", "lineno", "port", "pid", "ppid"),
        *("tid", "thread", "process", "id", "device", "cuda", "python", "version", "capability"),
        *("errno", "code", "status", "signal", "killed", "fault", "v_num"),
    }
)
_STEP_KEYS = ("global_step", "step", "iteration", "iter", "batch")
_LEVELS = re.compile(r"^(?:INFO|DEBUG|WARNING|WARN|ERROR|CRITICAL|FATAL|TRACE) ")
_EXCEPTION = re.compile(r"[a-z](?:Error|Exception|Warning|Interrupt)$")
_CONSTANT = re.compile(r"[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+")
_UNFIT = re.compile(r"[^\w@./+%()\[\]-]+")


class ScalarFinder:
    """Finds the scalars in one stream of lines, given in order.

    What it remembers from line to line (the epoch announced, counts per name) is `state`; a finder
    made with that state goes on as if it had seen all lines itself.
    """

    def __init__(self, state: dict[str, Any] | None = None) -> None:
        state = state or {}
        self._epoch: int | None = state.get("epoch")
        self._base: int = state.get("base", 1)
        #: Batches without a known total: sum over finished epochs, and where the last one stood.
        self._done: int = state.get("done", 0)
        self._last: int = state.get("last", 0)
        self._last_epoch: int | None = state.get("last_epoch")
        self._in_trace: bool = state.get("trace", False)
        self._counts: dict[str, int] = dict(state.get("names", {}))
        #: True once a name was turned away because there are `MOST_NAMES` already.
        self.full: bool = state.get("full", False)

    @property
    def state(self) -> dict[str, Any]:
        """Everything remembered, as a new JSON-able value."""
        return {
            "epoch": self._epoch,
            "base": self._base,
            "done": self._done,
            "last": self._last,
            "last_epoch": self._last_epoch,
            "trace": self._in_trace,
            "names": dict(self._counts),
            "full": self.full,
        }

    def find(self, line: str) -> list[Found]:
        """Return (name, step, value) for each scalar in the line, in the order they stand there."""
        if not _CANDIDATE.search(line) or len(line) > LONGEST_LINE:
            self._in_trace = False
            return []
        if "\x1b" in line or "\x08" in line:
            line = _ESCAPE.sub("", line)
        # The line of code under `File "x.py", line 3` shows an assignment, not a result.
        if self._in_trace:
            self._in_trace = False
            return []
        if _TRACE.match(line):
            self._in_trace = True
            return []
        if line.startswith("{") and line.rstrip().endswith("}"):
            document = _json_object(line)
            if document is not None:
                return self._in_document(document)
        if "://" in line:
            line = _URL.sub(" ", line)
        return self._in_text(line)

    def _in_document(self, document: dict[str, Any]) -> list[Found]:
        places = {key: _whole(document.get(key)) for key in (*_STEP_KEYS, "epoch")}
        step = next((places[key] for key in _STEP_KEYS if places[key] is not None), None)
        if step is None:
            step = places["epoch"] if isinstance(document.get("epoch"), int) else None
        found = []
        for name, value in _numbers(document):
            last = name.rpartition("/")[2].lower()
            if last not in _NOT_METRICS or (last == "epoch" and isinstance(value, float)):
                found.append((name, float(value)))
        return self._counted(found, step)

    def _in_text(self, line: str) -> list[Found]:
        step = self._step(line)
        pairs = list(islice(_pairs(line), MOST_PER_LINE))
        if not pairs and not ("|" in line or "\t" in line or _WORD_OF_METRIC.search(line)):
            return []
        taken = [(start, end) for start, end, _, _ in pairs]
        unmarked = chain(_cells(line), _worded(line))
        for start, end, name, value in islice(unmarked, MOST_PER_LINE):
            if not any(start < other_end and other < end for other, other_end in taken):
                taken.append((start, end))
                pairs.append((start, end, name, value))
        phase = _PHASE.match(line)
        before = f"{phase[1]}_" if phase else ""
        return self._counted(((before + name, value) for _, _, name, value in sorted(pairs)), step)

    def _counted(self, values: Iterable[tuple[str, float]], step: int | None) -> list[Found]:
        found: list[Found] = []
        for name, value in values:
            name = _UNFIT.sub("_", name).strip("_./")
            if not name or len(name) > LONGEST_NAME:
                continue
            if name not in self._counts:
                if len(self._counts) >= MOST_NAMES:
                    self.full = True
                    continue
                self._counts[name] = 0
            if step is None:
                self._counts[name] += 1
            found.append((name, self._counts[name] if step is None else step, value))
        return found

    def _step(self, line: str) -> int | None:
        """Return the step the line itself names, and remember the epoch it announces."""
        # Plain searches first: most lines hold none of the words, and patterns cost ten times more.
        lower = line.lower()
        both = _EPOCH_AND_BATCH.match(line)
        if both:
            self._enter(int(both["epoch"]))
            return self._without_total(int(both["step"]))
        epoch = _EPOCH.search(line) if "epoch" in lower else None
        if epoch:
            self._enter(int(epoch["epoch"]))
            # Blanked, so that `Epoch [1/5]` is not taken for a position.
            line = line[: epoch.start()] + " " * len(epoch[0]) + line[epoch.end() :]
        worded = "step" in lower or "iter" in lower or "batch" in lower
        named = _STEP.search(line) if worded else None
        if named and named["word"].lower().startswith("global"):
            return int(named["step"])
        if named and named["total"] and self._epoch is not None:
            return self._position(int(named["step"]), int(named["total"]))
        if named:
            return self._without_total(int(named["step"]))
        place = _POSITION.search(line) if "/" in line else None
        if place:
            i, n = (int(group) for group in place.groups() if group is not None)
            return self._position(i, n)
        boosting = _ROUND.match(line)
        if boosting:
            return int(boosting["step"])
        return int(epoch["epoch"]) if epoch else None

    def _enter(self, epoch: int) -> None:
        if epoch == 0:
            self._base = 0
        self._epoch = epoch

    def _position(self, i: int, n: int) -> int:
        finished = 0 if self._epoch is None else max(0, self._epoch - self._base)
        return _bounded(finished * n + i)

    def _without_total(self, step: int) -> int:
        if self._epoch != self._last_epoch and step <= self._last:
            self._done += self._last
        self._last_epoch, self._last = self._epoch, step
        return _bounded(self._done + step)


def _bounded(step: int) -> int:
    return min(step, 2**63 - 1)


def _whole(value: Any) -> int | None:
    """Return a JSON number as a step, or None when it is none."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    if isinstance(value, float) and not value.is_integer():
        return None
    step = int(value)
    return step if abs(step) < 2**63 else None


def _json_object(line: str) -> dict[str, Any] | None:
    try:
        document = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None


def _numbers(document: dict[str, Any]) -> Iterator[tuple[str, int | float]]:
    """Yield the numbers of a JSON object and of the objects directly inside it."""
    for key, value in document.items():
        inner = value.items() if isinstance(value, dict) else [("", value)]
        for name, number in inner:
            if isinstance(number, (int, float)) and not isinstance(number, bool):
                try:
                    float(number)
                except OverflowError:
                    continue
                yield (f"{key}/{name}" if name else key), number


def _pairs(line: str) -> Iterator[tuple[int, int, str, float]]:
    """Yield (start, end, name, value) for each `name: value` and `name=value`."""
    call = _CALL.search(line)
    closed = line.rfind(")") if call else -1
    for match in _PAIR.finditer(line):
        colon = line[match.start()] == ":"
        # `Linear(in_features=784)`: arguments of a printed object.
        if call and not colon and call.start() < match.start() < closed:
            continue
        name = _name_before(line, match.start(), colon)
        if name is None:
            continue
        literal = match["value"]
        metric = bool(_METRIC_AT_END.search(name.replace("_", " ")))
        # `cuda:0`, `localhost:6006`, `train.py:12`.
        if colon and not match["space"] and not metric and not _is_real(literal):
            continue
        value = float(literal)
        if match["total"]:
            total = float(match["total"][1:])
            if not metric or not total:
                continue
            value /= total
        if _is_metric_name(name, literal):
            yield match.start() - len(name), match.end(), name, value


def _name_before(line: str, end: int, colon: bool) -> str | None:
    """Return the name that ends at `end`, or None."""
    head = line[max(0, end - 80) : end].rstrip(" \t")
    if head[-1:] in ("'", '"'):
        quote = head[-1]
        start = head.rfind(quote, 0, -1)
        return head[start + 1 : -1] if start >= 0 else None
    match = _NAME.search(head)
    if match is None:
        return None
    # LightGBM prints `valid_0's auc: 0.9`.
    name = _LEVELS.sub("", match[0]).replace("'s ", " ")
    words = name.split(" ")
    if not colon:
        name = words[-1]
    elif len(words) > 1:
        metric = _METRIC_AT_END.search(name)
        # After a qualifier the words before it are a sentence: `done with train loss`.
        if metric and (len(words) > 3 or metric[0].count(" ")):
            name = metric[0]
        elif len(words) > 3:
            return None
    return None if "." in name or len(name) > 60 else name


def _is_metric_name(name: str, literal: str) -> bool:
    last = name.split(" ")[-1].lower()
    if last in _NOT_METRICS:
        # Hugging Face's trainer prints a fractional epoch, which says where it stands.
        return last == "epoch" and _is_real(literal)
    if _EXCEPTION.search(name):
        return False
    return not (_CONSTANT.fullmatch(name) and not _is_real(literal))


def _is_real(literal: str) -> bool:
    """Say whether a number was written as a real one: with a point, an exponent, nan or inf."""
    return not literal.lstrip("+-").isdigit()


def _cells(line: str) -> Iterator[tuple[int, int, str, float]]:
    """Yield (start, end, name, value) for cells `name value` of a line with `|` or tabs."""
    if "|" not in line and "\t" not in line:
        return
    start = 0
    for cell in re.split(r"[|\t]", line):
        match = _CELL.match(cell.strip())
        if match and _is_metric_name(match["name"], match["value"]):
            yield start, start + len(cell), match["name"], float(match["value"])
        start += len(cell) + 1


def _worded(line: str) -> Iterator[tuple[int, int, str, float]]:
    """Yield (start, end, name, value) for metrics named by a known word, as in `loss 4.1`."""
    for match in _WORDED.finditer(line):
        yield match.start(), match.end(), match["name"], float(match["value"])
