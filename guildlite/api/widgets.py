"""A form for the flags of an operation, in Jupyter: starts a run and follows it."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from guildlite.api.extras import require
from guildlite.api.handle import Run
from guildlite.api.markup import run_card, text
from guildlite.api.place import AnyPath, current_project
from guildlite.api.reading import read_summaries
from guildlite.api.starting import find_operation, launch
from guildlite.errors import FlagError, GuildliteError, UsageError
from guildlite.flags import Flag, Value, expectation, format_value, is_secret
from guildlite.runs import Run as Directory

if TYPE_CHECKING:
    from guildlite.project import Operation, Project

_LOOK_S = 1.0
_LAST_LINES = 8


def form(model: str | None = None, /, *, project: AnyPath | None = None) -> Form:
    """Return a form of ipywidgets with the flags of an operation; show it as a cell's last value.

    `model` is as in `launch`. Bounds make sliders, choices lists, booleans tick boxes; empty text
    leaves a flag at its default. Its button starts a run, which the form then follows. Raises
    MissingExtra without ipywidgets, UsageError where there is no such operation.
    """
    require("ipywidgets", "a form")
    found = current_project(project)
    if found is None:
        raise UsageError(
            "a form needs a project, and there is no project.yml here or above",
            hint="`gl init` writes one",
        )
    return Form(found, find_operation(found, model))


class Form:
    """The form of one operation. `widget` is what is shown, `inputs` its fields by flag.

    `run` is the run it started last, None before.
    """

    def __init__(self, project: Project, operation: Operation) -> None:
        widgets = require("ipywidgets", "a form")
        self._project, self._operation = project, operation
        self.run: Run | None = None
        self._profile = widgets.Dropdown(
            options=[("no profile", ""), *((name, name) for name in project.profiles)],
            description="profile", style=_STYLE,
        )  # fmt: skip
        self._defaults, flags = _flags_of(project, operation)
        self.inputs = {name: _input(flag, self._defaults.get(name)) for name, flag in flags.items()}
        self._untouched = {name: each.value for name, each in self.inputs.items()}
        self._start = widgets.Button(description="Start", button_style="primary")
        self._stop = widgets.Button(description="Stop", disabled=True)
        self._start.on_click(lambda _: self.start())
        self._stop.on_click(lambda _: self.stop())
        self._report = widgets.HTML()
        rows = [self._profile] if project.profiles else []
        self.widget = widgets.VBox(
            [*rows, *self.inputs.values(), widgets.HBox([self._start, self._stop]), self._report]
        )

    def _repr_mimebundle_(self, **named: Any) -> Any:
        return self.widget._repr_mimebundle_(**named)

    @property
    def report(self) -> str:
        """What stands below the buttons, as HTML."""
        return str(self._report.value)

    def values(self) -> dict[str, object]:
        """Return the flags that were changed in the form; the others keep their default."""
        changed: dict[str, object] = {}
        for name, each in self.inputs.items():
            if each.value != self._untouched[name]:
                changed[name] = each.value
        return changed

    def start(self) -> Run | None:
        """Start a run with what the form says and follow it; None when that was refused.

        Why stands in `report`, in the words of the command line.
        """
        named = f"{self._operation.model}:{self._operation.name}"
        try:
            self.run = launch(
                named,
                profile=[self._profile.value] if self._profile.value else [],
                flags=self.values(),
                project=self._project.file,
            )
        except GuildliteError as error:
            hint = f"<br>{text(error.hint)}" if error.hint else ""
            self._report.value = f"<b>{text(error.message)}</b>{hint}"
            return None
        self._start.disabled, self._stop.disabled = True, False
        # Not a daemon of the kernel's: a run outlives the notebook, its report need not.
        threading.Thread(target=self._follow, args=(self.run,), daemon=True).start()
        return self.run

    def stop(self) -> None:
        """Stop the run, off the notebook's own thread."""
        if self.run is not None:
            self._stop.disabled = True
            threading.Thread(target=self._end, args=(self.run,), daemon=True).start()

    def _end(self, run: Run) -> None:
        try:
            run.stop()
        except GuildliteError as error:
            self._report.value = f"<b>{text(error.message)}</b>"

    def _follow(self, run: Run) -> None:
        ended = threading.Event()
        while not ended.wait(_LOOK_S):
            if run.ended:
                run.wait()
                ended.set()
            self._report.value = _report(run)
        self._start.disabled, self._stop.disabled = False, True


_STYLE = {"description_width": "10em"}


def _report(run: Run) -> str:
    """Return what a form says of its run: the card and the last lines."""
    found = Directory(run.path)
    try:
        card = run_card(found, found.flags, read_summaries(found, system=False))
        lines = run.logs(last=_LAST_LINES)
    except GuildliteError as error:
        return f"<div>{text(run.id)}: {text(error.message)}</div>"
    shown = "<br>".join(text(line) for line in lines.splitlines())
    return f"{card}<pre>{shown}</pre>"


def _flags_of(
    project: Project, operation: Operation
) -> tuple[Mapping[str, Value], Mapping[str, Flag]]:
    """Return default values and flags: those declared, and those the script's source shows."""
    from guildlite.execute.prepare import Words, plan_operation

    try:
        values = plan_operation(project, operation, Words(), os.environ).values
        return values.values, values.flags
    except FlagError:
        # A required flag has no value yet, which is what the form is for.
        return {name: flag.default for name, flag in operation.flags.items()}, operation.flags


def _input(flag: Flag, default: Value) -> Any:
    """Return the widget for a flag; its value is what `launch` takes."""
    widgets = require("ipywidgets", "a form")
    common: dict[str, Any] = {
        "description": flag.name, "style": _STYLE, "tooltip": flag.help or expectation(flag),
    }  # fmt: skip
    if flag.choices:
        options = [(format_value(choice), choice) for choice in flag.choices]
        if default is None:
            options.insert(0, ("", None))
        return widgets.Dropdown(options=options, value=default, **common)
    if flag.kind == "bool" and isinstance(default, bool):
        return widgets.Checkbox(value=default, indent=True, **common)
    slider = _slider(flag, default, widgets)
    if slider is not None:
        return slider(**common)
    kind = widgets.Password if is_secret(flag) else widgets.Text
    return kind(value=format_value(default), placeholder=expectation(flag), **common)


def _slider(flag: Flag, default: Value, widgets: Any) -> Callable[..., Any] | None:
    """Return a maker of the slider for a number with both bounds, None for anything else."""
    from functools import partial
    from math import log10

    low, high = flag.min, flag.max
    if low is None or high is None or isinstance(default, (bool, str)) or default is None:
        return None
    if flag.kind == "int" and isinstance(default, int):
        step = int(flag.step or 1)
        return partial(widgets.IntSlider, default, min=int(low), max=int(high), step=step)
    if flag.kind != "float":
        return None
    if flag.scale == "log" and low > 0:
        bounds = {"min": log10(low), "max": log10(high)}
        return partial(widgets.FloatLogSlider, default, **bounds, readout_format=".3g")
    step_of = flag.step or (high - low) / 100
    return partial(
        widgets.FloatSlider, default, min=low, max=high, step=step_of, readout_format=".4g"
    )
