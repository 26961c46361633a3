"""Writes the golden event files beside this script, and what TensorBoard reads in them.

Run once per writer, each in an environment that has it, then look at the result and commit it:

    python write.py torch          # torch, tensorboard
    python write.py tensorboardx   # tensorboardX, tensorboard
    python write.py tf2            # tensorflow
    python write.py tf1            # tensorflow
    python write.py keras          # tensorflow

The expected values come from TensorBoard's own EventAccumulator with nothing sampled away and
tensors included, never from guildlite. `expected.json` in each directory maps a file's name below
it to its scalars (tag to [step, wall time, value]; NaN and infinities by name) and to the tags
that hold something else.
"""

from __future__ import annotations

import json
import math
import shutil
import sys
from pathlib import Path

HERE = Path(__file__).parent
EVERYTHING = {
    name: 0
    for name in ("scalars", "tensors", "images", "audio", "histograms", "compressedHistograms")
}


def write_torch(directory: str) -> None:
    import numpy as np
    import torch
    from torch.utils.tensorboard import SummaryWriter

    writer = SummaryWriter(directory)
    for step in range(30):
        writer.add_scalar("loss", 1 / (step + 1), step)
        writer.add_scalar("accuracy", step / 30, step, new_style=True)
        writer.add_scalar("exact", 0.1 * step, step, new_style=True, double_precision=True)
    writer.add_scalar("nan", math.nan, 1)
    writer.add_scalar("inf", math.inf, 2)
    writer.add_scalar("-inf", -math.inf, 3)
    writer.add_scalar("tensor", torch.tensor(2.5), 2**40)
    writer.add_scalar("goes back", 1.0, 10)
    writer.add_scalar("goes back", 2.0, 5)
    writer.add_scalar("损失/größe", 0.5, -3)
    writer.add_scalars("both", {"train": 0.25, "test": 0.75}, 4)
    writer.add_histogram("weights", np.linspace(-1, 1, 50), 0)
    writer.add_image("image", np.zeros((3, 4, 4), np.uint8), 0)
    writer.add_text("words", "some *text*", 0)
    writer.add_pr_curve("pr", np.array([0, 1, 1]), np.array([0.1, 0.8, 0.4]), 0, num_thresholds=5)
    writer.add_mesh("mesh", torch.zeros(1, 3, 3))
    writer.add_custom_scalars({"both": {"loss": ["Multiline", ["loss"]]}})
    writer.add_hparams({"lr": 0.1, "name": "a"}, {"hparam/accuracy": 0.5}, run_name="hparams")
    writer.close()


def write_tensorboardx(directory: str) -> None:
    import numpy as np
    from tensorboardX import SummaryWriter

    writer = SummaryWriter(directory)
    for step in range(30):
        writer.add_scalar("loss", 1 / (step + 1), step)
        writer.add_scalar("group/accuracy", step / 30, step)
    writer.add_scalar("nan", math.nan, 1)
    writer.add_scalar("numpy", np.float64(0.1), 2**33)
    writer.add_histogram("weights", np.linspace(-1, 1, 50), 0)
    writer.add_image("image", np.zeros((3, 4, 4), np.uint8), 0)
    writer.add_text("words", "some *text*", 0)
    writer.close()


def write_tf2(directory: str) -> None:
    import tensorflow as tf

    with tf.summary.create_file_writer(directory).as_default():
        for step in range(30):
            tf.summary.scalar("loss", 1 / (step + 1), step=step)
        for name in "bfloat16 float16 float32 float64 int8 int16 int32 int64 uint8 uint16".split():
            value = tf.cast(5.25, getattr(tf, name))
            # tf.summary.scalar casts to float32; tensors keep their type.
            metadata = tf.compat.v1.SummaryMetadata(
                plugin_data={"plugin_name": "scalars"}, data_class=1
            )
            tf.summary.write(f"types/{name}", value, step=7, metadata=metadata)
        tf.summary.scalar("nan", math.nan, step=1)
        tf.summary.scalar("inf", math.inf, step=2**40)
        tf.summary.histogram("weights", tf.linspace(-1.0, 1.0, 50), step=0)
        tf.summary.image("image", tf.zeros((1, 4, 4, 3)), step=0)
        tf.summary.text("words", "some *text*", step=0)
        tf.summary.write("unnamed", tf.constant(3.0), step=0)


