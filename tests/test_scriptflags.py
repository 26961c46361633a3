"""Flags read from source, held against what argparse, click and absl say of the same scripts."""

import argparse
import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guildlite.flags import Flag, find_flaw, resolve_flags
from guildlite.scriptflags import ScriptFlags, read_script_flags

SCRIPTS = Path(__file__).parent / "scripts"


def load(name):
    """Import one of the sample scripts, which the code under test never does."""
    spec = importlib.util.spec_from_file_location(Path(name).stem, SCRIPTS / name)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def read(tmp_path, source, **options):
    path = tmp_path / "script.py"
    path.write_text(source, encoding="utf-8")
    return read_script_flags(path, **options)


def argv(found: ScriptFlags, *assignments: str) -> list[str]:
    """Return the words a launch would pass."""
    pairs = []
    for each in assignments:
        name, _, value = each.partition("=")
        flag = found.find(name)
        assert flag is not None, name
        pairs.append((flag.name, value))
    return resolve_flags(found.flags, (), pairs).to_argv("space", {})


class TestFortyOptions:
    """Expected values come from the parser itself."""

    @pytest.fixture
    def found(self):
        return read_script_flags(SCRIPTS / "argparse_forty.py")

    @pytest.fixture
    def parser(self):
        return load("argparse_forty.py").build_parser()

    @pytest.fixture
    def options(self, parser):
        return [a for a in parser._actions if a.option_strings and a.dest != "help"]

    def test_there_are_forty(self, options, found):
        names = list(dict.fromkeys(option.dest for option in options))
        assert len(names) == 40
        assert list(found.flags) == names
        assert found.library == "argparse"
        assert not found.accepts_unknown

    def test_defaults(self, parser, found):
        said = vars(parser.parse_args([]))
        del said["config"]
        several = {"layers": "64 32", "image_size": "28 28"}
        other = {"data_dir": "data/digits", "workers": "1", "verbose": False}
        assert said["verbose"] == 0  # a count; the flag says whether the option is given
        assert {n: f.default for n, f in found.flags.items()} == said | several | other

    def test_types(self, options, found):
        kinds = {int: "int", float: "float", Path: "path", str: "str", None: "str"}
        for option in options:
            flag = found.flags[option.dest]
            if option.nargs == 0 or isinstance(option, argparse.BooleanOptionalAction):
                assert (flag.switch, flag.kind) == (True, "bool"), option.dest
            elif option.nargs in (2, "+"):
                assert flag.kind == "str", option.dest
            elif option.type in kinds:
                assert (flag.switch, flag.kind) == (False, kinds[option.type]), option.dest
        assert found.flags["workers"].kind == "str"  # read by a function of the script's
        assert found.flags["residual"].kind == "bool"

    def test_choices_and_ranges(self, options, found):
        for option in options:
            flag = found.flags[option.dest]
            if isinstance(option.choices, range):
                assert (flag.min, flag.max) == (min(option.choices), max(option.choices))
            else:
                assert flag.choices == (option.choices and tuple(option.choices)), option.dest

    def test_help(self, options, found):
        for option in options:
            said = None if option.help == argparse.SUPPRESS else option.help
            assert found.flags[option.dest].help == (said and " ".join(said.split())), option.dest

    def test_every_spelling_finds_its_flag(self, options, found):
        for option in options:
            for spelling in option.option_strings:
                assert found.find(spelling) is found.flags[option.dest], spelling

    def test_flags_do_not_contradict_themselves(self, found):
        assert [find_flaw(flag) for flag in found.flags.values()] == [None] * 40
        assert not any(flag.declared for flag in found.flags.values())

    @pytest.mark.parametrize(
        ("assignment", "dest", "value"),
        [
            ("batch-size=3", "batch_size", 3),
            ("batch_size=3", "batch_size", 3),
            ("b=3", "batch_size", 3),
            ("learning-rate=1e-2", "lr", 0.01),
            ("init_scale=-2", "init_scale", -2.0),
            ("data_dir=x y", "data_dir", Path("x y")),
            ("bias=false", "bias", False),
            ("bias=true", "bias", True),
            ("norm=true", "norm", True),
            ("augment=false", "augment", False),
            ("augment=true", "augment", True),
            ("no-cuda=false", "cuda", False),
            ("cuda=true", "cuda", True),
            ("cpu=true", "cpu", True),
            ("seed=7", "seed", 7),
            ("s=-7", "seed", -7),
            ("q=true", "q", True),
            ("verbose=true", "verbose", 1),
            ("residual=true", "residual", True),
            ("residual=false", "residual", False),
            ("layers=8", "layers", [8]),
            ("mode=medium", "mode", "medium"),
            ("test-steps=9", "test_steps", 9),
            ("classes=3", "num_classes", 3),
        ],
    )
    def test_what_is_set_is_what_the_script_gets(self, parser, found, assignment, dest, value):
        words = argv(found, assignment)
        assert getattr(parser.parse_args(words), dest) == value

    def test_several_words_are_named_as_a_problem(self, found):
        assert [p.split("`")[1] for p in found.problems] == ["--image-size", "--layers"]

    def test_a_remainder_is_several_words(self, tmp_path):
        found = read(
            tmp_path,
            "import argparse\n"
            "p = argparse.ArgumentParser()\n"
            "p.add_argument('--rest', nargs=argparse.REMAINDER)\n"
            "p.parse_args()\n",
        )
        assert found.several == {"rest"}


