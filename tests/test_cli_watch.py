"""`gl runs --watch` on a real terminal: what the screen shows, and what is left afterwards."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from support.commands import call
from support.run_dirs import START, make_run
from support.terminal import Terminal, plain, screen

from guildlite.platform import ProcessIdentity
from guildlite.runs import RunStore
from guildlite.runs.facts import write_fact

LEAVE = "\x1b[?1049l"


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunStore:
    """A directory without a project file, in which the test stands, and its runs."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    return RunStore(tmp_path / "runs")


def watch(*words: str, columns: int = 100, lines: int = 12) -> Terminal:
    argv = [sys.executable, "-m", "guildlite", "runs", "--watch", *words]
    return Terminal(argv, env=os.environ, columns=columns, lines=lines)


def shows(*words: str) -> Callable[[str], bool]:
    """Tell whether the screen has a line with all the words, or for `-WORD` nowhere that word."""

    def met(output: str) -> bool:
        if "q ends" not in plain(output):
            return False
        lines = [plain(line) for line in screen(output)]
        here = [word for word in words if not word.startswith("-")]
        gone = [word[1:] for word in words if word.startswith("-")]
        return any(all(word in line for word in here) for line in lines) and not any(
            word in line for word in gone for line in lines
        )

    return met


def test_the_table_follows_runs_that_start_end_get_words_and_go(store: RunStore) -> None:
    first = make_run(store, "intro", flags={"lr": "0.1"}, series={"loss": [1.0, 0.25]})
    with watch() as terminal:
        terminal.until(shows("1 run"))
        assert shows("1", "✓ completed", "intro", "0.25")(terminal.output)
        second = make_run(store, "expert", started=START + 9, ended=False, alive=True)
        terminal.until(shows("2 runs, 1 running"))
        assert shows("1", "● running", "expert")(terminal.output)
        assert shows("2", "✓ completed", "intro")(terminal.output)
        # The process that `alive` names is this one, which goes on; exit.json decides first.
        write_fact(second.paths.exit, {"time": START + 40, "duration_s": 31.0, "code": 1})
        terminal.until(shows("1", "✗ failed", "expert", "31s"))
        first.set_label("baseline")
        terminal.until(shows("intro", "baseline"))
        store.trash(first)
        terminal.until(shows("1 run", "-intro"))
        terminal.type("q")
        assert terminal.wait() == 0


def test_filters_columns_order_and_limit_are_those_of_the_list(store: RunStore) -> None:
    for place, loss in enumerate((0.5, 0.1, 0.9, 0.3)):
        make_run(store, flags={"lr": f"0.{place}"}, started=START + place, series={"loss": [loss]})
    words = ("loss < 0.8", "--sort", "loss", "--columns", "lr,loss", "-n", "2")
    with watch(*words) as terminal:
        terminal.until(shows("2 of 3 runs"))
        table = [plain(line).split() for line in screen(terminal.output)[:3]]
        assert table == [["#", "lr", "loss"], ["3", "0.1", "0.1"], ["1", "0.3", "0.3"]]
        make_run(store, flags={"lr": "0.7"}, started=START + 9, series={"loss": [0.05]})
        terminal.until(shows("2 of 4 runs"))
        assert plain(screen(terminal.output)[1]).split() == ["1", "0.7", "0.05"]


def test_the_trash_can_be_watched(store: RunStore) -> None:
    run = make_run(store, "intro")
    with watch("--trash") as terminal:
        terminal.until(shows("the trash is empty"))
        store.trash(run)
        terminal.until(shows("✓ completed", "intro"))


def test_it_fits_the_window_and_follows_its_size(store: RunStore) -> None:
    for place in range(20):
        make_run(store, started=START + place, flags={"lr": f"{place}", "a_long_name": f"{place}"})
    with watch(lines=9) as terminal:
        terminal.until(shows("6 of 20 runs"))
        assert shows("a_long_name")(terminal.output)
        terminal.resize(44, 7)
        terminal.until(shows("4 of 20 runs", "-a_long_name"))
        lines = screen(terminal.output)
        assert len(lines) <= 7
        assert max(len(plain(line)) for line in lines) <= 44
        terminal.resize(100, 30)
        terminal.until(shows("20 runs", "-of 20"))


def test_only_what_changed_is_written(store: RunStore) -> None:
    for place in range(5):
        make_run(store, f"model{place}", started=START + place, label="same")
    with watch() as terminal:
        terminal.until(shows("5 runs"))
        before = len(terminal.output)
        store.get("model3").set_label("else")
        terminal.until(shows("model3", "else"))
        terminal.until(lambda text: text[before:].count("q ends") >= 3)
        news = plain(terminal.output[before:])
        assert "model3" in news
        assert not any(f"model{place}" in news for place in (0, 1, 2, 4))


