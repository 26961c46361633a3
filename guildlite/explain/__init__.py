"""Why a run ended as it did, from what is on disk and nothing else.

`explain` gathers the evidence (exit facts, the traceback, the last lines, what was measured, what
the kernel said), names causes with the evidence for each, and says what has changed since the last
run of the same operation that completed. It says `likely` where the evidence is indirect, and
claims nothing without any.
"""

from guildlite.explain.explanation import Explanation, Since, explain, explain_operation

__all__ = ["Explanation", "Since", "explain", "explain_operation"]
