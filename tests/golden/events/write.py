"""Writes the golden event files beside this script, and what TensorBoard reads in them.

Run once per writer, each in an environment that has it, then look at the result and commit it:

    python write.py torch          # torch, tensorboard
    python write.py tensorboardx   # tensorboardX, tensorboard
    python write.py tf2            # tensorflow
    python write.py tf1            # tensorflow
    python write.py keras          # tensorflow
    python write.py torch-media    # torch, tensorboard, pillow
    python -P write.py tensorboardx-media  # tensorboardX, moviepy, soundfile, tensorboard
    python write.py tf1-media      # tensorflow
    python write.py tf2-media      # tensorflow

The last four hold every kind that is no scalar; what TensorBoard reads of these, `media.json` says:
file to tag to [plugin, steps, a digest of the first value].

The expected values come from TensorBoard's own EventAccumulator with nothing sampled away and
tensors included, never from guildlite. `expected.json` in each directory maps a file's name below
it to its scalars (tag to [step, wall time, value]; NaN and infinities by name) and to the tags
that hold something else.
"""

from __future__ import annotations

import hashlib
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
    model.fit(x, y, batch_size=16, epochs=3, validation_split=0.25, callbacks=[board], verbose=0)


def write_torch_media(directory: str) -> None:
    import numpy as np
    import torch
    from torch.utils.tensorboard import SummaryWriter

    torch.manual_seed(1)
    writer = SummaryWriter(directory)
    for step in (0, 5, 3):
        writer.add_image("image", np.full((3, 4, 4), step * 20, np.uint8), step)
    writer.add_images("images", np.zeros((2, 3, 4, 4), np.uint8), 0)
    writer.add_image_with_boxes("boxes", np.zeros((3, 8, 8), np.uint8), np.array([[1, 1, 5, 5]]))
    writer.add_audio("audio", torch.sin(torch.linspace(0, 300, 800))[None], 1, sample_rate=8000)
    writer.add_histogram("same name", np.linspace(-1, 1, 50), 0)
    writer.add_scalar("same name", 0.5, 0)
    writer.add_histogram_raw("raw", 0, 2, 3, 4.0, 5.0, [1, 2], [1, 2])
    writer.add_text("text", "| a | b |\n|---|---|\n| 1 | 2 |", 7)
    labels, scores = np.array([0, 1, 1, 0]), np.array([0.1, 0.8, 0.4, 0.3])
    writer.add_pr_curve("pr", labels, scores, 2, num_thresholds=5)
    vertices, faces = torch.rand(1, 4, 3), torch.tensor([[[0, 1, 2], [1, 2, 3]]])
    colors = (torch.rand(1, 4, 3) * 255).int()
    config = {"camera": {"cls": "PerspectiveCamera", "fov": 75}}
    writer.add_mesh("mesh", vertices, colors, faces, config_dict=config, global_step=0)
    layout = {"losses": {"both": ["Multiline", ["loss/.*"]], "band": ["Margin", ["v", "l", "u"]]}}
    writer.add_custom_scalars(layout)
    writer.add_graph(torch.nn.Sequential(torch.nn.Linear(4, 2), torch.nn.ReLU()), torch.rand(1, 4))
    for step in (0, 1):
        writer.add_scalars("losses", {"train": 1.0 - step, "test": 2.0 - step}, step)
        writer.add_scalars("deep/er", {"a": step}, step)
    writer.add_embedding(
        torch.arange(6.0).reshape(3, 2), ["a", "b", "c"], torch.zeros(3, 3, 2, 2), 4, "words"
    )
    writer.add_hparams(
        {"lr": 0.1, "layers": 3, "name": "a", "on": True}, {"acc": 0.5}, run_name="0"
    )
    writer.add_hparams(
        {"lr": 0.2, "layers": 4, "name": "b", "on": False}, {"acc": 1.0}, run_name="1"
    )
    writer.close()


def write_tensorboardx_media(directory: str) -> None:
    import numpy as np
    from tensorboardX import SummaryWriter

    writer = SummaryWriter(directory)
    frames = np.arange(2 * 3 * 3 * 8 * 8, dtype=np.uint8).reshape(2, 3, 3, 8, 8)
    writer.add_video("moving", frames[:1], 1, fps=2)
    writer.add_audio("audio", np.sin(np.linspace(0, 300, 800)), 2, sample_rate=8000)
    writer.add_scalars("losses", {"train": 1.0, "test": 2.0}, 0)
    writer.add_mesh("points", np.zeros((1, 4, 3), np.float32))
    writer.add_embedding(np.eye(3), ["x", "y", "z"], global_step=0, tag="eye")
    writer.add_hparams({"lr": 0.1, "name": "a"}, {"acc": 0.5}, name="hparams")
    writer.close()