class TestSubcommands:
    def test_the_fixed_words_choose(self):
        found = read_script_flags(SCRIPTS / "subcommands.py", subcommand=["train"])
        assert list(found.flags) == ["seed", "lr", "steps"]
        assert found.flags == dict(
            read_script_flags(SCRIPTS / "subcommands.py", subcommand=["-q", "fit"]).flags
        )

    def test_without_one_only_what_stands_before_it(self):
        found = read_script_flags(SCRIPTS / "subcommands.py")
        assert list(found.flags) == ["log_level"]
        assert found.misplaced["format"] == "`--format` belongs to the sub-command `export`"

    def test_options_before_the_subcommand_cannot_be_appended(self):
        found = read_script_flags(SCRIPTS / "subcommands.py", subcommand=["train"])
        assert found.misplaced == {
            "log_level": "`--log-level` stands before the sub-command `train`"
        }
        script = [sys.executable, str(SCRIPTS / "subcommands.py")]
        appended = subprocess.run([*script, "train", "--log-level", "x"], capture_output=True)
        assert appended.returncode == 2
        before = subprocess.run([*script, "--log-level", "x", "train"], capture_output=True)
        assert before.returncode == 0


class TestClick:
    def test_as_click_says(self):
        found = read_script_flags(SCRIPTS / "click_script.py")
        command = load("click_script.py").train
        options = [p for p in command.params if p.param_type_name == "option"]
        assert list(found.flags) == [option.name for option in options]
        assert found.library == "click"
        with command.make_context("train", []) as context:
            assert dict(context.params) == {
                "words": (), **{name: flag.default for name, flag in found.flags.items()}
            }  # fmt: skip
        assert {o.name: o.help for o in options} == {n: f.help for n, f in found.flags.items()}

    def test_types(self):
        flags = read_script_flags(SCRIPTS / "click_script.py").flags
        assert flags["steps"].kind == "int"
        assert (flags["lr"].kind, flags["lr"].min, flags["lr"].max) == ("float", 0, 1)
        assert (flags["batch_size"].kind, flags["batch_size"].min) == ("int", 1)
        assert flags["optimiser"].choices == ("sgd", "adam")
        assert flags["data_dir"].kind == "path"
        assert flags["name"].kind == "str"

    @pytest.mark.parametrize(
        ("assignment", "name", "value"),
        [
            ("shout=false", "shout", False),
            ("shout=true", "shout", True),
            ("dry-run=true", "dry_run", True),
            ("s=7", "steps", 7),
            ("data=x", "data_dir", "x"),
            ("batch-size=2", "batch_size", 2),
        ],
    )
    def test_what_is_set_is_what_the_script_gets(self, assignment, name, value):
        found = read_script_flags(SCRIPTS / "click_script.py")
        command = load("click_script.py").train
        with command.make_context("train", argv(found, assignment)) as context:
            assert context.params[name] == value

    def test_groups_and_shared_options(self, tmp_path):
        found = read(
            tmp_path,
            """
import click

def common(function):
    function = click.option("--seed", type=int, default=1)(function)
    return function

@click.group()
@click.option("--config")
def cli(): ...

@cli.command()
@common
@click.option("--lr", default=0.1)
def train_model(lr, seed): ...

@cli.command("test", context_settings={"ignore_unknown_options": True})
@click.option("--mode", flag_value="fast")
@click.option("--layers", multiple=True, default=[3])
def evaluate(mode, layers): ...

cli()
""",
            subcommand=["train-model"],
        )
        assert {n: f.default for n, f in found.flags.items()} == {"seed": 1, "lr": 0.1}
        assert found.misplaced["config"] == "`--config` stands before the sub-command `train-model`"
        test = read_script_flags(tmp_path / "script.py", subcommand=["test"])
        assert test.accepts_unknown
        assert test.flags["mode"].switch
        assert test.flags["layers"].default == 3


