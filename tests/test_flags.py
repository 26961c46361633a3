"""Flag values: YAML 1.2 scalars, checks, precedence, and the words a script receives."""

from __future__ import annotations

import math
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guildlite.errors import FlagError
from guildlite.flags import (
    SECRET_MARK,
    Flag,
    FlagValues,
    Value,
    check_value,
    expand,
    find_flaw,
    format_value,
    is_secret,
    make_flag,
    merge_script_flags,
    parse_assignment,
    parse_scalar,
    resolve_flags,
)

# -- Scalars -----------------------------------------------------------------------------------

# The tag resolution table of YAML 1.2.2, section 10.3.2, with its regular expressions as printed.
SPEC = [
    ("null", r"null|Null|NULL|~"),
    ("null", r""),
    ("bool", r"true|True|TRUE|false|False|FALSE"),
    ("int", r"[-+]?[0-9]+"),
    ("int", r"0o[0-7]+"),
    ("int", r"0x[0-9a-fA-F]+"),
    ("float", r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?"),
    ("float", r"[-+]?(\.inf|\.Inf|\.INF)"),
    ("float", r"\.nan|\.NaN|\.NAN"),
]
SPEC_TYPES = {"null": type(None), "bool": bool, "int": int, "float": float}


def spec_type(text: str) -> type:
    """Type of a plain scalar by the table of the specification; text where no line matches."""
    for kind, pattern in SPEC:
        if re.fullmatch(f"(?:{pattern})", text):
            return SPEC_TYPES[kind]
    return str


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001),
        ("1E5", 100000.0),
        ("1.", 1.0),
        (".5", 0.5),
        ("-12", -12),
        ("+7", 7),
        ("007", 7),
        ("0o17", 15),
        ("0xfF", 255),
        ("-.INF", -math.inf),
        (".inf", math.inf),
        ("True", True),
        ("FALSE", False),
        ("", None),
        ("~", None),
        ("Null", None),
        *[(text, text) for text in (
            "no", "on", "yes", "off", "y", "12:30", "1_000", "0b1", "tRue", "inf", "nan", "1e",
            "-0x1", "2026-11-20", "=", "<<", "1\n", "٣", ".", "--1", "0o8", " 1",
        )],
    ],
)  # fmt: skip
def test_scalars_of_yaml_1_2(text: str, value: Value) -> None:
    assert parse_scalar(text) == value
    assert type(parse_scalar(text)) is type(value)


def test_nan() -> None:
    assert math.isnan(parse_scalar(".nan"))  # type: ignore[arg-type]


NUMBER_LIKE = st.text("0123456789.eE+-xob~:_nulINFatrsf", max_size=9)


@given(NUMBER_LIKE | st.sampled_from([p for _, ps in SPEC for p in ps.split("|")]) | st.text())
def test_type_of_a_scalar_agrees_with_the_specification(text: str) -> None:
    assert type(parse_scalar(text)) is spec_type(text)


@given(st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False))
def test_numbers_survive_formatting(value: bool | int | float) -> None:
    again = parse_scalar(format_value(value))
    assert again == value
    assert type(again) is type(value)


def test_integers_too_long_for_python_stay_text() -> None:
    assert parse_scalar("9" * 5000) == "9" * 5000
    assert parse_scalar("0x" + "f" * 5000) == "0x" + "f" * 5000


@pytest.mark.parametrize(
    ("value", "text"),
    [(True, "True"), (False, "False"), (0.001, "0.001"), (1e-7, "1e-07"), (0.1 + 0.2,
     "0.30000000000000004"), (3, "3"), (None, ""), ("a b", "a b"), (math.inf, "inf")],
)  # fmt: skip
def test_format(value: Value, text: str) -> None:
    assert format_value(value) == text


