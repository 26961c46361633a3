"""Every file name inside a run directory, spelled once."""

from __future__ import annotations

from pathlib import Path

#: gl's own folder inside a run directory; everything beside it belongs to the script.
OWN_DIR = "gl.d"
#: Folder of trashed runs under the runs root.
TRASH_DIR = ".trash"


class OperationPaths:
    """Files of one operation on a run: its own (`gl.d`) or a later one (`gl.d/ops/2-evaluate`)."""

    def __init__(self, root: Path, name: str = "") -> None:
        self.root = root
        #: Empty for the run's own operation, else the folder's name, as in `2-evaluate`.
        self.name = name
        self.stdout = root / "stdout.log"
        self.stderr = root / "stderr.log"
        self.meta = root / "meta"
        self.manifest = self.meta / "manifest.json"
        self.started = self.meta / "started.json"
        self.stop = self.meta / "stop.json"
        self.exit = self.meta / "exit.json"
        #: System samples of an operation whose supervisor does not hold the run's lock.
        self.samples = root / "samples.jsonl"


class RunPaths(OperationPaths):
    """Files of a run. `run_dir` is the run directory itself."""

    def __init__(self, run_dir: Path) -> None:
        super().__init__(run_dir / OWN_DIR)
        self.run_dir = run_dir
        self.db = self.root / "run.db"
        self.lock = self.root / "lock"
        self.heartbeat = self.root / "heartbeat"
        self.errors = self.root / "errors.log"
        self.sources = self.root / "sources"
        self.label = self.meta / "label"
        self.note = self.meta / "note"
        self.mark = self.meta / "mark"
        self.ops = self.root / "ops"

    def operation(self, name: str) -> OperationPaths:
        """Return the files of the later operation in folder `name`."""
        return OperationPaths(self.ops / name, name)

    def operations(self) -> list[OperationPaths]:
        """Return the later operations on this run in the order they were started."""
        try:
            names = [entry.name for entry in self.ops.iterdir() if entry.name[:1].isdigit()]
        except OSError:
            return []

        def number(name: str) -> int:
            head = name.partition("-")[0]
            return int(head) if head.isdigit() else 0

        return [self.operation(name) for name in sorted(names, key=number)]
