"""One tracker's side of `trackers.py`, run by the Python of that tracker's own environment.

    PYTHON trackers_side.py NAME fill FOLDER
    PYTHON trackers_side.py NAME ask FOLDER

`fill` writes the runs into FOLDER by the tracker's own means. `ask` makes the table and reads the
long series by its own means, once to warm up and then some times, and prints the seconds of CPU
time and of the clock as JSON. What was read is compared with what was written.

Python 3.10 and nothing but the standard library and that tracker.
"""

from __future__ import annotations

import json
import math
import os
import random
import sys
import time
from collections.abc import Callable
from typing import Any

RUNS, POINTS, LONG = 1000, 200, 100_000
TAGS = ("train/loss", "train/accuracy", "validation/loss", "validation/accuracy", "lr")
FLAGS = ("batch_size", "epochs", "optimizer", "rate", "seed")
#: Where a tracker is so slow that its table is made of some of the runs only.
SAMPLE = {"mlflow": 20}

#: (flags, last, min and max by tag) of a run.
Row = tuple[dict[str, str], dict[str, tuple[float, float, float]]]


def flags_of(number: int) -> dict[str, str]:
    draw = random.Random(number)
    values = (2 ** draw.randint(4, 8), 5, draw.choice(("adam", "sgd")), draw.random(), number % 5)
    return {name: str(value) for name, value in zip(FLAGS, values, strict=True)}


def points_of(number: int) -> dict[str, list[float]]:
    """Return the points of a run by tag: quarters, which every format holds exactly."""
    draw = random.Random(-1 - number)
    return {tag: [draw.randrange(4000) / 4 for _ in range(POINTS)] for tag in TAGS}


def long_series() -> list[float]:
    draw = random.Random("long")
    return [draw.randrange(4000) / 4 for _ in range(LONG)]


def checksum(rows: list[Row]) -> list[float]:
    """Return what shows that a table is whole: runs, flags, and the sums of its three columns."""
    sums = [math.fsum(value[n] for _, tags in rows for value in tags.values()) for n in range(3)]
    return [len(rows), sum(len(flags) for flags, _ in rows), *sums]


def expected(runs: int) -> list[float]:
    rows: list[Row] = []
    for number in range(runs):
        found = points_of(number)
        rows.append((flags_of(number), {t: (p[-1], min(p), max(p)) for t, p in found.items()}))
    return checksum(rows)


# Ours ---------------------------------------------------------------------------------------------


class Guildlite:
    def __init__(self, folder: str) -> None:
        self.root = os.path.join(folder, "runs")
        os.environ["GUILDLITE_CACHE"] = os.path.join(folder, "cache")

    def fill(self) -> None:
        from pathlib import Path

        from support.run_dirs import START, make_run

        from guildlite.runs import RunStore

        store = RunStore(Path(self.root))
        for number in range(RUNS):
            flags, started = flags_of(number), START + 60 * number
            make_run(store, flags=flags, started=started, series=points_of(number))
        make_run(store, "long", started=START - 60, series={"loss": long_series()})

    def table(self) -> Any:
        import guildlite

        return guildlite.runs("model != long", root=self.root).to_frame()

    def rows(self, frame: Any) -> list[Row]:
        return [
            (
                {name: row[f"flag.{name}"] for name in FLAGS},
                {tag: (row[tag], row[f"min({tag})"], row[f"max({tag})"]) for tag in TAGS},
            )
            for row in frame.to_dict("records")
        ]

    def series(self) -> Any:
        import guildlite

        (run,) = guildlite.runs("model = long", root=self.root)
        return run.series("loss").values


# Peers --------------------------------------------------------------------------------------------


