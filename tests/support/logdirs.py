"""Log directories for tests, as a writer leaves and extends them."""

from __future__ import annotations

from pathlib import Path

from support.event_files import records, version

NAME = "events.out.tfevents.1.host"


def write(path: Path, *payloads: bytes, at: float = 1.7e9, name: str = NAME) -> Path:
    """Write an event file into the directory `path`; its first record is of the moment `at`."""
    path.mkdir(parents=True, exist_ok=True)
    (path / name).write_bytes(records(version(at), *payloads))
    return path / name


def append(path: Path, *payloads: bytes) -> None:
    """Append records to an event file."""
    with path.open("ab") as file:
        file.write(records(*payloads))


def snapshot(directory: Path) -> dict[str, tuple[int, int]]:
    """Return what would show that somebody wrote below `directory`."""
    return {
        str(path): (path.stat().st_mtime_ns, path.stat().st_size)
        for path in [directory, *directory.rglob("*")]
    }
