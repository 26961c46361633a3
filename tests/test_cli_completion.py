"""Completion: what gl answers a shell, and what bash, zsh and fish make of it on a terminal."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.commands import call
from support.run_dirs import START, make_run
from support.terminal import Terminal, plain

from guildlite.cli.commands import COMMANDS
from guildlite.cli.completing import answer_shell, complete_line
from guildlite.cli.shellwords import quote_for_bash, split_line
from guildlite.runs import RunStore

PROJECT = """\
name: shells
flags: {datadir: {default: ./data, type: path}}
models:
  intro: {description: Softmax regression, train: intro, evaluate: intro}
  expert:
    default: true
    train: expert
    operations: {export: expert}
    flags:
      optimizer: {default: adam, choices: [adam, sgd], help: how to descend}
      warm: {default: false, type: bool}
      api_key: {default: hunter2, secret: true}
profiles: {quick: {optimizer: sgd}}
resources: {samples: {prepare: intro}}
"""
SCRIPT = """\
import argparse, pathlib
pathlib.Path("was-run").write_text("")
parser = argparse.ArgumentParser()
parser.add_argument("--momentum", type=float, default=0.9, help="of the last step")
parser.add_argument("--datadir")
"""
BREAKS = " \t\n\"'><=;|&(:"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with two runs, in which the test stands."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "project.yml").write_text(PROJECT)
    for name in ("intro", "expert"):
        (tmp_path / f"{name}.py").write_text(SCRIPT)
    (tmp_path / "data sets").mkdir()
    store = RunStore(tmp_path / "runs")
    series = {"train/loss": [1.0, 0.5]}
    make_run(store, "intro", flags={"lr": "0.1"}, series=series, label="base line: no. 1")
    make_run(store, "expert", flags={"lr": "0.2"}, series=series, started=START + 60)
    return tmp_path


def words(*typed: str) -> list[str]:
    """Return the whole words that can stand at the end of `gl TYPED`."""
    found = complete_line(typed[:-1], typed[-1])
    return [typed[-1][: found.kept] + each.text for each in found.candidates]


def helps(*typed: str) -> dict[str, str]:
    found = complete_line(typed[:-1], typed[-1])
    return {each.text: each.help for each in found.candidates}


# What gl answers ----------------------------------------------------------------------------------


def test_commands_with_what_they_do(place: Path) -> None:
    assert words("") == list(COMMANDS)
    assert words("tr") == ["train"]
    assert helps("sto") == {"stop": "Stop a run"}
    assert words("--deb") == ["--debug"]


def test_options_once_unless_they_may_be_repeated(place: Path) -> None:
    assert "--sort" in words("runs", "--")
    assert "--sort" not in words("runs", "--sort", "lr", "--")
    assert "--status" in words("runs", "--status", "failed", "--")
    assert words("runs", "--wat") == ["--watch"]
    assert words("runs", "--", "--wat") == []


def test_choices_of_an_option_in_both_spellings(place: Path) -> None:
    assert words("runs", "--status", "s") == ["stopped"]
    assert words("runs", "--status=s") == ["--status=stopped"]
    assert words("export", "--as", "") == ["tensorboard", "csv", "jsonl"]


def test_models_operations_profiles_and_resources(place: Path) -> None:
    assert words("train", "i") == ["intro"]
    assert helps("train", "i") == {"intro": "Softmax regression"}
    assert words("prepare", "s") == ["samples"]
    assert words("run", "expert:") == ["expert:train", "expert:export"]
    assert "expert.py" in words("run", "e")
    assert words("train", "-p", "") == ["quick"]
    assert words("runs", "--model", "") == ["intro", "expert"]


def test_flags_of_project_and_script_and_their_values(place: Path) -> None:
    assert words("train", "expert", "") == [
        "datadir=", "optimizer=", "warm=", "api_key=", "momentum=",
    ]  # fmt: skip
    assert helps("train", "o") == {"optimizer=": "how to descend  [adam]"}  # the default model's
    assert words("train", "intro", "m") == ["momentum="]
    assert words("train", "optimizer=") == ["optimizer=adam", "optimizer=sgd"]
    assert words("train", "optimizer=sgd", "o") == []
    assert words("train", "warm=t") == ["warm=true"]
    assert words("train", "datadir=da") == ["datadir=data sets/"]
    assert words("train", "momentum=") == ["momentum=0.9"]
    assert words("train", "-F", "war") == ["warm="]
    assert words("run", "intro.py", "m") == ["momentum="]
    assert not (place / "was-run").exists()


def test_a_secret_is_not_shown(place: Path) -> None:
    assert words("train", "api_key=") == []
    assert "hunter2" not in str(complete_line(["train"], ""))


def test_runs_by_number_name_label_and_directory(place: Path) -> None:
    names = sorted(
        (path.name for path in (place / "runs").iterdir() if path.is_dir()), reverse=True
    )
    newest, oldest = (name for name in names if not name.startswith("."))
    assert words("show", "") == ["latest", "1", "2", "base line: no. 1", newest, oldest]
    assert words("show", "base") == ["base line: no. 1"]
    assert words("rm", newest, oldest[:15]) == [oldest]
    assert words("show", "runs/") == [f"runs/{oldest}/", f"runs/{newest}/"]
    assert helps("show", "2")["2"].startswith("completed  intro  ")
    assert words("stop", "") == ["latest"]
    assert words("diff", "1", "2", "") == []


def test_the_trash_has_runs_of_its_own(place: Path) -> None:
    store = RunStore(place / "runs")
    gone = store.list()[1]
    store.trash(gone)
    assert words("restore", "") == ["1", "base line: no. 1", gone.id]
    assert gone.id not in words("show", "")


def test_filters_columns_and_orders(place: Path) -> None:
    assert words("runs", "stat") == ["status"]
    assert words("runs", "status = comp") == ["status = completed"]
    assert words("runs", "status", "=", "comp") == ["completed"]
    assert words("rm", "--where", "label = ") == ['label = "base line: no. 1"']
    assert words("rm", "--where=lab") == ["--where=label"]
    assert words("runs", "--columns", "lr,min(train/l") == ["lr,min(train/loss"]
    assert words("runs", "--columns", "step(train/l") == ["step(train/loss"]
    assert "step(" in words("runs", "--columns", "st")
    assert words("runs", "--sort", "-dur") == ["-duration"]
    assert words("compare", "--group", "lr,opt") == ["lr,optimizer"]


def test_another_directory_is_entered(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("/")
    assert words("-C", str(place), "train", "i") == ["intro"]
    assert f"{place}/" in words("-C", str(place)[:-1])


@pytest.mark.parametrize(
    "line",
    [
        "gl nosuch ",
        "gl show ",
        "gl train ",
        "gl runs 'x = ",
        "gl -C /no/such/place show ",
        "gl --as=",
    ],
)
def test_whatever_is_wrong_nothing_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "project.yml").write_text("models: [\n")
    (tmp_path / "runs").write_text("no directory")
    reply = answer_shell("bash", [], {"_GL_LINE": line})
    assert "Traceback" not in reply
    assert "error" not in reply
    assert capfd.readouterr().err.count("\n") <= 1  # where it looks for runs instead


def test_names_with_line_ends_cannot_be_typed(place: Path) -> None:
    make_run(RunStore(place / "runs"), started=START + 99, label="a").set_label("one\x1b[31m")
    assert "\x1b" not in answer_shell("zsh", ["show", ""], {})


def test_the_first_word_needs_no_index(place: Path) -> None:
    code = (
        "import sys\nfrom guildlite.cli.completing import answer_shell\n"
        "print(answer_shell('bash', [], {'_GL_LINE': 'gl tr'}).split())\n"
        "print([name for name in sys.modules if name in ('sqlite3', 'yaml', 'guildlite.index')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["['train']", "[]"]


# Words as a shell reads them ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "line",
    ["gl show base\\ line", "gl 'a b' \"c \\\" d\" e'f'g", 'gl "a\\b" \\\' ""', "gl  a   b"],
)
def test_a_line_is_parted_as_bash_does(line: str) -> None:
    done = subprocess.run(
        ["bash", "-c", f"printf '%s\\0' {line}"], capture_output=True, text=True, check=True
    )
    before, last = split_line(f"{line} ")
    assert before == done.stdout.split("\0")[:-1]
    assert last.text == last.raw == ""


def test_an_open_quote_is_seen() -> None:
    _, word = split_line("gl runs --where='loss < 0.1 an")
    assert (word.text, word.quote, word.opened) == ("--where=loss < 0.1 an", "'", 8)


@given(st.text(st.characters(codec="utf-8", exclude_characters="\0\n\r"), min_size=1, max_size=20))
def test_bash_reads_back_what_was_quoted_for_it(text: str) -> None:
    forms = (
        quote_for_bash(text),
        f"'{quote_for_bash(text, chr(39))}'",
        f'"{quote_for_bash(text, chr(34))}"',
    )
    script = "printf '%s\\0' " + " ".join(forms)
    done = subprocess.run(["bash", "--norc", "-c", script], capture_output=True, check=True)
    expected = [os.path.expanduser("~") + text[1:] if text.startswith("~/") else text, text, text]
    assert done.stdout.decode().split("\0")[:-1] == expected


# Real shells --------------------------------------------------------------------------------------

#: Typed, then what is typed behind it, then the words that the shell makes of the line.
LINES: list[tuple[str, str, list[str]]] = [
    ("gl tra", "", ["train"]),
    ("gl train expert opt", "", ["train", "expert", "optimizer="]),
    ("gl train expert optimizer=s", "", ["train", "expert", "optimizer=sgd"]),
    ("gl train datadir=data", "", ["train", "datadir=data sets/"]),
    ("gl run expert:ex", "", ["run", "expert:export"]),
    ("gl show bas", "", ["show", "base line: no. 1"]),
    ("gl show base\\ l", "", ["show", "base line: no. 1"]),
    ("gl show 'base l", "", ["show", "base line: no. 1"]),
    ("gl runs --status=comp", "", ["runs", "--status=completed"]),
    ("gl train --profile qu", "", ["train", "--profile", "quick"]),
    ("gl runs 'exit_c", " > 0'", ["runs", "exit_code > 0"]),
    ('gl runs "exit_code > 0 an', " lr > 1\"", ["runs", "exit_code > 0 and lr > 1"]),
]  # fmt: skip
STARTS = {
    "bash": (
        ["bash", "--norc", "--noprofile", "-i"],
        "bind 'set enable-bracketed-paste off'; PS1='ready> '; eval \"$(gl completion bash)\"",
    ),
    "zsh": (["zsh", "-f", "-i"], "PS1='ready> '; eval \"$(gl completion zsh)\""),
    "fish": (
        ["fish", "--no-config", "-i"],
        "function fish_prompt; echo 'ready> '; end; gl completion fish | source",
    ),
}


def _shell(name: str, place: Path) -> Terminal:
    if shutil.which(name) is None:
        pytest.skip(f"{name} IS NOT INSTALLED: its completion was not tested")
    home = place / "home"
    (home / "bin").mkdir(parents=True)
    program = home / "bin" / "gl"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m guildlite "$@"\n')
    program.chmod(0o755)
    env = {
        **os.environ, "PATH": f"{home}/bin:{os.environ['PATH']}", "HOME": str(home),
        "TERM": "xterm-256color", "LC_ALL": "C.UTF-8", "XDG_CONFIG_HOME": str(home),
    }  # fmt: skip
    terminal = Terminal(STARTS[name][0], env=env, columns=150, lines=40)
    terminal.settled(1)
    terminal.type(f"{STARTS[name][1]}; echo all set\r")
    terminal.until(lambda text: "\nall set" in plain(text).replace("\r", ""))
    terminal.settled()
    return terminal


def _completed(terminal: Terminal, typed: str, behind: str) -> list[str]:
    """Return the words of the line after TAB: the shell itself is made to print them."""
    terminal.type("\x15")  # Ctrl-U: an empty line
    terminal.settled(0.2)
    terminal.type(f"{typed}\t")
    terminal.settled(0.5)
    terminal.type(f"{behind}\x01printf '%s|' ")  # Ctrl-A: before it
    terminal.settled(0.2)
    before = len(terminal.output)
    terminal.type("\r")
    terminal.until(lambda text: "gl|" in plain(text[before:]))
    terminal.settled(0.2)
    line = next(each for each in plain(terminal.output[before:]).splitlines() if "gl|" in each)
    # bash alone has left a space behind the word.
    return [" ".join(word.split()) for word in line[line.index("gl|") :].split("|")[1:-1]]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_real_shell_completes_and_quotes(place: Path, shell: str) -> None:
    wrong: dict[str, Sequence[str]] = {}
    with _shell(shell, place) as terminal:
        for typed, behind, expected in LINES:
            # Keys that come while a shell is busy may end its completion: a slow machine's.
            for _ in range(4):
                found = _completed(terminal, typed, behind)
                if found == expected:
                    break
            else:
                wrong[typed] = found
    assert wrong == {}


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_says_nothing_to_a_shell_that_reads_it_twice(place: Path, shell: str) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} IS NOT INSTALLED: its completion was not tested")
    script = call("completion", shell).out
    done = subprocess.run(
        [shell], input=f"{script}\n{script}\n", capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_another_shell_is_refused_with_those_there_are(place: Path) -> None:
    answer = call("completion", "tcsh")
    assert answer.status == 2
    assert "bash" in answer.err
    assert "zsh" in answer.err
