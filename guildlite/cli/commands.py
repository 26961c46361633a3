"""Every command of gl: where it lives and what it does, in the order `gl --help` shows them.

A command is the attribute of its own name in its module, which is imported only when the command
runs. Its one line here is what `gl --help` prints; the command's own help begins with the same.
"""

from __future__ import annotations

#: Family → command → (module in `guildlite.cli`, one line of help).
FAMILIES: dict[str, dict[str, tuple[str, str]]] = {
    "Start": {
        "init": ("projects", "Write a project file for the scripts in this directory"),
        "check": ("projects", "Say what is installed, what is missing and what to do"),
        "project": ("projects", "Print the project file as gl reads it"),
        "models": ("projects", "List the models of the project and their operations"),
        "schema": ("projects", "Print the JSON Schema of project files for editors"),
        "completion": ("completion", "Print the script that completes gl in a shell"),
    },
    "Run": {
        "prepare": ("launch", "Prepare what a model needs, such as its data"),
        "train": ("launch", "Train a model in a new run"),
        "evaluate": ("launch", "Evaluate an existing run"),
        "run": ("launch", "Run any operation or script"),
        "attach": ("running", "Follow a run as if it had been started here"),
        "stop": ("running", "Stop a run"),
    },
    "Look": {
        "runs": ("runs", "List runs, newest first"),
        "show": ("show", "Show a run: command, flags, metrics, files"),
        "compare": ("compare", "Put runs side by side, or groups of runs"),
        "diff": ("diff", "Say what differs between two runs"),
        "logs": ("logs", "Print what a run's script printed"),
        "why": ("why", "Say why a run ended the way it did"),
        "query": ("query", "Ask all runs in SQL"),
        "view": ("view", "Open the viewer in the browser"),
    },
    "Curate": {
        "label": ("curate", "Put a label on a run"),
        "note": ("curate", "Write a note on a run"),
        "mark": ("curate", "Mark runs with a star"),
        "rm": ("curate", "Move runs to the trash"),
        "restore": ("curate", "Bring runs back from the trash"),
        "purge": ("curate", "Delete trashed runs for good"),
        "index": ("index", "Check or rebuild the cache over all runs"),
    },
    "Exchange": {
        "export": ("export", "Write runs as event files, CSV or JSON lines"),
        "import": ("imports", "Make runs of TensorBoard log directories"),
        "verify": ("verify", "Compare runs with their event files"),
        "rebuild": ("rebuild", "Read a run's files again"),
    },
    "Serve": {
        "serve": ("serve", "Serve the model of a run over HTTP"),
    },
}

COMMANDS: dict[str, tuple[str, str]] = {
    name: entry for family in FAMILIES.values() for name, entry in family.items()
}


def summary(name: str) -> str:
    """Return the one line of help of a command."""
    return COMMANDS[name][1]


def format_help() -> str:
    """Return what `gl --help` prints; `help.txt` holds the same, for an answer without click."""
    lines = [
        "Usage: gl [-C DIR] COMMAND [ARGUMENTS]",
        "",
        "Experiment tracking that leaves your training script alone.",
        "",
        "  gl init                      write a project file for your scripts",
        "  gl train lr=0.1              train the default model with another flag",
        "  gl runs                      list the runs, newest first",
    ]
    for family, commands in FAMILIES.items():
        lines += ["", f"{family}:"]
        lines += [f"  {name:<10} {text}" for name, (_, text) in commands.items()]
    lines += [
        "",
        "Options:",
        "  -C DIR      Run as if gl had been started in DIR",
        "  --debug     Show the traceback of an error",
        "  --version   Print the version",
        "  -h, --help  Print this text; `gl COMMAND --help` says more of a command",
        "",
        "A RUN is the number `gl runs` prints (1 is the newest), a part of the run's name, its",
        "label, its directory or `latest`. Flags of the script are words like lr=0.1.",
    ]
    return "\n".join(lines) + "\n"
