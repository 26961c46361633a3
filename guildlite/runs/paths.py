"""Every file name inside a run directory, spelled once."""

from __future__ import annotations

from pathlib import Path

#: gl's own folder inside a run directory; everything beside it belongs to the script.
OWN_DIR = "gl.d"
#: Inside it, the script's source as it was when the run started.
SOURCES_DIR = "sources"
#: Folder of trashed runs under the runs root.
TRASH_DIR = ".trash"
#: File under the runs root that names runs changed after they ended.
CHANGED_LIST = ".changed"


class OperationPaths:
    """Files of one operation on a run: its own (`gl.d`) or a later one (`gl.d/ops/2-evaluate`).

    `name` is empty for the run's own operation, else the folder's name. Paths are made when asked
    for: a list of a hundred runs needs three of each.
    """

    def __init__(self, root: Path, name: str = "") -> None:
        self.root = root
        self.name = name

    @property
    def stdout(self) -> Path:
        return self.root / "stdout.log"

    @property
    def stderr(self) -> Path:
        return self.root / "stderr.log"

    @property
    def errors(self) -> Path:
        """What gl had trouble with, and what its supervisor said on stderr."""
        return self.root / "errors.log"

    @property
    def meta(self) -> Path:
        return self.root / "meta"

    @property
    def manifest(self) -> Path:
        return self.root / "meta/manifest.json"

    @property
    def started(self) -> Path:
        return self.root / "meta/started.json"

    @property
    def stop(self) -> Path:
        return self.root / "meta/stop.json"

    @property
    def exit(self) -> Path:
        return self.root / "meta/exit.json"

    @property
    def kernel(self) -> Path:
        """What the kernel said of a script that it ended; there only if it said something."""
        return self.root / "meta/kernel.json"

    def missing(self) -> Path | None:
        """Return the outermost directory that is gone of those the facts are in, None when none is.

        It is the run directory itself when a script deletes that.
        """
        gone = None
        for directory in (self.meta, *self.meta.parents):
            if directory.exists():
                break
            gone = directory
        return gone

    @property
    def samples(self) -> Path:
        """System samples of an operation whose supervisor does not hold the run's lock."""
        return self.root / "samples.jsonl"


class RunPaths(OperationPaths):
    """Files of a run. `run_dir` is the run directory itself."""

    def __init__(self, run_dir: Path) -> None:
        super().__init__(run_dir / OWN_DIR)
        self.run_dir = run_dir

    @property
    def db(self) -> Path:
        return self.root / "run.db"

    @property
    def wal(self) -> Path:
        """SQLite's own file beside a run.db that is not sealed."""
        return self.root / "run.db-wal"

    @property
    def lock(self) -> Path:
        """Held by the one writer of run.db."""
        return self.root / "lock"

    @property
    def heartbeat(self) -> Path:
        """There while somebody keeps run.db current; touched every 10 s."""
        return self.root / "heartbeat"

    @property
    def sources(self) -> Path:
        return self.root / SOURCES_DIR

    @property
    def git_diff(self) -> Path:
        """What tracked files differed in from the commit, as `git apply` takes it."""
        return self.sources / "git.diff"

    @property
    def label(self) -> Path:
        return self.root / "meta/label"

    @property
    def note(self) -> Path:
        return self.root / "meta/note"

    @property
    def mark(self) -> Path:
        return self.root / "meta/mark"

    @property
    def ops(self) -> Path:
        return self.root / "ops"

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
