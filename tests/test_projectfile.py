"""The project file: what is accepted, and one positioned message for whatever is not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from guildlite import yamlnodes
from guildlite.errors import ProjectFileError
from guildlite.project import load_project
from guildlite.projectfile import parse_project, read_project_file
from guildlite.projectkeys import iter_keys, json_schema, resolve

EXAMPLE = Path(__file__).parents[1] / "project.yml.example"


def failure(text: str | bytes, tmp_path: Path) -> ProjectFileError:
    """Write the text to a file and return the error of reading it."""
    path = tmp_path / "project.yml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    with pytest.raises(ProjectFileError) as caught:
        read_project_file(path)
    assert caught.value.path == str(path)
    assert caught.value.message.startswith(f"{path}:")
    return caught.value


# Each with the line, the column and the key that are wrong, and a word of the message.
BAD: dict[str, tuple[str, int, int, str | None, str]] = {
    "empty": ("", 1, 1, None, "the file is empty"),
    "only comments": ("# nothing\n", 1, 1, None, "the file is empty"),
    "null": ("null\n", 1, 1, None, "the file is empty"),
    "list at top": ("- a\n- b\n", 1, 1, None, "is a mapping, this is a list"),
    "text at top": ("digits\n", 1, 1, None, "is a mapping, this is the text `digits`"),
    "tab": ("flags:\n\tlr: 1\n", 2, 1, None, "a tab cannot indent"),
    "tab after text": ("name: a\n\truns: b\n", 2, 1, None, "a tab cannot indent"),
    "NUL": ("name: a\nruns: b\0\n", 2, 8, None, "a NUL character"),
    "escaped NUL": ('name: a\nruns: "b\\0"\n', 2, 7, None, "a NUL character"),
    "control character": ("name: \x1b[1m\n", 1, 7, None, "control character U+001B"),
    "two documents": ("name: a\n---\nname: b\n", 2, 1, None, "a second document"),
    "open bracket": ("view:\n  fields: [a, b\nruns: x\n", 3, 5, None, "expect"),
    "bare star": ("models:\n  a:\n    train: {run: x, sources: [*.py]}\n", 3, 31, None,
                  "text cannot begin with `*`"),
    "bare at": ("name: @x\n", 1, 7, None, "text cannot begin with `@`"),
    "colon in text": ("name: a: b\n", 1, 8, None, "second `:`"),
    "unknown alias": ("name: *x\n", 1, 7, None, "alias `*x` has no anchor"),
    "alias of itself": ("models: &m\n  a: {train: *m}\n", 2, 14, None, "inside itself"),
    "merge key": ("models:\n  a: &a {train: x}\n  b:\n    <<: *a\n", 4, 5, "models.b.<<",
                  "merge keys"),
    "too deep": ("view: " + "[" * 70 + "]" * 70 + "\n", 1, 70, None, "nested more than 64 deep"),
    "tag": ("name: !!python/object/apply:os.system [echo pwned]\n", 1, 7, "name",
            "tags such as `!!python/object/apply:os.system`"),
    "own tag": ("flags:\n  lr: !float 1\n", 2, 7, "flags.lr", "tags such as `!float`"),
    "duplicate key": ("name: a\nruns: b\nname: c\n", 3, 1, "name", "twice, first on line 1"),
    "duplicate flag": ("flags:\n  lr: 1\n  lr: 2\n", 3, 3, "flags.lr", "twice, first on line 2"),
    "unknown key": ("nam: a\n", 1, 1, "nam", "key `nam` is not known"),
    "unknown key in a model": ("models:\n  intro:\n    trian: x\n", 3, 5, "models.intro.trian",
                               "not known in `models.intro`"),
    "unknown key of a flag": ("flags:\n  lr: {default: 1, mim: 0}\n", 2, 20, "flags.lr.mim",
                              "key `mim` is not known"),
    "list as key": ("? [a]\n: b\n", 1, 3, None, "a key must be plain text"),
    "number for text": ("name: 2026\n", 1, 7, "name", "expects text, got the number `2026`"),
    "nothing for text": ("runs: x\nname:\n", 2, 1, "name", "expects text, got nothing"),
    "list for text": ("name: [a]\n", 1, 7, "name", "expects text, got a list"),
    "text for number": ("interval: fast\n", 1, 11, "interval", "a number above 0, got the text"),
    "zero interval": ("interval: 0\n", 1, 11, "interval", "a number above 0, got the number `0`"),
    "endless interval": ("interval: .inf\n", 1, 11, "interval", "a number above 0"),
    "list for mapping": ("models: [a]\n", 1, 9, "models", "expects a mapping of models"),
    "yes for true": ("models: {a: {train: x, default: yes}}\n", 1, 33, "models.a.default",
                     "expects `true` or `false`, got the text `yes`"),
    "unknown type": ("flags:\n  lr: {type: flaot}\n", 2, 14, "flags.lr.type", "one of `int`"),
    "unknown style": ("models: {a: {train: {run: x, flag_style: dash}}}\n", 1, 42,
                      "models.a.train.flag_style", "one of `space`"),
    "unknown goal": ("metrics:\n  loss: {goal: low}\n", 2, 16, "metrics.loss.goal",
                     "one of `min`, `max`, got the text `low`"),
    "bad format": ("metrics: {acc: {format: '%.2f'}}\n", 1, 25, "metrics.acc.format",
                   "not a number format"),
    "dashes in a flag": ("flags: {--lr: 1}\n", 1, 9, "flags.--lr", "not a valid flag name"),
    "space in a model": ("models:\n  a b: x\n", 2, 3, "models.a b", "not a valid model name"),
    "operation in a model name": ("models: {a:b: x}\n", 1, 10, "models.a:b", "valid model name"),
    "quotation in a command": ("models: {a: {train: x 'y}}\n", 1, 21, "models.a.train",
                               "not a command line: no closing quotation"),
    "empty command": ("models: {a: {train: ''}}\n", 1, 21, "models.a.train", "is empty"),
    "no command": ("models:\n  a:\n    train:\n", 3, 5, "models.a.train", "needs `run`"),
    "long form without run": ("models:\n  a:\n    train: {flag_style: equals}\n", 3, 12,
                              "models.a.train", "needs `run`"),
    "operation twice": ("models: {a: {train: x, operations: {train: y}}}\n", 1, 44,
                        "models.a.operations.train", "defines `train` twice"),
    "resource without prepare": ("resources:\n  s: {description: x}\n", 2, 6, "resources.s",
                                 "needs `prepare`"),
    "chart without series": ("view:\n  charts:\n    - {title: Loss}\n", 3, 7, "view.charts.0",
                             "needs `series`"),
    "bad expression": ("view: {charts: [{series: '('}]}\n", 1, 26, "view.charts.0.series",
                       "not a regular expression"),
    "extends unknown": ("models:\n  intro: x\n  b: {extends: intor}\n", 3, 16, "models.b.extends",
                        "extends `intor`, which is not a model"),
    "extends itself": ("models:\n  a: {extends: a}\n", 2, 16, "models.a.extends",
                       "circle: `a` extends `a`"),
    "extends in a circle": (
        "models:\n  z: {extends: b}\n  a: {extends: b}\n  b: {extends: c}\n  c: {extends: a}\n",
        3, 16, "models.a.extends", "circle: `a` extends `b` extends `c` extends `a`"),
    "too many bases": (
        "models:\n  m0: x\n" + "".join(f"  m{n}: {{extends: m{n - 1}}}\n" for n in range(1, 99)),
        66, 18, "models.m64.extends", "stands on more than 64 others"),
    "two defaults": ("models:\n  a: {train: x, default: true}\n  b: {train: x, default: true}\n",
                     3, 26, "models.b.default", "`b` is marked `default: true` like `a`"),
    "two primary metrics": ("metrics:\n  a: {primary: true}\n  b: {primary: true}\n", 3, 16,
                            "metrics.b.primary", "`b` is marked `primary: true` like `a`"),
    "min over max": ("flags:\n  x: {min: 2, max: 1}\n", 2, 12, "flags.x.min",
                     "`min` 2 is greater than `max` 1"),
    "default out of bounds": ("flags:\n  x: {default: 5, max: 1}\n", 2, 16, "flags.x.default",
                              "an integer of at most 1, got `5`"),
    "default no choice": ("flags:\n  x: {default: c, choices: [a, b]}\n", 2, 16,
                          "flags.x.default", "one of `a`, `b`, got `c`"),
    "default of another type": ("flags:\n  x: {default: ten, type: int}\n", 2, 16,
                                "flags.x.default", "an integer, got `ten`"),
    "choice of another type": ("flags:\n  x: {type: int, choices: [1, b]}\n", 2, 27,
                               "flags.x.choices", "an integer, got `b`"),
    "choice twice": ("flags:\n  x: {choices: [1, 2, 1]}\n", 2, 23, "flags.x.choices.2", "twice"),
    "no choice": ("flags:\n  x: {choices: []}\n", 2, 16, "flags.x.choices", "empty list"),
    "switch of type int": ("flags:\n  x: {type: int, switch: true}\n", 2, 26, "flags.x.switch",
                           "must be of type `bool`"),
    "arg true": ("flags:\n  x: {arg: true}\n", 2, 12, "flags.x.arg", "text or `false`"),
    "list as value": ("flags:\n  lr: [0.1, 0.01]\n", 2, 7, "flags.lr", "sweeps are not there"),
    "range as value": ("flags:\n  lr: range[1:5]\n", 2, 7, "flags.lr", "sweeps are not there"),
    "list in a profile": ("profiles:\n  q:\n    lr: [1, 2]\n", 3, 9, "profiles.q.lr", "sweeps"),
    "mapping in a profile": ("profiles:\n  q: {lr: {default: 1}}\n", 2, 11, "profiles.q.lr",
                             "expects one value"),
    "bounds of the project, default of the model": (
        "flags: {n: {default: 1, max: 9}}\nmodels:\n  a:\n    train: x\n    flags: {n: 10}\n",
        5, 16, "models.a.flags.n", "an integer of at most 9, got `10`"),
    "bounds of the base, default of the operation": (
        "models:\n  a: {train: x, flags: {n: {default: 1, max: 9}}}\n"
        "  b: {extends: a, train: {run: y, flags: {n: 10}}}\n",
        3, 46, "models.b.train.flags.n", "an integer of at most 9, got `10`"),
    "column twice": ("collect: {m.csv: [step, loss, loss]}\n", 1, 31, "collect.m.csv.2", "twice"),
    "broken elsewhere": ("models:\n  b: {extends: a, train: {flag_style: env}}\n"
                         "  a: {train: [x]}\n", 3, 14, "models.a.train", "expects a command line"),
    "no columns": ("collect: {m.csv: []}\n", 1, 18, "collect.m.csv", "empty list"),
    "env of lists": ("models: {a: {train: x, env: {A: [1]}}}\n", 1, 33, "models.a.env.A",
                     "expects text, got a list"),
    "first of several": ("name: x\nflags:\n  a: {min: 2, max: 1}\n  b: {typ: int}\nruns: 5\n",
                         3, 12, "flags.a.min", "greater than"),
    "wide characters before": ("flags: {é: 1, 'ü😀': [1]}\n", 1, 21, "flags.ü😀", "sweeps"),
    "windows line ends": ("name: a\r\nruns: b\r\nnam: c\r\n", 3, 1, "nam", "not known"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_files(case: str, tmp_path: Path) -> None:
    text, line, column, key, words = BAD[case]
    error = failure(text, tmp_path)
    assert (error.line, error.column, error.key) == (line, column, key)
    assert words in error.message
    assert not error.message.endswith(".")
    assert error.exit_code == 2


# Which the parser is depends on how PyYAML was built; errors of the text itself are worded by it.
@pytest.mark.parametrize("case", [case for case in BAD if case != "control character"])
def test_the_parser_in_python_reports_the_same(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(yamlnodes, "_LOADER", yaml.SafeLoader)
    text, line, column, key, words = BAD[case]
    error = failure(text, tmp_path)
    assert (error.line, error.column, error.key) == (line, column, key)
    assert words in error.message


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("nam: x\n", "did you mean `name`?"),
        ("models: {a: {trian: x}}\n", "did you mean `train`?"),
        ("flags: {x: {type: integer}}\n", "did you mean `int`?"),
        ("flags: {x: {type: zzz}}\n", None),
        ("flags: {x: {type: flot}}\n", "did you mean `float`?"),
        ("name: 5\n", 'put it in quotes: `"5"`'),
        ("models: {a: {default: Yes}}\n", "write `true`"),
        ("flags: {--lr: 1}\n", "write it without dashes: `lr`"),
        ("s: [*.py]\n", 'put it in quotes, as in `"*.py"`'),
        ("models: {intro: x, b: {extends: intor}}\n", "did you mean `intro`?"),
        ("", "`gl init` writes a commented one"),
    ],
)
def test_hints(text: str, hint: str | None, tmp_path: Path) -> None:
    assert failure(text, tmp_path).hint == hint


def test_nothing_is_run_by_a_tag(tmp_path: Path) -> None:
    witness = tmp_path / "pwned"
    failure(f"name: !!python/object/apply:os.system ['touch {witness}']\n", tmp_path)
    assert not witness.exists()


def test_alias_bomb(tmp_path: Path) -> None:
    lines = ["a: &a [x, x, x, x, x, x, x, x, x]"]
    for name, below in zip("bcdefghi", "abcdefgh", strict=True):
        lines.append(f"{name}: &{name} [{', '.join([f'*{below}'] * 9)}]")
    error = failure("\n".join(lines), tmp_path)
    # Line by line aliases add 90, 819, 7,380 nodes; the first of the next adds 7,381 more.
    assert error.line == 5
    assert "aliases add more than 10,000 nodes" in error.message


def test_aliases_in_reason_are_accepted() -> None:
    data = parse_project(
        "models:\n  a: {train: x, flags: &f {lr: 1}}\n  b: {train: y, flags: *f}\n"
    )
    assert data["models"]["b"]["flags"] == {"lr": 1}


def test_huge_file_is_refused_without_reading_it(tmp_path: Path) -> None:
    path = tmp_path / "project.yml"
    with path.open("wb") as file:
        file.truncate(100 * 1024 * 1024)
    with pytest.raises(ProjectFileError, match="104,857,600 bytes long, more than 1,048,576"):
        read_project_file(path)


def test_size_limit_is_one_mebibyte(tmp_path: Path) -> None:
    path = tmp_path / "project.yml"
    text = b"name: x\n#"
    path.write_bytes(text + b"y" * ((1 << 20) - len(text)))
    assert read_project_file(path) == {"name": "x"}
    with path.open("ab") as file:
        file.write(b"y")
    with pytest.raises(ProjectFileError, match="1,048,577 bytes"):
        read_project_file(path)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_other_encodings(encoding: str, tmp_path: Path) -> None:
    error = failure("name: x\n".encode(encoding), tmp_path)
    assert "UTF-8" in str(error.hint)
    assert error.line == 1


def test_bytes_that_are_not_utf_8(tmp_path: Path) -> None:
    error = failure("name: ä\nruns: ".encode() + b"\xff\n", tmp_path)
    assert (error.line, error.column) == (2, 7)
    assert "byte 0xff is not UTF-8" in error.message


def test_byte_order_mark_of_utf_8_is_accepted(tmp_path: Path) -> None:
    path = tmp_path / "project.yml"
    path.write_bytes(b"\xef\xbb\xbfname: x\n")
    assert read_project_file(path) == {"name": "x"}
    assert failure(b"\xef\xbb\xbfnam: x\n", tmp_path).column == 1


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(ProjectFileError, match="there is no such project file"):
        read_project_file(tmp_path / "project.yml")
    with pytest.raises(ProjectFileError, match="not a regular file"):
        read_project_file(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ProjectFileError, match="not a regular file"):
        read_project_file(tmp_path / "pipe")


# -- What is accepted --------------------------------------------------------------------------


def test_scalars_are_those_of_yaml_1_2() -> None:
    text = 'flags: {a: no, b: 12:30, c: 1e-3, d: "5", e: 0o17, f: on, g: null, h: TRUE}\n'
    assert parse_project(text)["flags"] == {
        "a": "no", "b": "12:30", "c": 0.001, "d": "5", "e": 15, "f": "on", "g": None, "h": True,
    }  # fmt: skip


def test_values_of_text_flags_stay_as_written() -> None:
    data = parse_project(
        "flags:\n  zip: {type: str, default: 007, choices: [007, 1e3, true]}\n  n: 007\n"
        "profiles: {p: {zip: 1e3, n: 1e3}}\nmodels: {m: {train: x, flags: {zip: true}}}\n"
    )
    assert data["flags"]["zip"]["default"] == "007"
    assert data["flags"]["zip"]["choices"] == ["007", "1e3", "true"]
    assert data["flags"]["n"] == 7
    assert data["profiles"]["p"] == {"zip": "1e3", "n": 1000.0}
    assert data["models"]["m"]["flags"]["zip"] == "true"


def test_environment_is_text_as_written() -> None:
    data = parse_project("models: {m: {train: x, env: {A: 1, B: 007, C: true, D: 'x', E: }}}\n")
    assert data["models"]["m"]["env"] == {"A": "1", "B": "007", "C": "true", "D": "x", "E": ""}


def test_keys_are_text_as_written() -> None:
    assert list(parse_project("flags: {1: a, on: b, true: c}\n")["flags"]) == ["1", "on", "true"]


def test_empty_sections_and_single_items_are_accepted() -> None:
    data = parse_project("flags:\nmodels:\n  m:\n    train: x\n    requires: ./data\nview:\n")
    assert data == {"flags": {}, "models": {"m": {"train": "x", "requires": "./data"}}, "view": {}}
    assert resolve(data)["models"]["m"]["requires"] == ["./data"]


def test_profiles_may_name_flags_that_only_the_script_knows() -> None:
    assert parse_project("profiles: {q: {hidden: 3}}\n") == {"profiles": {"q": {"hidden": 3}}}


PROJECT_LIKE = st.recursive(
    st.sampled_from(["x", "1", "0.5", "true", "no", "null", "'a b'", "[1, 2]", "min", "int", ""]),
    lambda inner: st.dictionaries(
        st.sampled_from(
            ["name", "flags", "models", "profiles", "train", "run", "extends", "default", "type",
             "min", "a", "b", "metrics", "goal", "view", "charts", "series", "operations", "env",
             "resources", "prepare", "choices", "collect"]
        ), inner, max_size=4,
    ).map(lambda d: "{" + ", ".join(f"{k}: {v}" for k, v in d.items()) + "}"),
    max_leaves=12,
)  # fmt: skip


@given(
    st.binary(max_size=200) | st.text(max_size=200).map(str.encode) | PROJECT_LIKE.map(str.encode)
)
def test_any_bytes_are_a_project_or_one_error(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "project.yml")
        path.write_bytes(content)
        try:
            project = load_project(path)
        except ProjectFileError as error:
            assert error.path == str(path)
            return
    again = json.loads(json.dumps(project.data))
    assert again == project.data or "NaN" in json.dumps(project.data)
    assert project.resolved() == resolve(project.resolved()) or "NaN" in json.dumps(project.data)


# -- Schema, reference, example ----------------------------------------------------------------


def schema_keys(schema: dict[str, Any]) -> set[str]:
    """All property names of a JSON Schema, as `record.key` (`project` for the top)."""
    records = {"project": schema, **schema["$defs"]}
    found = set()
    for noun, record in records.items():
        long = record["anyOf"][0] if "anyOf" in record else record
        assert long["additionalProperties"] is False
        found |= {f"{noun}.{name}" for name in long["properties"]}
    return found


def used_keys(data: dict[str, Any]) -> set[str]:
    """The same names for the keys that a resolved project uses."""
    found: set[str] = set()

    def take(noun: str, record: dict[str, Any]) -> None:
        found.update(f"{noun}.{name}" for name in record)
        for flag in record.get("flags", {}).values():
            take("flag", flag)

    take("project", data)
    for model in data["models"].values():
        take("model", model)
        for operation in model["operations"].values():
            take("operation", operation)
    for resource in data["resources"].values():
        take("resource", resource)
        take("operation", resource["prepare"])
    for metric in data["metrics"].values():
        take("metric", metric)
    take("view", data["view"])
    for chart in data["view"]["charts"]:
        take("chart", chart)
    return found


def test_example_uses_every_key_and_fits_the_schema() -> None:
    data = read_project_file(EXAMPLE)
    schema = json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(data, schema)
    resolved = resolve(data)
    jsonschema.validate(resolved, schema)
    # Resolving writes these away: main operations go under `operations`, bases are filled in.
    written = {"model.prepare", "model.train", "model.evaluate", "model.extends"}
    models = data["models"].values()
    assert {f"model.{name}" for model in models for name in model} >= written
    assert used_keys(resolved) | written == schema_keys(schema)


def test_schema_accepts_exactly_the_keys_that_the_file_accepts() -> None:
    validator = jsonschema.Draft202012Validator(json_schema())
    for text in ("nam: x", "flags: {a: {mim: 1}}", "models: {a: {tran: x}}", "view: {x: []}",
                 "metrics: {a: {best: max}}", "models: {a: {train: {run: x, flag: y}}}",
                 "resources: {a: {make: x}}", "view: {charts: [{name: x}]}"):  # fmt: skip
        assert not validator.is_valid(yaml.safe_load(text))
        with pytest.raises(ProjectFileError, match="is not known"):
            parse_project(text)


def test_reference_lists_every_key_of_the_schema_with_help() -> None:
    docs = list(iter_keys())
    assert len({doc.path for doc in docs}) == len(docs)
    assert all(doc.help and doc.type for doc in docs)
    assert len(docs) == len(schema_keys(json_schema()))
    by_path = {doc.path: doc for doc in docs}
    assert by_path["interval"].default == "5"
    assert by_path["models.NAME.train"].type == "a command line, or a mapping for the operation"
    assert "flags.NAME.scale" in by_path
    assert "view.charts[].series" in by_path


def test_resolved_data_is_a_project_file_again() -> None:
    resolved = resolve(read_project_file(EXAMPLE))
    again = parse_project(yaml.safe_dump(resolved, sort_keys=False))
    assert resolve(again) == resolved == again


def test_the_schema_needs_no_yaml() -> None:
    code = "import sys, guildlite.projectkeys as k; k.json_schema(); print('yaml' in sys.modules)"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "False"