@pytest.mark.parametrize(
    ("end", "status"),
    [("q", 0), ("\x03", 130), (signal.SIGTERM, 128 + 15)],
    ids=["q", "ctrl-c", "term"],
)
def test_however_it_ends_the_terminal_comes_back_with_the_last_table(
    store: RunStore, end: str | signal.Signals, status: int
) -> None:
    make_run(store, "intro")
    with watch() as terminal:
        terminal.until(shows("1 run"))
        assert not terminal.shows_keys()
        if isinstance(end, str):
            terminal.type(end)
        else:
            os.kill(terminal.pid, end)
        assert terminal.wait() == status
        assert terminal.shows_keys()
        after = terminal.output.rpartition(LEAVE)[2]
        assert "\x1b[?25h" in terminal.output.rpartition("\x1b[?25l")[2]  # the cursor
        assert [line.split()[:2] for line in plain(after).splitlines() if line] == [
            ["#", "status"],
            ["1", "✓"],
        ]
        assert "Traceback" not in after


def test_ctrl_z_gives_the_terminal_to_the_shell_and_fg_takes_it_again(store: RunStore) -> None:
    make_run(store, "intro")
    env = {**os.environ, "PS1": "ready> "}
    with Terminal(["bash", "--norc", "--noprofile", "-i"], env=env, columns=100) as terminal:
        terminal.until(lambda text: "ready> " in text)
        terminal.type(f"{sys.executable} -m guildlite runs --watch\r")
        terminal.until(lambda text: "q ends" in text)
        terminal.type("\x1a")
        # What is typed before the shell has its terminal back is thrown away.
        terminal.until(lambda text: "ready> " in text.partition("Stopped")[2])
        assert terminal.output.rfind(LEAVE) < terminal.output.rfind("Stopped")
        stopped = len(terminal.output)
        terminal.type("fg\r")
        terminal.until(lambda text: "q ends" in text[stopped:])
        assert "✓ completed" in plain(terminal.output[stopped:])
        terminal.type("q")
        terminal.until(lambda text: "ready> " in text[stopped:].partition(LEAVE)[2])
        terminal.type("echo status $?\r")
        terminal.until(lambda text: "status 0" in plain(text))


@pytest.mark.parametrize("damage", ["rubbish", "cut", "deleted"])
def test_a_broken_index_is_built_anew_meanwhile(store: RunStore, cache: Path, damage: str) -> None:
    make_run(store, "intro")
    with watch() as terminal:
        terminal.until(shows("1 run"))
        (file,) = cache.glob("index/*/*.db")
        if damage == "rubbish":
            file.write_bytes(b"no database at all" * 1000)
        elif damage == "cut":
            os.truncate(file, 4096)
        else:
            shutil.rmtree(cache)
        make_run(store, "expert", started=START + 9)
        terminal.until(shows("2 runs"))
        assert shows("1", "✓ completed", "expert")(terminal.output)
        terminal.type("q")
        assert terminal.wait() == 0


def test_trouble_is_said_at_the_foot_and_goes_again(store: RunStore) -> None:
    make_run(store, "intro")
    with watch() as terminal:
        terminal.until(shows("1 run"))
        store.root.rename(store.root.with_name("elsewhere"))
        store.root.write_text("no directory")
        terminal.until(shows("looking again"))
        assert shows("✓ completed", "intro")(terminal.output)
        store.root.unlink()
        store.root.with_name("elsewhere").rename(store.root)
        terminal.until(shows("1 run", "-looking again"))


def test_a_run_that_cannot_be_read_is_listed_with_the_others(store: RunStore) -> None:
    make_run(store, "intro")
    broken = make_run(store, "expert", started=START + 9)
    with watch() as terminal:
        terminal.until(shows("2 runs"))
        broken.paths.manifest.write_text("{")
        terminal.until(shows("! unreadable"))
        assert shows("✓ completed", "intro")(terminal.output)


def test_a_wrong_filter_is_said_before_the_screen_is_taken(store: RunStore) -> None:
    make_run(store, series={"loss": [1.0]})
    with watch("los < 1") as terminal:
        assert terminal.wait() == 2
        assert "did you mean `loss`?" in terminal.output
        assert "\x1b[?1049h" not in terminal.output


def test_names_cannot_reach_the_terminal(store: RunStore) -> None:
    make_run(store, "intro", label="\x1b]0;title\x07evil")
    with watch() as terminal:
        terminal.until(shows("1 run"))
        assert "\x1b]0" not in terminal.output
        assert "\x07" not in terminal.output


def test_without_a_terminal_it_says_so_in_one_sentence(store: RunStore) -> None:
    make_run(store)
    answer = call("runs", "--watch")
    assert (answer.status, answer.out) == (2, "")
    assert answer.err.splitlines() == [
        "error: `--watch` redraws a terminal, and stdout is none",
        "hint: `gl runs` prints the list once, `gl runs --json` for programs",
    ]


def test_a_dumb_terminal_is_none(store: RunStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    with watch() as terminal:
        assert terminal.wait() == 2
        assert "\x1b" not in terminal.output


@pytest.mark.parametrize("other", ["json", "csv"])
def test_it_prints_nothing_for_programs(store: RunStore, other: str) -> None:
    answer = call("runs", "--watch", f"--{other}")
    assert answer.status == 2
    assert f"`--watch` and `--{other}` exclude each other" in answer.err


def test_the_processes_of_this_test_are_real() -> None:
    # `alive` above rests on it.
    assert ProcessIdentity.of(os.getpid()).alive()
