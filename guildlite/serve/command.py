"""`gl serve`: from a run directory to a server, in the order that tells of trouble soonest."""

from __future__ import annotations

import gc
import json
import os
import shlex
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from guildlite.errors import GuildliteError
from guildlite.serve.find import MAX_LISTED, ModelFile, find_model, list_models, model_files
from guildlite.serve.kinds import KINDS
from guildlite.serve.limits import Limits
from guildlite.serve.model import printable
from guildlite.serve.signature import Signature, read_signature
from guildlite.serve.trust import check_trust

if TYPE_CHECKING:
    import socket

    from guildlite.http import Guard, HttpServer, Tokens
    from guildlite.serve.engine import Engine
    from guildlite.serve.model import ModelRuntime

#: A request kept beside the model, or in the run directory, is a better example than zeros.
EXAMPLE_NAME = "request.json"
_MAX_EXAMPLE_BYTES = 1024 * 1024

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Source:
    """Which model to load.

    run_dir, name, uid: the run. file: path of the model in it, when it has several.
    predictor: `module:name` of the user's own code instead, looked for in `folder` first.
    trust: the models of this run may run code; those that a run made here need no such word.
    served_as: the model's name for clients, by default that of the run.
    """

    run_dir: Path
    name: str
    uid: str = ""
    file: str | None = None
    predictor: str | None = None
    folder: Path = field(default_factory=Path.cwd)
    trust: bool = False
    served_as: str | None = None


def serve_run(
    source: Source,
    *,
    host: str = "127.0.0.1",
    port: int = 6444,
    token: str | None = None,
    limits: Limits | None = None,
    out: Say,
) -> int:
    """Serve a model until a signal; return the exit status.

    host: beyond loopback a token is demanded, made when `token` is None, and printed; a given
        one is printed as $GL_TOKEN.
    port: 0 takes any free one.
    out: gets each line for people.

    Returns 0 after SIGTERM, 130 after Ctrl-C. Raises GuildliteError with a message for people when
    there is no model, several, one that is not trusted or broken, the token is too short, or the
    port is taken.
    """
    # Everything heavy is imported once it is clear that there is something to serve.
    candidate = _Candidate(source)
    from guildlite.http import LOOPBACK, HttpServer, Tokens, base_url, exit_status, listen

    tokens = None if token is None and host in LOOPBACK else Tokens(token)
    limits = limits or Limits()
    with listen(host, port) as sock:
        engine, example = candidate.start(limits, out)
        app = candidate.make_app(engine, example, limits, host=host, tokens=tokens)
        server = HttpServer(app, sock)
        url = base_url(host, server.port)
        # A token that somebody chose is theirs to know and need not stand in a scrollback.
        secret = "$GL_TOKEN" if token is not None else tokens.secret if tokens else None

        def announce() -> None:
            page = f"{url}/?token={tokens.issue_code()}" if tokens else url
            out(f"serving `{printable(candidate.shown)}` of {source.name} at {page}")
            _describe(out, engine)
            _say_how_to_try(out, url, secret, example)

        return exit_status(_run(server, engine, announce))


def serve_behind(
    source: Source, sock: socket.socket, *, secret: str, on_ready: Callable[[], None], out: Say
) -> int:
    """Serve a model on a socket of loopback to whoever has the secret; return the exit status.

    The client is another server (`http.behind`), which says in a header where its pages are.
    Otherwise as `serve_run`.
    """
    candidate = _Candidate(source)
    from guildlite.http import HttpServer, Tokens, exit_status

    limits = Limits()
    engine, example = candidate.start(limits, out)
    app = candidate.make_app(engine, example, limits, tokens=Tokens(secret), behind=True)
    return exit_status(_run(HttpServer(app, sock), engine, on_ready))


def _run(server: HttpServer, engine: Engine, on_ready: Callable[[], None]) -> int:
    """Serve until a signal and close the engine; return the signal's number."""
    # What was imported and loaded stays: the collector need not look at it with every request.
    gc.collect()
    gc.freeze()
    try:
        return server.run(on_ready, engine.drain)
    finally:
        gc.unfreeze()
        engine.close()


def check_run(source: Source, *, limits: Limits | None = None, out: Say) -> int:
    """Load, warm up, predict once, say what the model takes and gives; return the exit status."""
    from guildlite.serve.instances import to_plain

    candidate = _Candidate(source)
    begin = time.perf_counter()
    engine = candidate.load(limits or Limits())
    loaded_s = time.perf_counter() - begin
    try:
        if engine.info.free:
            out(f"`{printable(candidate.shown)}` of {source.name} can be served")
            out("  inputs   not declared, so that nothing was predicted")
            return 0
        answer = engine.warm_up()
        out(f"`{printable(candidate.shown)}` of {source.name} can be served")
        _describe(out, engine)
        out(f"  loaded   in {loaded_s * 1000:.0f} ms, predicts in {engine.stats.mean_ms:.2f} ms")
        for output, array in answer.items():
            text = json.dumps(to_plain(array), default=repr)
            text = text if len(text) <= 60 else text[:57] + "..."
            out(f"  zeros    {printable(output)} = {text}")
    finally:
        engine.close()
    return 0


def print_request(source: Source, *, limits: Limits | None = None) -> str:
    """Return a request that the model answers, as JSON text: the kept example, else zeros."""
    from guildlite.serve.app import example_request

    candidate = _Candidate(source)
    engine = candidate.load(limits or Limits())
    try:
        example = candidate.warm_up(engine, lambda _: None)
        body = example.body if example else example_request(engine)
        if body is None:
            raise GuildliteError(
                f"`{printable(candidate.shown)}` does not say what it takes",
                hint="declare `inputs` in the predictor, or an `example` in the signature file",
            )
        return body.decode().strip()
    finally:
        engine.close()