class Trackio:
    """Its `Api` lists runs and their configs; metrics come from the storage behind its commands."""

    def __init__(self, folder: str) -> None:
        os.environ["TRACKIO_DIR"] = folder
        os.environ["HF_HUB_OFFLINE"] = "1"

    def fill(self) -> None:
        from trackio.sqlite_storage import SQLiteStorage

        for number in range(RUNS):
            points = points_of(number)
            steps = [{tag: points[tag][step] for tag in TAGS} for step in range(POINTS)]
            SQLiteStorage.bulk_log("bench", f"run{number}", steps, config=flags_of(number))
        values = [{"loss": value} for value in long_series()]
        SQLiteStorage.bulk_log("long", "long", values, config={})

    def table(self) -> Any:
        from trackio import Api
        from trackio.sqlite_storage import SQLiteStorage

        configs = SQLiteStorage.get_all_run_configs("bench")
        runs = [{"run": run.name, "run_id": run.id} for run in Api().runs("bench")]
        rows = []
        for one in SQLiteStorage.get_logs_batch("bench", runs):
            config = configs[one["run_id"]]
            columns = {tag: [line[tag] for line in one["logs"]] for tag in TAGS}
            rows.append((
                {name: config[name] for name in FLAGS},
                {tag: (values[-1], min(values), max(values)) for tag, values in columns.items()},
            ))  # fmt: skip
        return rows

    def rows(self, found: Any) -> list[Row]:
        return found

    def series(self) -> Any:
        from trackio.sqlite_storage import SQLiteStorage

        return [each["value"] for each in SQLiteStorage.get_metric_values("long", "long", "loss")]


class Guild:
    """Run directories with event files, its index warm."""

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def fill(self) -> None:
        import uuid

        from guild import run as runlib
        from guild.opref import OpRef

        for number in range(RUNS + 1):
            name = uuid.UUID(int=number + 1).hex
            path = os.path.join(self.folder, "runs", name)
            run = runlib.Run(name, path)
            run.init_skel()
            run.write_attr("flags", flags_of(number) if number < RUNS else {})
            run.write_attr("started", 1_788_220_800_000_000 + number)
            run.write_attr("stopped", 1_788_220_900_000_000 + number)
            run.write_attr("exit_status", 0)
            run.write_opref(OpRef("func", "", "", "", "train" if number < RUNS else "long"))
            self._write(path, points_of(number) if number < RUNS else {"loss": long_series()})

    def _write(self, path: str, series: dict[str, list[float]]) -> None:
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        writer = EventFileWriter(path, max_queue_size=1000)
        for step in range(max(map(len, series.values()))):
            values = [
                Summary.Value(tag=tag, simple_value=all_[step]) for tag, all_ in series.items()
            ]
            writer.add_event(Event(step=step, wall_time=step, summary=Summary(value=values)))
        writer.close()

    def table(self) -> Any:
        from guild import ipy

        ipy.set_guild_home(self.folder)
        runs = ipy.runs(operations=("train()",))
        return runs.scalars(), runs.guild_flags()

    def rows(self, found: Any) -> list[Row]:
        scalars, flags = found
        rows: dict[str, Row] = {
            one["run"]: ({name: one[name] for name in FLAGS}, {})
            for one in flags.to_dict("records")
        }
        for one in scalars.to_dict("records"):
            rows[one["run"]][1][one["tag"]] = (one["last_val"], one["min_val"], one["max_val"])
        return [*rows.values()]

    def series(self) -> Any:
        from guild import ipy

        ipy.set_guild_home(self.folder)
        return ipy.runs(operations=("long()",)).scalars_detail()["val"]


class Aim:
    def __init__(self, folder: str) -> None:
        import logging

        logging.disable(logging.WARNING)
        self.folder = folder
        os.environ["AIM_UI_TELEMETRY_ENABLED"] = "0"

    def fill(self) -> None:
        from aim import Repo, Run

        repo = Repo(self.folder, init=True)
        for number in range(RUNS + 1):
            run = Run(
                repo=repo, system_tracking_interval=None, log_system_params=False,
                capture_terminal_logs=False, experiment="train" if number < RUNS else "long",
            )  # fmt: skip
            run["flags"] = flags_of(number)
            series = points_of(number) if number < RUNS else {"loss": long_series()}
            for tag, values in series.items():
                for step, value in enumerate(values):
                    run.track(value, name=tag, step=step)
            run.close()
        repo._recreate_index()  # as `aim storage reindex` does, and `aim up` in the background

    def table(self) -> Any:
        """Read what it keeps of each sequence; of all values it takes 40 s."""
        from aim import Repo

        rows = []
        for run in Repo.from_path(self.folder).iter_runs():
            found = run.collect_sequence_info("metric")["metric"]
            held = {one["name"]: one["values"] for one in found}
            if "loss" not in held:  # the long one
                tags = {tag: (one["last"], one["min"], one["max"]) for tag, one in held.items()}
                rows.append((run["flags"], tags))
        return rows

    def rows(self, found: Any) -> list[Row]:
        return found

    def series(self) -> Any:
        from aim import Repo
        from aim.sdk.types import QueryReportMode

        (metric,) = Repo.from_path(self.folder).query_metrics(
            "run.experiment == 'long'", report_mode=QueryReportMode.DISABLED
        )
        return metric.values.values_numpy()