class TestAbsl:
    def test_as_absl_says(self):
        found = read_script_flags(SCRIPTS / "absl_script.py")
        assert found.library == "absl"
        assert {n: f.default for n, f in found.flags.items()} == {
            "steps": 3,
            "lr": 0.1,
            "data_dir": None,
            "shuffle": True,
            "debug": False,
            "optimiser": "sgd",
            "widths": "8,4",
        }
        assert (found.flags["lr"].min, found.flags["lr"].max) == (0.0, 1.0)
        assert found.flags["optimiser"].choices == ("sgd", "adam")

    @pytest.mark.parametrize("value", ["True", "False"])
    def test_a_switch_is_turned_off_by_its_own_name(self, value):
        found = read_script_flags(SCRIPTS / "absl_script.py")
        words = argv(found, f"shuffle={value}", "steps=1")
        script = subprocess.run(
            [sys.executable, str(SCRIPTS / "absl_script.py"), *words],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert script.stdout == f"loss: 0.1000 shuffle={value}\n"

    def test_required(self, tmp_path):
        found = read(
            tmp_path,
            "from absl import flags\nflags.DEFINE_string('x', None, 'help')\n"
            "flags.DEFINE_multi_integer('n', [1, 2], 'help', short_name='m')\n"
            "flags.mark_flag_as_required('x')\n",
        )
        assert found.flags["x"].required
        assert found.find("m") is found.flags["n"]


class TestConstants:
    def test_only_by_wish(self):
        path = SCRIPTS / "constants_script.py"
        assert read_script_flags(path).flags == {}
        flags = read_script_flags(path, constants=True).flags
        assert {n: f.default for n, f in flags.items()} == {
            "LR": 0.1,
            "STEPS": 3,
            "NAME": "plain",
            "WARM": True,
        }
        assert [f.kind for f in flags.values()] == ["float", "int", "str", "bool"]


class TestWaysToBuildAParser:
    def test_in_a_module_beside_the_script(self):
        found = read_script_flags(SCRIPTS / "with_args_module" / "train.py")
        assert {n: f.default for n, f in found.flags.items()} == {"lr": 0.25, "steps": 3}
        assert found.accepts_unknown
        assert [file.name for file in found.files] == ["train.py", "args.py", "defaults.py"]

    def test_in_a_package_run_with_dash_m(self, tmp_path):
        package = tmp_path / "pkg"
        package.mkdir()
        (package / "args.py").write_text(
            "import argparse\ndef get():\n    p = argparse.ArgumentParser()\n"
            "    p.add_argument('--lr', type=float, default=0.5)\n    return p\n"
        )
        for line in ("from pkg.args import get", "from .args import get", "from .args import *"):
            (package / "train.py").write_text(f"{line}\nget().parse_args()\n")
            assert list(read_script_flags(package / "train.py").flags) == ["lr"], line
        (package / "train.py").write_text("import pkg.args\npkg.args.get().parse_args()\n")
        assert list(read_script_flags(package / "train.py").flags) == ["lr"]

    def test_class_with_inheritance(self, tmp_path):
        found = read(
            tmp_path,
            """
import argparse

class Base:
    def __init__(self):
        self.parser = argparse.ArgumentParser()
        self.parser.add_argument("--name")

    def parse(self):
        return self.parser.parse_args()

class Train(Base):
    def __init__(self):
        super().__init__()
        self.parser.add_argument("--lr", type=float)

    @staticmethod
    def more(parser):
        parser.add_argument("--more", action="store_true")
        return parser

options = Train()
Train.more(options.parser)
options.parse()
""",
        )
        assert list(found.flags) == ["name", "lr", "more"]

    def test_own_parser_class(self, tmp_path):
        found = read(
            tmp_path,
            "from argparse import ArgumentParser\n"
            "class Parser(ArgumentParser):\n"
            "    def __init__(self, **kw):\n"
            "        super().__init__(**kw)\n"
            "        self.add_argument('--lr', default=1.5)\n"
            "p = Parser(description='x')\np.parse_args()\n",
        )
        assert found.flags["lr"].default == 1.5

    def test_function_nothing_calls(self, tmp_path):
        found = read(
            tmp_path,
            "import argparse\ndef main():\n    p = argparse.ArgumentParser()\n"
            "    p.add_argument('--lr')\n    p.parse_args()\n",
        )
        assert list(found.flags) == ["lr"]

    def test_the_parser_that_parses_wins(self, tmp_path):
        found = read(
            tmp_path,
            "import argparse\nold = argparse.ArgumentParser()\nold.add_argument('--old')\n"
            "new = argparse.ArgumentParser()\nnew.add_argument('--new')\nnew.parse_args()\n",
        )
        assert list(found.flags) == ["new"]

    def test_two_parsers_one_after_the_other(self, tmp_path):
        found = read(
            tmp_path,
            "import argparse\na = argparse.ArgumentParser()\na.add_argument('--config')\n"
            "c, rest = a.parse_known_args()\nb = argparse.ArgumentParser()\n"
            "b.add_argument('--lr')\nb.parse_args(rest)\n",
        )
        assert list(found.flags) == ["config", "lr"]
        assert not found.accepts_unknown

    def test_branches_nobody_can_decide(self, tmp_path):
        found = read(
            tmp_path,
            """
import argparse, os, sys
SIZE = 1
if os.environ.get("BIG"):
    SIZE = 100
p = argparse.ArgumentParser()
p.add_argument("--size", type=int, default=SIZE)
if sys.platform == "linux":
    p.add_argument("--fast", action="store_true")
else:
    p.add_argument("--slow", action="store_true")
try:
    import torch
    p.add_argument("--gpu", type=int, default=0)
except ImportError:
    pass
p.parse_args()
""",
        )
        assert list(found.flags) == ["size", "fast", "slow", "gpu"]
        assert found.flags["size"].default is None  # 1 or 100: not known

    def test_defaults_from_expressions_and_set_defaults(self, tmp_path):
        found = read(
            tmp_path,
            """
import argparse, os
from pathlib import Path
ROOT = Path("data")
CFG = {"lr": 1e-3, "name": "x"}
p = argparse.ArgumentParser(argument_default="none")
p.set_defaults(a=5)
p.add_argument("--a", type=int)
p.add_argument("--b", type=int, default=2**10 - 1)
p.add_argument("--c", default=os.path.join("a", "b"))
p.add_argument("--d", default=ROOT / "x", type=Path)
p.add_argument("--lr", type=float, default=CFG["lr"])
p.add_argument("--name", default=f"run-{CFG['name']}")
p.add_argument("--e", default=[1, 2])
p.add_argument("--f")
p.add_argument("--g", default=os.environ.get("G"))
p.add_argument("--h", default=10**10**10)
p.add_argument("--i", default=-1)
p.set_defaults(**{"i": -2})
p.parse_args()
""",
        )
        assert {n: f.default for n, f in found.flags.items()} == {
            "a": 5, "b": 1023, "c": "a/b", "d": "data/x", "lr": 0.001, "name": "run-x",
            "e": "[1, 2]", "f": "none", "g": None, "h": None, "i": -2,
        }  # fmt: skip

    def test_single_letters_and_single_dashes_keep_their_dashes(self, tmp_path):
        found = read(
            tmp_path,
            "import argparse\np = argparse.ArgumentParser()\np.add_argument('--x', type=int)\n"
            "p.add_argument('-lr', type=float)\np.add_argument('-y', type=int)\np.parse_args()\n",
        )
        assert argv(found, "x=1", "lr=2", "y=3") == ["--x", "1", "-lr", "2.0", "-y", "3"]

    def test_bool_type_is_warned_of(self, tmp_path):
        found = read(
            tmp_path,
            "import argparse\np = argparse.ArgumentParser()\n"
            "p.add_argument('--debug', type=bool, default=False)\np.parse_args()\n",
        )
        assert found.problems == (
            "line 3: `--debug` uses type=bool, which takes every text for true, even `False`",
        )

    def test_store_const_options_are_switches_of_their_own(self, tmp_path):
        found = read(
            tmp_path,
            "import argparse\np = argparse.ArgumentParser()\n"
            "p.add_argument('--fast', dest='mode', action='store_const', const='fast')\n"
            "p.add_argument('--slow', dest='mode', action='store_const', const='slow')\n"
            "p.parse_args()\n",
        )
        assert argv(found, "slow=true") == ["--slow"]
        assert list(found.flags) == ["fast", "slow"]

    def test_a_computed_name_is_a_problem(self, tmp_path):
        found = read(
            tmp_path,
            "import argparse, sys\np = argparse.ArgumentParser()\n"
            "p.add_argument('--' + sys.argv[0])\np.add_argument('--lr')\np.parse_args()\n",
        )
        assert list(found.flags) == ["lr"]
        assert found.problems == ("line 3: the name of an option is computed when the script runs",)


class TestNeverRaisesNeverRuns:
    def test_nothing_is_executed(self, tmp_path):
        mark = tmp_path / "mark"
        read(
            tmp_path,
            f"import argparse\nopen({str(mark)!r}, 'w')\np = argparse.ArgumentParser()\n"
            f"p.add_argument('--x', default=open({str(mark)!r}, 'w'))\n",
        )
        assert not mark.exists()

    @pytest.mark.parametrize(
        ("content", "problem"),
        [
            (b"def broken(:\n", "script.py is not valid Python in line 1: "),
            (b"x = '\x00'\n", "script.py "),
            (b"\xff\xfe\x00", "script.py "),
            (b"# -*- coding: nonsense -*-\n", "script.py is not valid Python"),
            (b"#" * ((1 << 20) + 1), "script.py is over 1 MiB"),
            (b"(" * 5000, "script.py "),
            (b"-" * 50_000 + b"1", "script.py "),
        ],
    )
    def test_unreadable_source(self, tmp_path, content, problem):
        path = tmp_path / "script.py"
        path.write_bytes(content)
        found = read_script_flags(path)
        assert found.flags == {}
        assert found.problems[0].startswith(problem)
        assert found.files == (path,)

    def test_missing_file_and_folder(self, tmp_path):
        assert read_script_flags(tmp_path / "no.py").problems == (
            "no.py cannot be read: No such file or directory",
        )
        assert read_script_flags(tmp_path).problems != ()

    def test_byte_order_mark_and_declared_encoding(self, tmp_path):
        path = tmp_path / "script.py"
        code = "import argparse\np = argparse.ArgumentParser()\np.add_argument('--x', help='é')\n"
        path.write_bytes(b"\xef\xbb\xbf" + code.encode())
        assert read_script_flags(path).flags["x"].help == "é"
        path.write_bytes(b"# coding: latin-1\n" + code.encode("latin-1"))
        assert read_script_flags(path).flags["x"].help == "é"

    def test_broken_module_beside_the_script(self, tmp_path):
        (tmp_path / "args.py").write_text("def (\n")
        found = read(
            tmp_path,
            "import argparse\nfrom args import x\np = argparse.ArgumentParser()\n"
            "p.add_argument('--lr')\np.parse_args()\n",
        )
        assert list(found.flags) == ["lr"]
        assert found.problems[0].startswith("args.py is not valid Python in line 1")

    @pytest.mark.parametrize(
        "source",
        [
            "def f():\n    return f()\nf()\n",
            "x = [1]\n" + "x = [x, x]\n" * 200 + "print(f'{x}', str(x))\n",
            "x = 'a'\n" + "x = x + x\n" * 200,
            "x = 2\n" + "x = x * x\n" * 200,
            "for a in range(60):\n  for b in range(60):\n    for c in range(60): d = a + b\n",
            "class A(A): pass\nA().x\nclass B: pass\nB.b = B\nB().c()\n",
            "import script\nfrom script import *\n",
            "range(10**30)\nlist(range(10**9))\nlen(range(10**40))\nx = 1 << 10**9\n",
            "import click\nc = click.command()(lambda: 0)\n",
            "import argparse\np = argparse.ArgumentParser()\ns = p.add_subparsers()\n"
            "s.add_parser('a', parents=[p])\np.add_argument('--x', choices=range(10**30))\n",
            "match 1:\n    case [x]:\n        x = 1\n    case _:\n        pass\n",
        ],
    )
    def test_hostile_source(self, tmp_path, source):
        found = read(tmp_path, source)
        assert not [each for each in found.problems if "could not be followed" in each]

    def test_a_script_too_long_to_follow_keeps_what_was_found(self, tmp_path):
        source = (
            "import argparse\np = argparse.ArgumentParser()\np.add_argument('--lr')\n"
            "p.parse_args()\n" + "x = 1 + 1\n" * 40_000
        )
        found = read(tmp_path, source)
        assert list(found.flags) == ["lr"]
        assert found.problems == ("script.py is too much to follow; some options may be missing",)


TOKENS = st.sampled_from(
    """
    import argparse|from argparse import ArgumentParser|import click|from absl import flags|
    p = ArgumentParser()|p = argparse.ArgumentParser(parents=[p], prefix_chars=1)|
    p.add_argument("--x", type=int, default=x)|p.add_argument(x)|p.add_argument("-", dest="")|
    p.add_argument("--y", action="store_false", nargs=x)|p.add_argument("--z", choices=x)|
    p.add_argument(*x, **y)|p.add_argument("--b", action=argparse.BooleanOptionalAction)|
    s = p.add_subparsers()|q = s.add_parser(x, aliases=y)|p = s.add_parser("a")|p.parse_args(x)|
    p.set_defaults(**y)|p.set_defaults(x=x)|g = p.add_argument_group(p)|x = p|x = (1, 2)|
    x = [x, p]|y = {"x": x, 1: 2, "y": y}|y["x"] = y|x = "--x"|x = -x|x = x + x|x = x ** x|
    x = f"{x}"|x = list(y.items())|x = sorted(x)|x = y.get(x)|x = int(x)|x = range(*x)|
    flags.DEFINE_integer(x, x, x)|flags.DEFINE_enum("e", "a", x, "h")|flags.DEFINE_bool("x", x)|
    flags.mark_flags_as_required(x)|o = click.option(x, y, default=x)|o = click.option("--a/--b")|
    @o\ndef f(x=x, *y, **p): return x|f = click.command(x)(f)|f = o(f)|f(x, p)|x = f(*x, **y)|
    @click.group()\ndef p(): pass|@p.command()\ndef q(): return p|p.add_command(p)|p()|
    class C(ArgumentParser):\n  def __init__(self, x): super().__init__(); self.x = x|x = C(p)|
    for x in x: p.add_argument("--" + x)|if x: x = 1\nelse: x = p|x = x.x|x = [i for i in x]|
    try: x\nexcept: x = None|while x: p = x|with x as p: pass|x, *y = x|lambda: x|
    del x|global x|x = click.Choice(x)|x = click.IntRange(x, y, min_open=True)|x = not x
    """.replace("\n    ", " ").strip().split("|")
)  # fmt: skip


def _as_text(tokens):
    return "\n".join(token.strip().replace("\\n", "\n") for token in tokens)


class TestAnyText:
    @settings(max_examples=200, deadline=None)
    @given(lines=st.lists(TOKENS, max_size=25))
    def test_any_program_of_parser_calls(self, tmp_path_factory, lines):
        path = tmp_path_factory.getbasetemp() / "any_program.py"
        path.write_text(_as_text(lines), encoding="utf-8")
        found = read_script_flags(path, subcommand=["a"], constants=True)
        assert not [each for each in found.problems if "could not be followed" in each]
        assert all(isinstance(flag, Flag) for flag in found.flags.values())

    @settings(max_examples=100, deadline=None)
    @given(content=st.one_of(st.binary(), st.text().map(lambda t: t.encode("utf-8", "replace"))))
    def test_any_bytes(self, tmp_path_factory, content):
        path = tmp_path_factory.getbasetemp() / "any_bytes.py"
        path.write_bytes(content)
        found = read_script_flags(path)
        assert not [each for each in found.problems if "could not be followed" in each]