# -- Checks ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("flag", "raw", "value"),
    [
        (Flag("n", type="int"), "20", 20),
        (Flag("n", type="int"), "1e3", 1000),
        (Flag("n", type="int"), "", None),
        (Flag("lr", type="float"), "1", 1.0),
        (Flag("lr", type="float"), "-inf", -math.inf),
        (Flag("lr", default=0.1), "1e-3", 0.001),
        (Flag("id", type="str"), "007", "007"),
        (Flag("id", type="str"), "true", "true"),
        (Flag("id", type="str"), "", ""),
        (Flag("id", type="str"), 7, "7"),
        (Flag("dir", type="path"), "7", "7"),
        (Flag("act", default="relu"), "1e-3", "1e-3"),
        (Flag("on", default=False), "TRUE", True),
        (Flag("any"), "1e-3", 0.001),
        (Flag("any"), "no", "no"),
        (Flag("n", default=1, step=0.5), "0.5", 0.5),
        (Flag("depth", type="int", choices=(18, 50)), "50", 50),
    ],
)
def test_values_accepted(flag: Flag, raw: Value, value: Value) -> None:
    assert check_value(flag, raw) == value
    assert type(check_value(flag, raw)) is type(value)


@pytest.mark.parametrize(
    ("flag", "raw", "message"),
    [
        (Flag("epochs", default=10), "ten", "flag `epochs` expects an integer, got `ten`"),
        (Flag("epochs", default=10), "true", "flag `epochs` expects an integer, got `true`"),
        (Flag("n", type="int", min=1), "0", "flag `n` expects an integer of at least 1, got `0`"),
        (Flag("n", type="int", max=9), "10", "flag `n` expects an integer of at most 9, got `10`"),
        (Flag("p", type="float", min=0, max=1), "nan",
         "flag `p` expects a number from 0 to 1, got `nan`"),
        (Flag("p", type="float"), "1,5", "flag `p` expects a number, got `1,5`"),
        (Flag("on", type="bool"), "yes", "flag `on` expects `true` or `false`, got `yes`"),
        (Flag("on", type="bool"), "1", "flag `on` expects `true` or `false`, got `1`"),
        (Flag("opt", choices=("sgd", "adam")), "adma",
         "flag `opt` expects one of `sgd`, `adam`, got `adma`"),
        (Flag("api_key", type="int"), "hunter2",
         "flag `api_key` expects an integer, got something else"),
        (Flag("x", type="str"), "a\0b", "flag `x` cannot hold a NUL character"),
        (Flag("n", type="int"), "a\nb\x1b[1m",
         "flag `n` expects an integer, got `a\\nb\\x1b[1m`"),
    ],
)  # fmt: skip
def test_values_refused(flag: Flag, raw: Value, message: str) -> None:
    with pytest.raises(FlagError) as caught:
        check_value(flag, raw)
    assert caught.value.message == message


def test_refusals_say_what_to_do() -> None:
    with pytest.raises(FlagError) as caught:
        check_value(Flag("opt", choices=("sgd", "adam")), "adma")
    assert caught.value.hint == "did you mean `adam`?"
    with pytest.raises(FlagError) as caught:
        check_value(Flag("dropout", default=0), "0.5")
    assert "`type: float` for `dropout`" in str(caught.value.hint)


@pytest.mark.parametrize(
    "text",
    ["[0.1,0.01]", "[0:1]", "range[1:5]", "linspace[0:1:5]", "logspace[-3:0]", "uniform[0:1]",
     "loguniform[1e-5:1]", "int[1:4]", "logint[1:64]", "[]"],
)  # fmt: skip
@pytest.mark.parametrize("kind", ["float", "str", None])
def test_several_values_are_for_sweeps(text: str, kind: str | None) -> None:
    with pytest.raises(FlagError, match="sweeps are not there yet"):
        check_value(Flag("lr", type=kind), text)