def write_tf1_media(directory: str) -> None:
    import tensorflow as tf

    v1 = tf.compat.v1
    with tf.Graph().as_default():
        writer = v1.summary.FileWriter(directory)
        v1.summary.audio("audio", tf.zeros((1, 400, 1)), 8000, 1)
        v1.summary.tensor_summary("tensor", tf.constant([[1.0, 2.0]]))
        v1.summary.text("text", tf.constant([["a", "b"], ["c", "d"]]))
        v1.summary.histogram("weights", tf.linspace(-1.0, 1.0, 50))
        options = v1.RunOptions(trace_level=v1.RunOptions.FULL_TRACE)
        with v1.Session() as session:
            writer.add_graph(session.graph)
            merged, trace = v1.summary.merge_all(), v1.RunMetadata()
            for step in (0, 10):
                # FileWriter keeps a tag's metadata on its first value only.
                summary = session.run(merged, options=options, run_metadata=trace)
                writer.add_summary(summary, step)
            writer.add_run_metadata(trace, "step 0", 0)
            writer.add_session_log(v1.SessionLog(status=v1.SessionLog.START), 5)
            writer.add_summary(session.run(merged), 15)
            writer.add_meta_graph(v1.train.export_meta_graph(), 15)
        writer.close()


def write_tf2_media(directory: str) -> None:
    import tensorflow as tf
    from tensorboard.plugins import projector
    from tensorboard.plugins.hparams import api as hp
    from tensorboard.plugins.mesh import summary_v2 as mesh

    tf.random.set_seed(1)
    lr, kind = hp.HParam("lr", hp.RealInterval(0.0, 1.0)), hp.HParam("kind", hp.Discrete(["a"]))
    with tf.summary.create_file_writer(directory).as_default():
        hp.hparams_config([lr, kind], [hp.Metric("loss", group="train", display_name="Loss")])
        for step in (0, 1):
            images = tf.cast(tf.fill((2, 4, 4, 3), step * 100), tf.uint8)
            tf.summary.image("image", images, step=step, description="two *images*")
        tf.summary.audio("audio", tf.zeros((2, 400, 1)), 8000, step=3)
        tf.summary.text("text", tf.constant([["a", "b"], ["c", "d"]]), step=0)
        tf.summary.histogram("weights", tf.linspace(-1.0, 1.0, 50), step=0, buckets=4)
        mesh.mesh("mesh", tf.zeros((1, 3, 3)), faces=tf.zeros((1, 1, 3), tf.int32), step=0)
        metadata = tf.compat.v1.SummaryMetadata(plugin_data={"plugin_name": "greeter"})
        metadata.plugin_data.content = b"hello"
        tf.summary.write("unknown", tf.constant(["x"]), step=9, metadata=metadata)

        @tf.function
        def double(x: object) -> object:
            return x * 2

        tf.summary.trace_on(graph=True)
        double(tf.constant(1.0))
        tf.summary.trace_export("function", step=0)
    with tf.summary.create_file_writer(f"{directory}/trial").as_default():
        hp.hparams({lr: 0.25, kind: "a"}, trial_id="trial", start_time_secs=100.0)
    config = projector.ProjectorConfig()
    config.embeddings.add(tensor_name="layer/.ATTRIBUTES/VARIABLE_VALUE", metadata_path="words.tsv")
    projector.visualize_embeddings(directory, config)
    Path(directory, "words.tsv").write_text("a\nb\n")


def expected_media(path: Path) -> dict[str, object]:
    """Return what TensorBoard's own accumulator reads in one file that is no scalar."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(path), EVERYTHING, purge_orphaned_data=False).Reload()
    tags = found.Tags()
    media: dict[str, object] = {}
    for tag in tags["images"]:
        values = found.Images(tag)
        media[tag] = ["images", [e.step for e in values], digest(values[0].encoded_image_string)]
    for tag in tags["audio"]:
        values = found.Audio(tag)
        media[tag] = ["audio", [e.step for e in values], digest(values[0].encoded_audio_string)]
    for tag in tags["histograms"]:
        values = found.Histograms(tag)
        counts = sum(values[0].histogram_value.bucket)
        media[tag] = ["histograms", [e.step for e in values], str(counts)]
    for tag in tags["tensors"]:
        metadata, values = found.summary_metadata.get(tag), found.Tensors(tag)
        plugin = metadata.plugin_data.plugin_name if metadata is not None else ""
        if plugin != "scalars":
            proto = values[0].tensor_proto
            data = b"".join(proto.string_val) or proto.tensor_content
            media[tag] = [plugin, [e.step for e in values], digest(data)]
    return media


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]


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
    globals()[f"write_{writer.replace('-', '_')}"](str(directory))
    neutral_names(directory)
    files = sorted(directory.rglob("*tfevents*"))
    is_media = writer.endswith("-media")
    read = expected_media if is_media else expected
    found = {path.relative_to(directory).as_posix(): read(path) for path in files}
    text = json.dumps(found, indent=1, ensure_ascii=False, sort_keys=True)
    name = "media.json" if is_media else "expected.json"
    (directory / name).write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
