"""guildlite: experiment tracking that leaves your training script alone.

In Python: `runs`, `run`, `compare`, `launch` and `form`; see docs/how-to/python.md. They are
imported when first used, so that importing the package costs next to nothing.
"""

import sys

__version__ = "0.1.0"

__all__ = [
    "GuildliteError", "Run", "Runs", "Series", "__version__", "compare", "form", "launch", "run",
    "runs",
]  # fmt: skip


class _CallablePackage(type(sys)):
    """The package `guildlite.runs`, which `gl.runs(...)` also calls."""

    def __call__(self, *words, **named):
        return _api("runs")(*words, **named)

    @property
    def __signature__(self):
        from inspect import signature

        return signature(_api("runs"))


class _Package(type(sys)):
    """This package. The import of a part of it ends with setting an attribute here."""

    def __setattr__(self, name, value):
        if name == "runs" and type(value) is type(sys):
            value.__class__ = _CallablePackage
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package


def _api(name):
    from importlib import import_module

    return getattr(import_module("guildlite.api"), name)


def __getattr__(name):
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name == "runs":
        from importlib import import_module

        return import_module("guildlite.runs")
    found = globals()[name] = _api(name)
    return found


def __dir__():
    return sorted({*globals(), *__all__})