def test_text_that_looks_like_a_list_is_fine_where_it_was_declared() -> None:
    assert check_value(Flag("layers", default="[64, 32]"), "[64, 32]") == "[64, 32]"
    assert check_value(Flag("l", choices=("[1]", "[2]")), "[2]") == "[2]"
    assert check_value(Flag("text", default=""), "[CLS] hello") == "[CLS] hello"


@pytest.mark.parametrize(
    ("spec", "key"),
    [
        ({"min": 2, "max": 1}, "min"),
        ({"default": 5, "max": 1}, "default"),
        ({"default": "c", "choices": ("a", "b")}, "default"),
        ({"type": "int", "choices": (1, "b")}, "choices"),
        ({"default": "a", "min": 1}, "min"),
        ({"default": "a", "scale": "log"}, "scale"),
        ({"default": 1, "type": "str", "step": 1}, "step"),
        ({"type": "str", "switch": True}, "switch"),
        ({"switch": True, "default": "on"}, "default"),
    ],
)
def test_contradictory_declarations(spec: dict[str, Any], key: str) -> None:
    flaw = find_flaw(Flag("x", **spec))
    assert flaw is not None
    assert flaw[0] == key
    with pytest.raises(FlagError):
        make_flag("x", spec)


def test_make_flag_converts_values_to_the_type() -> None:
    flag = make_flag("lr", {"default": 1, "type": "float", "choices": [1, 0.5]})
    assert repr(flag.default) == "1.0"
    assert repr(flag.choices) == "(1.0, 0.5)"


@pytest.mark.parametrize(
    ("flag", "kind"),
    [
        (Flag("x", default=1), "int"),
        (Flag("x", default=1, max=0.5), "float"),
        (Flag("x", default=1, choices=(1, 0.5)), "float"),
        (Flag("x", default=True), "bool"),
        (Flag("x", switch=True), "bool"),
        (Flag("x", choices=(1, "auto")), None),
        (Flag("x"), None),
        (Flag("x", default=1, type="str"), "str"),
    ],
)
def test_kind(flag: Flag, kind: str | None) -> None:
    assert flag.kind == kind


# -- Words of the command line -----------------------------------------------------------------


def test_assignment_splits_at_the_first_equals_sign() -> None:
    assert parse_assignment("lr=0.1") == ("lr", "0.1")
    assert parse_assignment("expr=a=b") == ("expr", "a=b")
    assert parse_assignment("tag=") == ("tag", "")
    assert parse_assignment("+trainer.fast=1") == ("+trainer.fast", "1")
    assert parse_assignment("verbose", bare_is_true=True) == ("verbose", "true")


@pytest.mark.parametrize(
    ("word", "hint"),
    [
        ("lr", "write `lr=VALUE`"),
        ("--lr=0.1", "flags are words without dashes: `lr=0.1`"),
        ("=3", "write `name=value`"),
        (" lr=3", "write `name=value`"),
    ],
)
def test_words_that_are_no_assignment(word: str, hint: str) -> None:
    with pytest.raises(FlagError) as caught:
        parse_assignment(word)
    assert caught.value.hint == hint


@pytest.mark.parametrize(
    ("text", "expanded"),
    [
        ("$RUNDIR/model", "/r/model"),
        ("${RUNDIR}x", "/rx"),
        ("$RUNDIRx $HOME ${HOME}", "$RUNDIRx $HOME ${HOME}"),
        ("$$RUNDIR 5$", "$RUNDIR 5$"),
        ("$GPU_COUNT$RUNDIR", "2/r"),
    ],
)
def test_expand(text: str, expanded: str) -> None:
    assert expand(text, {"RUNDIR": "/r", "GPU_COUNT": "2"}) == expanded


@given(st.text())
def test_expand_without_dollars_changes_nothing(text: str) -> None:
    plain = text.replace("$", "")
    assert expand(plain, {"RUNDIR": "/r"}) == plain
    assert expand(text.replace("$", "$$"), {"RUNDIR": "/r"}) == text