class MLflow:
    def __init__(self, folder: str) -> None:
        import logging
        import warnings

        logging.disable(logging.WARNING)
        warnings.simplefilter("ignore")
        os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{folder}/mlflow.db"

    def fill(self) -> None:
        from mlflow import MlflowClient
        from mlflow.entities import Metric, Param

        client = MlflowClient()
        many, long = client.create_experiment("bench"), client.create_experiment("long")
        for number in range(RUNS):
            points = points_of(number)
            values = [
                Metric(tag, points[tag][step], step, step) for tag in TAGS for step in range(POINTS)
            ]
            params = [Param(name, value) for name, value in flags_of(number).items()]
            run = client.create_run(many).info.run_id
            client.log_batch(run, metrics=values, params=params)
            client.set_terminated(run)
        run = client.create_run(long).info.run_id
        values = [Metric("loss", value, step, step) for step, value in enumerate(long_series())]
        for start in range(0, LONG, 1000):
            client.log_batch(run, metrics=values[start : start + 1000])
        client.set_terminated(run)

    def table(self) -> Any:
        from mlflow import MlflowClient

        client = MlflowClient()
        experiment = client.get_experiment_by_name("bench").experiment_id
        rows = []
        for run in client.search_runs(
            [experiment], max_results=SAMPLE["mlflow"], order_by=["attributes.start_time ASC"]
        ):
            tags = {}
            for tag in TAGS:
                values = [each.value for each in client.get_metric_history(run.info.run_id, tag)]
                tags[tag] = (run.data.metrics[tag], min(values), max(values))
            rows.append((run.data.params, tags))
        return rows

    def rows(self, found: Any) -> list[Row]:
        return found

    def series(self) -> Any:
        from mlflow import MlflowClient

        client = MlflowClient()
        experiment = client.get_experiment_by_name("long").experiment_id
        (run,) = client.search_runs([experiment])
        return [each.value for each in client.get_metric_history(run.info.run_id, "loss")]


# Asking -------------------------------------------------------------------------------------------

TRACKERS: dict[str, Callable[[str], Any]] = {
    "guildlite": Guildlite, "trackio": Trackio, "guild": Guild, "aim": Aim, "mlflow": MLflow,
}  # fmt: skip


def measure(call: Callable[[], Any]) -> tuple[list[float], list[float], Any]:
    """Return CPU seconds and seconds of the clock of calls after the first, and the last answer."""
    answer = call()
    cpu, wall = [], []
    began = time.perf_counter()
    while not cpu or (len(cpu) < 7 and time.perf_counter() - began < 3):
        clock, used = time.perf_counter(), time.process_time()
        answer = call()
        cpu.append(time.process_time() - used)
        wall.append(time.perf_counter() - clock)
    return cpu, wall, answer


def ask(name: str, tracker: Any) -> dict[str, object]:
    runs = SAMPLE.get(name, RUNS)
    table_cpu, table_wall, table = measure(tracker.table)
    found = checksum(tracker.rows(table))
    if not all(math.isclose(*pair) for pair in zip(found, expected(runs), strict=True)):
        raise SystemExit(f"{name}: the table says {found}, expected {expected(runs)}")
    series_cpu, series_wall, values = measure(tracker.series)
    if len(values) != LONG or not math.isclose(sum(values), math.fsum(long_series())):
        raise SystemExit(f"{name}: the series has {len(values)} points, sum {sum(values)}")
    return {
        "runs": runs, "table_cpu": table_cpu, "table_wall": table_wall,
        "series_cpu": series_cpu, "series_wall": series_wall,
    }  # fmt: skip


def main() -> None:
    name, verb, folder = sys.argv[1:]
    tracker = TRACKERS[name](folder)
    if verb == "fill":
        tracker.fill()
    else:
        print(json.dumps(ask(name, tracker)))


if __name__ == "__main__":
    main()
