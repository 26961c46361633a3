"""`gl serve`: from a run directory to a server, in the order that tells of trouble soonest."""

from __future__ import annotations

import json
import os
import shlex
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from guildlite.errors import GuildliteError
from guildlite.serve.find import find_model, printable

if TYPE_CHECKING:
    from guildlite.serve.engine import Engine
    from guildlite.serve.find import ModelFile

#: A request kept beside the model, or in the run directory, is a better example than zeros.
EXAMPLE_NAME = "request.json"
_MAX_EXAMPLE_BYTES = 1024 * 1024


def serve_run(
    run_dir: Path,
    *,
    name: str,
    host: str = "127.0.0.1",
    port: int = 6444,
    file: str | None = None,
    trust: bool = False,
    check: bool = False,
    token: str | None = None,
    out: Callable[[str], None],
) -> int:
    """Serve the model of the run called `name` until a signal; return the exit status.

    host: beyond loopback a token is demanded, made when `token` is None, and printed; a given
        one is printed as $GL_TOKEN.
    port: 0 takes any free one.
    file: path of the model in the run, when it has several.
    trust: nothing served so far runs code when loaded, so this changes nothing yet.
    check: load, warm up, predict, say what the model takes and gives, and return without serving.
    out: gets each line for people.

    Returns 0 after SIGTERM or a check, 130 after Ctrl-C. Raises GuildliteError with a message for
    people when there is no model, several, a broken one, the token is too short, or the port is
    taken.
    """
    # Everything heavy is imported once it is clear that there is something to serve.
    model = find_model(run_dir, name=name, file=file)
    if check:
        return _check(model, run_dir, name, out)
    from guildlite.http import LOOPBACK, HttpServer, Tokens, base_url, exit_status, listen
    from guildlite.serve.app import create_app

    tokens = None if token is None and host in LOOPBACK else Tokens(token)
    with listen(host, port) as sock:
        engine, example = _load(model, run_dir, name, out)
        app = create_app(
            engine,
            title=name,
            file=model.relative,
            example=example.read_bytes() if example else None,
            bind_host=host,
            tokens=tokens,
        )
        server = HttpServer(app, sock)
        url = base_url(host, server.port)
        # A token that somebody chose is theirs to know and need not stand in a scrollback.
        secret = "$GL_TOKEN" if token is not None else tokens.secret if tokens else None

        def announce() -> None:
            page = f"{url}/?token={tokens.issue_code()}" if tokens else url
            out(f"serving `{printable(model.relative)}` of {name} at {page}")
            _describe(out, engine)
            _say_how_to_try(out, url, secret, example)

        try:
            ended_by = server.run(announce)
        finally:
            engine.close()
    return exit_status(ended_by)


def _load(
    model: ModelFile, run_dir: Path, name: str, out: Callable[[str], None]
) -> tuple[Engine, Path | None]:
    """Return the warm engine, and the example request in the run if the model takes it."""
    from guildlite.serve.engine import Engine
    from guildlite.serve.runtimes import load_model

    engine = Engine(load_model(model, run_dir=run_dir, name=name))
    example = _find_example(model, run_dir)
    if example is not None:
        try:
            engine.warm_up(example.read_bytes())
            return engine, example
        except (GuildliteError, OSError) as error:
            out(f"`{printable(example.name)}` is not an example for this model: {error}")
    try:
        engine.warm_up()
    except GuildliteError as error:
        # Zeros may be outside of what a sound model takes, so this is no reason to stop.
        out(f"the model does not take an instance of zeros: {error}")
    return engine, None


def _find_example(model: ModelFile, run_dir: Path) -> Path | None:
    for folder in dict.fromkeys((model.path.parent, run_dir)):
        path = folder / EXAMPLE_NAME
        try:
            if path.is_file() and path.resolve().is_relative_to(run_dir.resolve()):
                return path if path.stat().st_size <= _MAX_EXAMPLE_BYTES else None
        except OSError:
            continue
    return None


def _check(model: ModelFile, run_dir: Path, name: str, out: Callable[[str], None]) -> int:
    from guildlite.serve.engine import Engine
    from guildlite.serve.instances import to_plain
    from guildlite.serve.runtimes import load_model

    begin = time.perf_counter()
    engine = Engine(load_model(model, run_dir=run_dir, name=name))
    loaded_s = time.perf_counter() - begin
    try:
        answer = engine.warm_up()
        out(f"`{printable(model.relative)}` of {name} can be served")
        _describe(out, engine)
        out(f"  loaded   in {loaded_s * 1000:.0f} ms, predicts in {engine.stats.mean_ms:.2f} ms")
        for output, array in answer.items():
            text = json.dumps(to_plain(array), default=repr)
            out(
                f"  zeros    {printable(output)} = {text if len(text) <= 60 else text[:57] + '...'}"
            )
    finally:
        engine.close()
    return 0


def _describe(out: Callable[[str], None], engine: Engine) -> None:
    for words, specs in (("inputs", engine.info.inputs), ("outputs", engine.info.outputs)):
        out(f"  {words:<8} {printable(', '.join(str(spec) for spec in specs))}")


def _say_how_to_try(
    out: Callable[[str], None], url: str, secret: str | None, example: Path | None
) -> None:
    out("try it:")
    curl = f'curl -H "Authorization: Bearer {secret}"' if secret else "curl"
    if example:
        out(f"  {curl} {url}/run -d @{shlex.quote(_shortest(example))}")
    else:
        out(f"  {curl} -s {url}/example | {curl} {url}/run -d @-")
    out("Ctrl-C stops")


def _shortest(path: Path) -> str:
    """Return the path as people would type it: relative when that is shorter."""
    return min(os.path.relpath(path), os.path.abspath(path), key=len)