@pytest.mark.parametrize(
    "name",
    ["key", "api_key", "API-KEY", "hf-token", "hfToken", "db.password", "aws_secret_access_key",
     "secret", "OPENAI_API_KEY", "token_2", "key_value", "password_file", "passwd"],
)  # fmt: skip
def test_names_of_secrets(name: str) -> None:
    assert is_secret(name)


@pytest.mark.parametrize(
    "name",
    ["monkey", "tokenizer", "keypoints", "max_tokens", "key_dim", "token_dropout", "secretary",
     "lr", "tokens", "keyboard_layout", ""],
)  # fmt: skip
def test_names_that_are_no_secrets(name: str) -> None:
    assert not is_secret(name)


# -- Resolution --------------------------------------------------------------------------------

FLAGS = {
    flag.name: flag
    for flag in (
        Flag("datadir", default="./data"),
        Flag("rundir", default="$RUNDIR"),
        Flag("epochs", default=10, min=1),
        Flag("lr", default=0.5),
        Flag("seed", type="int"),
        Flag("found", default=3, declared=False),
    )
}


def test_command_line_over_later_profile_over_earlier_over_default() -> None:
    profiles: list[tuple[str, dict[str, Value]]] = [
        ("quick", {"epochs": 1, "lr": 0.1}),
        ("wild", {"lr": 9}),
    ]
    values = resolve_flags(FLAGS, profiles, [("epochs", "2")])
    assert values.values == {
        "datadir": "./data", "rundir": "$RUNDIR", "epochs": 2, "lr": 9.0, "seed": None, "found": 3,
    }  # fmt: skip
    assert values.changed() == {"epochs", "lr"}
    assert values.origins["lr"] == "profile wild"


def test_recorded_is_symbolic_in_project_order_and_without_secrets() -> None:
    flags = {**FLAGS, "hf_token": Flag("hf_token", type="str")}
    values = resolve_flags(flags, assignments=[("hf_token", "s3cr3t")], free=[("new", "007")])
    assert list(values.recorded().items()) == [
        ("datadir", "./data"), ("rundir", "$RUNDIR"), ("epochs", "10"), ("lr", "0.5"),
        ("found", "3"), ("hf_token", SECRET_MARK), ("new", "007"),
    ]  # fmt: skip


def test_recorded_mark_given_back_is_no_value() -> None:
    flags = {"hf_token": Flag("hf_token", type="str")}
    values = resolve_flags(flags, assignments=[("hf_token", SECRET_MARK)])
    assert values.values == {"hf_token": None}


def test_unknown_name_is_refused_with_the_nearest_and_the_way_out() -> None:
    with pytest.raises(FlagError) as caught:
        resolve_flags(FLAGS, assignments=[("epoch", "2")])
    assert caught.value.message == "flag `epoch` is not known"
    assert caught.value.hint == "did you mean `epochs`? `-F epoch=2` passes it anyway"
    with pytest.raises(FlagError) as caught:
        resolve_flags(FLAGS, assignments=[("wandb_key", "s3cr3t")])
    assert "s3cr3t" not in f"{caught.value.message}{caught.value.hint}"


def test_accept_unknown_keeps_the_text_and_still_refuses_sweeps() -> None:
    values = resolve_flags({}, assignments=[("zip", "007")], accept_unknown=True)
    assert values.to_argv("space", {}) == ["--zip", "007"]
    with pytest.raises(FlagError, match="sweeps"):
        resolve_flags({}, assignments=[("lr", "[1,2]")], accept_unknown=True)


def test_free_values_pass_anything() -> None:
    values = resolve_flags(FLAGS, free=[("epochs", "auto"), ("lr", "1e-3"), ("x", "[1,2]")])
    assert values.values["epochs"] == "auto"
    assert values.values["lr"] == 0.001
    assert values.values["x"] == "[1,2]"


