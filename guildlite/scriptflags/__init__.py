"""Flags found in a script's source: argparse, click and absl; read, never imported or run.

`read_script_flags` follows the script's syntax tree (and the local modules it imports) to the
command line it builds and says which options it takes. It is a pure function of the files it lists
in `ScriptFlags.files`: whoever caches the result watches those.

Read in this order: `values` (what is known of a name), `modules` (the files), `pure` (what can be
computed), `libraries` (what a call of theirs means), `reader` (follows the statements), `flags`
(makes flags of the options found).
"""

from __future__ import annotations

from guildlite.scriptflags.flags import ScriptFlags, read_script_flags

__all__ = ["ScriptFlags", "read_script_flags"]