def describe_models(run_dir: Path) -> list[dict[str, object]]:
    """Return what `gl serve --list` shows of each model in a run, likeliest first.

    `missing` is the extra to install, None when nothing is missing or the format is not served.
    """
    entries: list[dict[str, object]] = []
    for model in list_models(run_dir):
        kind = KINDS[model.kind]
        absent = any(not find_spec(package) for package in kind.packages)
        entries.append(
            {
                "file": model.relative,
                "kind": model.kind,
                "words": kind.words,
                "trust": kind.trust,
                "served": kind.served,
                "missing": kind.extra if kind.served and absent else None,
                "signature": model.described,
            }
        )
    return entries


@dataclass(frozen=True, slots=True)
class _Example:
    """A request that works; `path` is where it lies, None for that of the signature file."""

    body: bytes
    path: Path | None


class _Candidate:
    """What will be loaded, found and trusted; nothing of it has been loaded yet."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.model: ModelFile | None = None
        self.signature = Signature()
        if source.predictor is not None:
            self.shown = source.predictor
            return
        self.model = find_model(source.run_dir, name=source.name, file=source.file)
        self.shown = self.model.relative
        self._check_trust(self.model)
        self.signature = read_signature(self.model.path, source.run_dir)

    def load(self, limits: Limits) -> Engine:
        """Return an engine for the model; it is still cold."""
        from guildlite.serve.engine import Engine

        return Engine(self._runtime(limits.threads), limits)

    def start(self, limits: Limits, out: Say) -> tuple[Engine, _Example | None]:
        """Return a warm engine for the model and the run's own example request, if any."""
        engine = self.load(limits)
        return engine, self.warm_up(engine, out)

    def make_app(
        self,
        engine: Engine,
        example: _Example | None,
        limits: Limits,
        *,
        host: str = "127.0.0.1",
        tokens: Tokens | None,
        behind: bool = False,
    ) -> Guard:
        """Return the server's application; the arguments are those of `app.create_app`."""
        from guildlite.serve.app import create_app

        return create_app(
            engine,
            title=self.source.name,
            file=self.shown,
            example=example.body if example else None,
            signature=self.signature,
            bind_host=host,
            tokens=tokens,
            max_body_bytes=limits.max_body_bytes,
            behind=behind,
            others=self._others() if behind else (),
        )

    def _others(self) -> list[str]:
        """Return the models of the run to choose from, this one included; none for only one."""
        files = model_files(self.source.run_dir)
        return files[:MAX_LISTED] if self.model is not None and len(files) > 1 else []

    def warm_up(self, engine: Engine, out: Say) -> _Example | None:
        """Warm the engine up; return the run's own example request if the model takes it."""
        if engine.info.free:
            return None
        for example in self._examples():
            try:
                engine.warm_up(example.body)
                return example
            except GuildliteError as error:
                name = example.path.name if example.path else "the signature file's example"
                out(f"`{printable(name)}` is not an example for this model: {error}")
        try:
            engine.warm_up()
        except GuildliteError as error:
            # Zeros may be outside of what a sound model takes, so this is no reason to stop.
            out(f"the model does not take an instance of zeros: {error}")
        return None

    def _check_trust(self, model: ModelFile) -> None:
        source = self.source
        if not KINDS[model.kind].needs_trust or source.trust:
            return
        from guildlite.runs.own import is_own_file

        own = is_own_file(source.run_dir, source.uid, model.path)
        check_trust(model, trusted=source.trust, own=own)

    def _runtime(self, threads: int | None) -> ModelRuntime:
        source = self.source
        name = source.name if source.served_as is None else source.served_as
        if self.model is None:
            from guildlite.serve.runtimes import limit_threads
            from guildlite.serve.runtimes.predictor import PredictorRuntime

            assert source.predictor is not None
            limit_threads(threads)
            return PredictorRuntime(
                source.predictor, folder=source.folder, run_dir=source.run_dir, name=name
            )
        from guildlite.serve.runtimes import load_model

        return load_model(
            self.model,
            run_dir=source.run_dir,
            name=name,
            signature=self.signature,
            threads=threads,
        )

    def _examples(self) -> list[_Example]:
        found = []
        if self.signature.example is not None:
            found.append(_Example(json.dumps(self.signature.example).encode(), None))
        run_dir = self.source.run_dir
        beside = self.model.path.parent if self.model else run_dir
        for folder in dict.fromkeys((beside, run_dir)):
            path = folder / EXAMPLE_NAME
            try:
                if path.is_file() and path.resolve().is_relative_to(run_dir.resolve()):
                    if path.stat().st_size <= _MAX_EXAMPLE_BYTES:
                        found.append(_Example(path.read_bytes(), path))
                    break
            except OSError:
                continue
        return found


def _describe(out: Say, engine: Engine) -> None:
    for words, specs in (("inputs", engine.info.inputs), ("outputs", engine.info.outputs)):
        said = ", ".join(str(spec) for spec in specs) or "not declared"
        out(f"  {words:<8} {printable(said)}")


def _say_how_to_try(out: Say, url: str, secret: str | None, example: _Example | None) -> None:
    out("try it:")
    curl = f'curl -H "Authorization: Bearer {secret}"' if secret else "curl"
    if example and example.path:
        out(f"  {curl} {url}/run -d @{shlex.quote(_shortest(example.path))}")
    else:
        out(f"  {curl} -s {url}/example | {curl} {url}/run -d @-")
    out("Ctrl-C stops")


def _shortest(path: Path) -> str:
    """Return the path as people would type it: relative when that is shorter."""
    return min(os.path.relpath(path), os.path.abspath(path), key=len)
