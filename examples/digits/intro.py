"""Softmax regression on handwritten digits, in NumPy: the simplest model that works.

Plain:

    python intro.py --prepare        # once: puts the data into ./data
    python intro.py                  # trains, writes into ./out
    python intro.py --test           # accuracy on images it never saw

Tracked, each training in a run directory of its own, which gl passes as --rundir:

    gl prepare
    gl train intro lr=0.2
    gl evaluate

Nothing in this file knows about gl.
"""

import argparse

import digits
import numpy as np
from onnx.helper import make_node
from tensorboardX import SummaryWriter

parser = argparse.ArgumentParser(description="Softmax regression on handwritten digits")
parser.add_argument("--prepare", action="store_true", help="get the data and stop")
parser.add_argument("--test", action="store_true", help="test the model in RUNDIR and stop")
parser.add_argument("--datadir", default="./data", help="where the data lie")
parser.add_argument("--rundir", default="./out", help="where to write logs and the model")
parser.add_argument("--epochs", type=int, default=10, help="times to see all examples")
parser.add_argument("--batch_size", type=int, default=32, help="examples per step")
parser.add_argument("--lr", type=float, default=0.5, help="learning rate")
parser.add_argument("--seed", type=int, default=0, help="decides the order of the examples")


def predict(weights, images):
    """Return logits (n, 10)."""
    return images @ weights["W"] + weights["b"]


def gradients(weights, images, labels):
    """Return the logits, and for each weight the slope of the mean loss."""
    logits = predict(weights, images)
    error = (digits.softmax(logits) - np.eye(10)[labels]) / len(labels)
    return logits, {"W": images.T @ error, "b": error.sum(axis=0)}


def train(args):
    """Train, and leave event files under RUNDIR/train and RUNDIR/validation and the model."""
    images, labels = digits.load(args.datadir, "train")
    check_images, check_labels = digits.load(args.datadir, "validation")
    rng = np.random.default_rng(args.seed)
    weights = {"W": np.zeros((64, 10), np.float32), "b": np.zeros(10, np.float32)}
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
                for name in weights:
                    weights[name] -= (args.lr * slopes[name]).astype(np.float32)
                step += 1
                loss, accuracy = digits.score(logits, y)
                losses.append(loss)
                train_log.add_scalar("loss", loss, step)
                train_log.add_scalar("accuracy", accuracy, step)

            check_loss, check_accuracy = digits.score(predict(weights, check_images), check_labels)
            check_log.add_scalar("loss", check_loss, step)
            check_log.add_scalar("accuracy", check_accuracy, step)
            # A column of W is a picture of what counts for (white) and against (black) its digit.
            templates = digits.picture_grid(weights["W"].T.reshape(10, 8, 8), columns=5, zoom=8)
            train_log.add_image("weights", templates, step, dataformats="HW")
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
    return [make_node("Gemm", ["pixels", "W", "b"], ["prediction"])]


if __name__ == "__main__":
    args, _ = parser.parse_known_args()  # flags meant for other scripts do no harm
    if args.prepare:
        digits.prepare(args.datadir)
    elif args.test:
        digits.test(args.datadir, args.rundir, predict)
    else:
        train(args)
