"""A neural network with two hidden layers on handwritten digits, in NumPy.

Plain:

    python intro.py --prepare        # once: puts the data into ./data
    python expert.py                 # trains, writes into ./out
    python expert.py --test          # accuracy on images it never saw

Tracked, each training in a run directory of its own, which gl passes as --rundir:

    gl prepare
    gl train expert hidden=64
    gl evaluate

It differs from intro.py in `start`, `predict` and `gradients`, and in how a step is taken.
"""

import argparse
import math
from itertools import pairwise

import digits
import numpy as np
from onnx.helper import make_node
from tensorboardX import SummaryWriter

parser = argparse.ArgumentParser(description="Two hidden layers on handwritten digits")
parser.add_argument("--test", action="store_true", help="test the model in RUNDIR and stop")
parser.add_argument("--datadir", default="./data", help="where the data lie")
parser.add_argument("--rundir", default="./out", help="where to write logs and the model")
parser.add_argument("--epochs", type=int, default=10, help="times to see all examples")
parser.add_argument("--batch_size", type=int, default=32, help="examples per step")
parser.add_argument("--lr", type=float, default=0.1, help="learning rate of the first step")
parser.add_argument("--momentum", type=float, default=0.9, help="part of a step that is kept")
parser.add_argument("--hidden", type=int, default=128, help="units in each hidden layer")
parser.add_argument("--seed", type=int, default=0, help="decides first weights and order")


def start(rng, hidden):
    """Return weights to begin with, random so that units differ, scaled to keep signals alive."""
    weights = {}
    sizes = [64, hidden, hidden, 10]
    for layer, (ins, outs) in enumerate(pairwise(sizes), start=1):
        spread = math.sqrt(2 / ins)
        weights[f"W{layer}"] = rng.normal(0, spread, (ins, outs)).astype(np.float32)
        weights[f"b{layer}"] = np.zeros(outs, np.float32)
    return weights


def layers(weights, images):
    """Return what each layer makes of the images: two hidden layers and the logits (n, 10)."""
    h1 = np.maximum(images @ weights["W1"] + weights["b1"], 0)
    h2 = np.maximum(h1 @ weights["W2"] + weights["b2"], 0)
    return h1, h2, h2 @ weights["W3"] + weights["b3"]


def predict(weights, images):
    """Return logits (n, 10)."""
    return layers(weights, images)[-1]


def gradients(weights, images, labels):
    """Return the logits, and for each weight the slope of the mean loss (backpropagation)."""
    h1, h2, logits = layers(weights, images)
    error3 = (digits.softmax(logits) - np.eye(10, dtype=np.float32)[labels]) / len(labels)
    error2 = (error3 @ weights["W3"].T) * (h2 > 0)
    error1 = (error2 @ weights["W2"].T) * (h1 > 0)
    slopes = {
        "W1": images.T @ error1, "b1": error1.sum(axis=0),
        "W2": h1.T @ error2, "b2": error2.sum(axis=0),
        "W3": h2.T @ error3, "b3": error3.sum(axis=0),
    }  # fmt: skip
    return logits, slopes


def train(args):
    """Train, and leave event files under RUNDIR/train and RUNDIR/validation and the model."""
    images, labels = digits.load(args.datadir, "train")
    check_images, check_labels = digits.load(args.datadir, "validation")
    rng = np.random.default_rng(args.seed)
    weights = start(rng, args.hidden)
    speeds = {name: np.zeros_like(array) for name, array in weights.items()}
    steps = args.epochs * math.ceil(len(images) / args.batch_size)
    step = 0

    # Two writers in two directories: their tags share names, so each pair makes one chart. With
    # flush_secs=1 charts move while this trains, and a crash costs the last second, no more.
    train_log = SummaryWriter(f"{args.rundir}/train", flush_secs=1)
    check_log = SummaryWriter(f"{args.rundir}/validation", flush_secs=1)
    with train_log, check_log:
        samples = digits.picture_grid(images[:100].reshape(-1, 8, 8))
        train_log.add_image("samples", samples, 0, dataformats="HW")

        for epoch in range(1, args.epochs + 1):
            losses = []
            for x, y in digits.batches(images, labels, args.batch_size, rng):
                logits, slopes = gradients(weights, x, y)
                lr = args.lr * (1 + math.cos(math.pi * step / steps)) / 2  # ends near zero
                for name in weights:
                    speeds[name] = args.momentum * speeds[name] - lr * slopes[name]
                    weights[name] += speeds[name]
                step += 1
                loss, accuracy = digits.score(logits, y)
                losses.append(loss)
                train_log.add_scalar("loss", loss, step)
                train_log.add_scalar("accuracy", accuracy, step)
                train_log.add_scalar("lr", lr, step)

            check_loss, check_accuracy = digits.score(predict(weights, check_images), check_labels)
            check_log.add_scalar("loss", check_loss, step)
            check_log.add_scalar("accuracy", check_accuracy, step)
            # A column of W1 is a picture of what wakes (white) and quiets (black) its unit.
            pictures = digits.picture_grid(weights["W1"].T.reshape(-1, 8, 8), columns=16)
            train_log.add_image("weights", pictures, step, dataformats="HW")
            for name in weights:
                train_log.add_histogram(f"weights/{name}", weights[name], step)
                train_log.add_histogram(f"gradients/{name}", slopes[name], step)

            digits.save_model(args.rundir, step, weights, onnx_nodes())
            print(
                f"epoch {epoch:2} of {args.epochs}   train loss {np.mean(losses):.4f}   "
                f"validation loss {check_loss:.4f}, accuracy {check_accuracy:.1%}",
                flush=True,
            )


def onnx_nodes():
    """Say `predict` in ONNX."""
    return [
        make_node("Gemm", ["pixels", "W1", "b1"], ["a1"]), make_node("Relu", ["a1"], ["h1"]),
        make_node("Gemm", ["h1", "W2", "b2"], ["a2"]), make_node("Relu", ["a2"], ["h2"]),
        make_node("Gemm", ["h2", "W3", "b3"], ["prediction"]),
    ]  # fmt: skip


if __name__ == "__main__":
    args, _ = parser.parse_known_args()  # flags meant for other scripts do no harm
    if args.test:
        digits.test(args.datadir, args.rundir, predict)
    else:
        train(args)