def write_tf1(directory: str) -> None:
    import tensorflow as tf
    from tensorboard.plugins.scalar.summary import pb
    from tensorboard.summary.v1 import scalar_pb

    v1 = tf.compat.v1
    with tf.Graph().as_default():
        writer = v1.summary.FileWriter(directory)
        for step in range(30):
            loss = v1.Summary.Value(tag="loss", simple_value=1 / (step + 1))
            writer.add_summary(v1.Summary(value=[loss]), step)
            # FileWriter keeps a tag's metadata on its first value only.
            for summary in (pb("tensor", step / 30), scalar_pb("other", 30.0 - step)):
                writer.add_summary(summary.SerializeToString(), step)
        writer.add_session_log(v1.SessionLog(status=v1.SessionLog.START), 10)
        again = v1.Summary.Value(tag="loss", simple_value=9.0)
        writer.add_summary(v1.Summary(value=[again]), 10)
        v1.summary.histogram("weights", tf.linspace(-1.0, 1.0, 50))
        v1.summary.image("image", tf.zeros((1, 4, 4, 3)))
        with v1.Session() as session:
            writer.add_summary(session.run(v1.summary.merge_all()), 40)
            writer.add_graph(session.graph)
        writer.close()


def write_keras(directory: str) -> None:
    import keras
    import numpy as np

    keras.utils.set_random_seed(1)
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2, activation="softmax")])
    model.compile("sgd", "sparse_categorical_crossentropy", metrics=["accuracy"])
    x, y = np.random.rand(64, 4), np.arange(64) % 2
    board = keras.callbacks.TensorBoard(
        directory, histogram_freq=1, write_graph=True, update_freq=1, profile_batch=0
    )
    model.fit(
        x, y, batch_size=16, epochs=3, validation_split=0.25, callbacks=[board], verbose=0
    )


def expected(path: Path) -> dict[str, object]:
    """Return what TensorBoard's own accumulator reads in one file."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(path), EVERYTHING, purge_orphaned_data=False).Reload()
    tags = found.Tags()
    scalars: dict[str, list[list[object]]] = {
        tag: [[e.step, e.wall_time, number(e.value)] for e in found.Scalars(tag)]
        for tag in tags["scalars"]
    }
    others = [*tags["images"], *tags["audio"], *tags["histograms"]]
    for tag in tags["tensors"]:
        metadata = found.summary_metadata.get(tag)
        if metadata is not None and metadata.plugin_data.plugin_name == "scalars":
            scalars[tag] = [
                [e.step, e.wall_time, number(tensor_value(e.tensor_proto))]
                for e in found.Tensors(tag)
            ]
        else:
            others.append(tag)
    return {"scalars": scalars, "others": sorted(others)}


def tensor_value(proto: object) -> float:
    """Return the element of a rank-0 tensor, by TensorFlow's reader where there is TensorFlow.

    TensorBoard's does not know bfloat16.
    """
    try:
        import tensorflow as tf
        from tensorflow.core.framework.tensor_pb2 import TensorProto
    except ImportError:
        from tensorboard.util.tensor_util import make_ndarray

        return make_ndarray(proto).item()
    return float(tf.make_ndarray(TensorProto.FromString(proto.SerializeToString())))


def number(value: float) -> float | str:
    return float(value) if math.isfinite(value) else str(float(value))


def neutral_names(directory: Path) -> None:
    """Rename event files so that no host name and process id is in them."""
    for index, path in enumerate(sorted(directory.rglob("*tfevents*"))):
        suffix = ".v2" if path.name.endswith(".v2") else ""
        path.rename(path.with_name(f"events.out.tfevents.{index}.host{suffix}"))


def main(writer: str) -> None:
    directory = HERE / writer
    shutil.rmtree(directory, ignore_errors=True)
    globals()[f"write_{writer}"](str(directory))
    neutral_names(directory)
    files = sorted(directory.rglob("*tfevents*"))
    found = {path.relative_to(directory).as_posix(): expected(path) for path in files}
    text = json.dumps(found, indent=1, ensure_ascii=False, sort_keys=True)
    (directory / "expected.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
