"""Whether a model that can run code may be loaded.

Nothing inside a run directory decides it: a run that was copied here vouches for nothing. Either
the person who serves it says so with `--trust`, or the run was made here: then `runs.own` noted
the digests of its files, outside of the run, when it ended, and they are still the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from guildlite.errors import GuildliteError
from guildlite.serve.kinds import KINDS
from guildlite.serve.model import printable

if TYPE_CHECKING:
    from guildlite.serve.find import ModelFile


class Untrusted(GuildliteError):
    """The model can run code, and nobody said that this is wanted."""

    http_status = 403


def check_trust(model: ModelFile, *, trusted: bool, own: bool) -> None:
    """Raise Untrusted when `model` needs trust and has none.

    trusted: said on this command line. own: the file is, byte for byte, what a run made on this
    machine left.
    """
    kind = KINDS[model.kind]
    if kind.needs_trust and not trusted and not own:
        raise Untrusted(
            f"`{printable(model.relative)}` is {kind.words}, which {kind.danger}",
            hint=f"`--trust` serves it, if you trust where the run comes from; {kind.instead}",
        )