def test_profile_errors_name_the_profile() -> None:
    with pytest.raises(FlagError, match="profile `quick`: flag `epochs` expects an integer of at"):
        resolve_flags(FLAGS, [("quick", {"epochs": 0})])
    with pytest.raises(FlagError) as caught:
        resolve_flags(FLAGS, [("quick", {"epoch": 1})])
    assert caught.value.message == "profile `quick` sets `epoch`, which is not a flag here"
    assert caught.value.hint == "did you mean `epochs`?"
    assert resolve_flags(FLAGS, [("quick", {"kernel": 3})], elsewhere={"kernel"}).changed() == set()


def test_required_flags_need_a_value() -> None:
    flags = {"a": Flag("a", required=True), "b": Flag("b", required=True)}
    with pytest.raises(FlagError) as caught:
        resolve_flags(flags)
    assert caught.value.message == "flags need a value: `a`, `b`"
    assert resolve_flags(flags, assignments=[("a", "1"), ("b", "2")]).values == {"a": 1, "b": 2}


def test_a_flag_can_be_cleared() -> None:
    assert resolve_flags(FLAGS, assignments=[("epochs", "")]).values["epochs"] is None


# -- To the script -----------------------------------------------------------------------------

VARIABLES = {"RUNDIR": "/r", "GPU_COUNT": "0", "PROJECT": "/p"}


def resolved(*flags: Flag, **assignments: str) -> FlagValues:
    return resolve_flags({flag.name: flag for flag in flags}, assignments=[*assignments.items()])


def test_default_style_is_two_words_in_project_order() -> None:
    assert resolve_flags(FLAGS).to_argv("space", VARIABLES) == [
        "--datadir", "./data", "--rundir", "/r", "--epochs", "10", "--lr", "0.5",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("style", "words"),
    [
        ("space", ["--x=-1", "--batch-size", "8", "--on", "True", "--name", ""]),
        ("equals", ["--x=-1", "--batch-size=8", "--on=True", "--name="]),
        ("hydra", ["x=-1", "batch-size=8", "on=True", "name="]),
        ("env", []),
        ("none", []),
    ],
)
def test_styles(style: str, words: list[str]) -> None:
    values = resolved(
        Flag("x", default=-1), Flag("batch-size", default=8), Flag("on", default=True),
        Flag("name", default=""),
    )  # fmt: skip
    assert values.to_argv(style, {}) == words


def test_env_style_keeps_names_as_written() -> None:
    values = resolved(Flag("lr", default=0.1), Flag("N", default=1, arg="COUNT"), Flag("none"))
    assert values.to_env("env", {}) == {"lr": "0.1", "COUNT": "1"}
    assert values.to_env("space", {}) == {}


@pytest.mark.parametrize("style", ["space", "equals"])
@pytest.mark.parametrize(
    ("arg", "value", "words"),
    [
        (None, "true", ["--x_y"]),
        (None, "false", []),
        ("v", "true", ["-v"]),
        ("--x-y", "true", ["--x-y"]),
        ("cuda/no-cuda", "true", ["--cuda"]),
        ("cuda/no-cuda", "false", ["--no-cuda"]),
        ("/no-cuda", "true", []),
        ("--cuda/--no-cuda", "false", ["--no-cuda"]),
    ],
)
def test_switches(style: str, arg: str | None, value: str, words: list[str]) -> None:
    flag = Flag("x_y", switch=True, arg=arg)
    assert resolved(flag, x_y=value).to_argv(style, {}) == words
    assert resolved(flag, x_y=value).to_argv("hydra", {})[0].partition("=")[2] == value.title()


@pytest.mark.parametrize(
    ("arg", "value", "words"),
    [
        ("rate", "1", ["--rate", "1"]),
        ("r", "1", ["-r", "1"]),
        ("r", "-1", ["-r-1"]),
        ("-lr", "-1", ["-lr=-1"]),
        ("--rate", "-1", ["--rate=-1"]),
        (False, "1", []),
    ],
)
def test_arg_renames_or_hides(arg: Any, value: str, words: list[str]) -> None:
    assert resolved(Flag("x", type="int", arg=arg), x=value).to_argv("space", {}) == words


