"""What the training scripts here share: the data, small pictures of it, and the saved model.

The data are the 1,797 handwritten digits that come with scikit-learn: 8 by 8 pixels of 0 (paper)
to 16 (ink), each with its label 0 to 9. `prepare` puts them on disk, split once and for all.
"""

import json
import os
import sys
import time
from pathlib import Path

import numpy as np
from tensorboardX import SummaryWriter

INK = 16  # the darkest pixel value

# The split is the same on every machine: RandomState promises its numbers for all NumPy versions.
SPLITS = {"train": slice(0, 1200), "validation": slice(1200, 1497), "test": slice(1497, 1797)}


def prepare(datadir):
    """Write DATADIR/digits.npz, which holds both parts of all splits; do nothing if it exists."""
    path = Path(datadir, "digits.npz")
    if path.exists():
        print(f"{path} is already there")
        return
    from sklearn.datasets import load_digits  # only needed here

    images, labels = load_digits(return_X_y=True)
    order = np.random.RandomState(0).permutation(len(images))
    arrays = {}
    for name, part in SPLITS.items():
        arrays[f"{name}_images"] = images[order[part]].astype(np.uint8)
        arrays[f"{name}_labels"] = labels[order[part]].astype(np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    save_npz(path, arrays)
    sizes = ", ".join(f"{len(arrays[name + '_labels'])} {name}" for name in SPLITS)
    print(f"wrote {path}: {sizes}")


def load(datadir, split):
    """Return images (n, 64) scaled to 0..1 and labels (n,) of a split."""
    path = Path(datadir, "digits.npz")
    if not path.exists():
        sys.exit(f"{path} does not exist, run `python intro.py --prepare` first")
    with np.load(path) as arrays:
        images = arrays[f"{split}_images"].astype(np.float32) / INK
        return images, arrays[f"{split}_labels"].astype(np.int64)


def batches(images, labels, size, rng):
    """Yield all examples once, shuffled, in batches of `size`."""
    order = rng.permutation(len(images))
    for start in range(0, len(order), size):
        chosen = order[start : start + size]
        yield images[chosen], labels[chosen]


def softmax(logits):
    """Return the probabilities that logits (n, 10) stand for."""
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def score(logits, labels):
    """Return (loss, accuracy): mean cross-entropy, and the part whose largest logit is right."""
    right = softmax(logits)[np.arange(len(labels)), labels]
    loss = -np.log(np.maximum(right, 1e-12)).mean()
    return float(loss), float((logits.argmax(axis=1) == labels).mean())


def picture_grid(pictures, columns=10, zoom=4):
    """Return one greyscale picture (height, width) made of pictures (n, h, w), any value range."""
    low, high = pictures.min(), pictures.max()
    grey = 255 * (pictures - low) / max(high - low, 1e-12)
    n, h, w = grey.shape
    rows = -(-n // columns)
    grid = np.zeros((rows * columns, h + 1, w + 1))  # one dark pixel between neighbours
    grid[:n, :h, :w] = grey
    grid = grid.reshape(rows, columns, h + 1, w + 1).swapaxes(1, 2)
    grid = grid.reshape(rows * (h + 1), columns * (w + 1))
    return grid.repeat(zoom, axis=0).repeat(zoom, axis=1).astype(np.uint8)


def save_npz(path, arrays):
    """Write arrays by rename, so that a reader finds the old file or the new, never half of one."""
    unfinished = path.with_name(f".{os.getpid()}-{path.name}")
    with open(unfinished, "wb") as file:
        np.savez(file, **arrays)
    unfinished.replace(path)


def save_model(rundir, step, weights, nodes):
    """Write RUNDIR/model: weights.npz for the test, digits.onnx and its signature for the rest.

    `weights` maps names to arrays. `nodes` are the ONNX nodes that lead from `pixels` (n, 64), by
    way of those names, to `prediction` (n, 10). The model's input is `image`: pixels as they come,
    0 to 16, any number of images at once.
    """
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    ink = numpy_helper.from_array(np.array(INK, np.float32), "ink")
    graph = helper.make_graph(
        [helper.make_node("Div", ["image", "ink"], ["pixels"]), *nodes],
        "digits",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 64])],
        [helper.make_tensor_value_info("prediction", TensorProto.FLOAT, ["n", 10])],
        [ink, *(numpy_helper.from_array(array, name) for name, array in weights.items())],
    )
    # Versions that any onnxruntime of the last years can read.
    model = helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])
    onnx.checker.check_model(model, full_check=True)

    folder = Path(rundir, "model")
    folder.mkdir(parents=True, exist_ok=True)
    save_npz(folder / "weights.npz", {**weights, "step": np.array(step)})
    write(folder / "digits.onnx", model.SerializeToString())
    # What the model file cannot say: `gl serve` draws its page by it.
    signature = {
        "classes": [str(digit) for digit in range(10)],
        "logits": True,
        "preprocess": {"image": {"width": 8, "height": 8, "range": [0, INK], "margin": 0}},
    }
    write(folder / "digits.signature.json", json.dumps(signature, indent=2).encode())


def write(path, content):
    """Write a file by rename, so that a reader finds the old one or the new."""
    unfinished = path.with_name(f".{os.getpid()}-{path.name}")
    unfinished.write_bytes(content)
    unfinished.replace(path)


def newest_weights(rundir):
    """Yield (step, weights) of the model in RUNDIR.

    Once, as a rule. While that run is still training, gl sets EVAL_RUN_ONCE to 0, and this goes on
    until it is stopped, yielding whenever there are newer weights.
    """
    path = Path(rundir, "model", "weights.npz")
    once = os.environ.get("EVAL_RUN_ONCE", "1") != "0"
    if once and not path.exists():
        sys.exit(f"{path} does not exist, train first")
    seen = None
    while True:
        if path.exists():
            with np.load(path) as arrays:
                weights = dict(arrays)
            step = int(weights.pop("step"))
            if step != seen:
                yield step, weights
                seen = step
        if once:
            return
        time.sleep(2)


def test(datadir, rundir, predict):
    """Write loss and accuracy on the test images under RUNDIR/test, and print them.

    `predict(weights, images)` returns logits. The test images serve nothing else.
    """
    images, labels = load(datadir, "test")
    with SummaryWriter(f"{rundir}/test", flush_secs=1) as log:
        for step, weights in newest_weights(rundir):
            loss, accuracy = score(predict(weights, images), labels)
            log.add_scalar("loss", loss, step)
            log.add_scalar("accuracy", accuracy, step)
            print(f"step {step}   test loss {loss:.4f}, accuracy {accuracy:.1%}", flush=True)
