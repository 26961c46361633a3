"""The examples of docs/reference/tfevents.md: run in order, and what they print compared."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path

import pytest
import transcripts

from guildlite import tfevents

PAGE = Path(__file__).parents[1] / "docs" / "reference" / "tfevents.md"


def test_the_examples_print_what_the_page_shows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    blocks = [
        each for each in transcripts.blocks(PAGE.read_text()) if each.language in ("python", "")
    ]
    names: dict[str, object] = {}
    count = 0
    for number, block in enumerate(blocks):
        if block.language != "python":
            continue
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(block.body, f"{PAGE.name}, block {number}", "exec"), names)
        following = blocks[number + 1] if number + 1 < len(blocks) else block
        shown = following.body if not following.language else ""
        assert agree(shown.splitlines(), printed.getvalue().splitlines()), printed.getvalue()
        count += 1
    assert count > 6


def agree(shown: list[str], printed: list[str]) -> bool:
    """Tell whether lines are the same; a line of `...` stands for any."""
    if "..." not in shown:
        return shown == printed
    at = shown.index("...")
    behind = len(shown) - at - 1
    return shown[:at] == printed[:at] and shown[at + 1 :] == printed[len(printed) - behind :]


def test_every_public_name_is_on_the_page() -> None:
    text = PAGE.read_text()
    missing = [name for name in tfevents.__all__ if not re.search(rf"\b{name}\b", text)]
    # What `FileTree` is made of serves other followers of files, and is told in its docstrings.
    assert set(missing) <= {"FileTree", "FoundFile", "Signature", "open_regular"}, missing