def test_a_flag_named_x_is_still_two_dashes() -> None:
    assert resolved(Flag("x", default=0.1)).to_argv("space", {}) == ["--x", "0.1"]


def test_left_out_without_value_without_variable_and_if_called_description() -> None:
    values = resolved(
        Flag("none"), Flag("rundir", default="$RUNDIR/x"), Flag("description", default="a run"),
        Flag("home", default="$HOME"),
    )  # fmt: skip
    assert values.to_argv("space", {}) == ["--home", "$HOME"]


def test_flags_of_the_source_are_passed_only_when_set() -> None:
    flag = Flag("found", default=3, declared=False)
    assert resolved(flag).to_argv("space", {}) == []
    assert resolved(flag, found="3").to_argv("space", {}) == ["--found", "3"]


def test_secrets_can_be_hidden_for_display() -> None:
    values = resolved(Flag("api_key", type="str"), api_key="s3cr3t")
    assert values.to_argv("equals", {}) == ["--api_key=s3cr3t"]
    assert values.to_argv("equals", {}, hide_secrets=True) == ["--api_key=(secret)"]
    assert values.to_env("env", {}, hide_secrets=True) == {"api_key": "(secret)"}


@given(st.lists(st.floats() | st.integers(-(10**6), 10**6), max_size=5))
def test_argparse_reads_back_any_number(numbers: list[float]) -> None:
    from argparse import ArgumentParser

    flags = [Flag(f"f{i}", default=number) for i, number in enumerate(numbers)]
    parser = ArgumentParser()
    for flag in flags:
        parser.add_argument(f"--{flag.name}", type=float if flag.kind == "float" else int)
    for style in ("space", "equals"):
        read = vars(parser.parse_args(resolved(*flags).to_argv(style, {})))
        assert [repr(v) for v in read.values()] == [repr(n) for n in numbers]


# -- With the script's source ------------------------------------------------------------------


def test_declaration_is_completed_from_the_source() -> None:
    declared = {
        "epochs": Flag("epochs", default=10, help="passes"),
        "batch_size": Flag("batch_size", default=100),
        "fast": Flag("fast", default=True),
    }
    found = {
        "fast": Flag("fast", type="bool", default=False, switch=True, required=True),
        "lr": Flag("lr", type="float", default=0.1),
        "batch-size": Flag("batch-size", type="int", arg="--batch-size", help="examples"),
        "epochs": Flag("epochs", type="float", default=5, choices=(5, 10), help="other"),
    }
    merged = merge_script_flags(declared, found)
    assert list(merged) == ["epochs", "batch_size", "fast", "lr"]
    assert merged["epochs"] == Flag(
        "epochs", default=10, type="float", choices=(5, 10), help="passes"
    )
    assert merged["batch_size"] == Flag(
        "batch_size", default=100, type="int", arg="--batch-size", help="examples"
    )
    assert merged["fast"] == Flag("fast", default=True, type="bool", switch=True)
    assert merged["lr"] == Flag("lr", default=0.1, type="float", declared=False)


def test_completed_flags_reach_the_script_in_its_spelling() -> None:
    merged = merge_script_flags(
        {"batch_size": Flag("batch_size", default=100)}, {"batch-size": Flag("batch-size")}
    )
    assert resolve_flags(merged).to_argv("space", {}) == ["--batch-size", "100"]


def test_a_default_the_script_would_refuse_is_refused_before_the_start() -> None:
    merged = merge_script_flags({"n": Flag("n", default="auto")}, {"n": Flag("n", type="int")})
    with pytest.raises(FlagError, match="flag `n` expects an integer, got `auto`"):
        resolve_flags(merged)
