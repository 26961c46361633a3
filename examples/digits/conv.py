"""A small convolutional network on handwritten digits, in PyTorch.

Plain:

    python intro.py --prepare        # once: puts the data into ./data
    python conv.py                   # trains, writes into ./out
    python conv.py --test            # accuracy on images it never saw

Tracked, each training in a run directory of its own, which gl passes as --rundir:

    gl prepare
    gl train conv channels=32
    gl evaluate

PyTorch is not among the packages of the other scripts: `pip install torch`. With a GPU it is used.
"""

import argparse
import sys

import digits
import numpy as np
from onnx.helper import make_node
from tensorboardX import SummaryWriter

try:
    import torch
    from torch import nn
except ImportError:
    sys.exit("conv.py needs PyTorch, which `pip install torch` brings")

parser = argparse.ArgumentParser(description="A convolutional network on handwritten digits")
parser.add_argument("--test", action="store_true", help="test the model in RUNDIR and stop")
parser.add_argument("--datadir", default="./data", help="where the data lie")
parser.add_argument("--rundir", default="./out", help="where to write logs and the model")
parser.add_argument("--epochs", type=int, default=10, help="times to see all examples")
parser.add_argument("--batch_size", type=int, default=32, help="examples per step")
parser.add_argument("--lr", type=float, default=0.01, help="largest learning rate on the way")
parser.add_argument("--channels", type=int, default=16, help="filters in the first layer")
parser.add_argument("--seed", type=int, default=0, help="decides first weights and order")


def build(channels):
    """Return the network: two convolutions, each followed by pooling, and a linear layer."""
    return nn.Sequential(
        nn.Unflatten(1, (1, 8, 8)),
        nn.Conv2d(1, channels, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(channels, 2 * channels, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(2 * channels * 2 * 2, 10),
    )  # fmt: skip


def onnx_nodes():
    """Say `build` in ONNX; weights carry the names that PyTorch gives them."""
    conv = {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}
    pool = {"kernel_shape": [2, 2], "strides": [2, 2]}
    return [
        make_node("Constant", [], ["shape"], value_ints=[-1, 1, 8, 8]),
        make_node("Reshape", ["pixels", "shape"], ["x"]),
        make_node("Conv", ["x", "1.weight", "1.bias"], ["c1"], **conv),
        make_node("Relu", ["c1"], ["r1"]), make_node("MaxPool", ["r1"], ["p1"], **pool),
        make_node("Conv", ["p1", "4.weight", "4.bias"], ["c2"], **conv),
        make_node("Relu", ["c2"], ["r2"]), make_node("MaxPool", ["r2"], ["p2"], **pool),
        make_node("Flatten", ["p2"], ["f"]),
        make_node("Gemm", ["f", "8.weight", "8.bias"], ["prediction"], transB=1),
    ]  # fmt: skip


def predict(weights, images):
    """Return logits (n, 10)."""
    model = build(channels=len(weights["1.weight"]))
    model.load_state_dict({name: torch.from_numpy(array) for name, array in weights.items()})
    with torch.no_grad():
        return model(torch.from_numpy(images)).numpy()


def train(args):
    """Train, and leave event files under RUNDIR/train and RUNDIR/validation and the model."""
    images, labels = digits.load(args.datadir, "train")
    check_images, check_labels = digits.load(args.datadir, "validation")
    rng = np.random.default_rng(args.seed)
    torch.manual_seed(args.seed)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = build(args.channels).to(device)
    optimizer = torch.optim.Adam(model.parameters(), args.lr)
    steps = args.epochs * -(-len(images) // args.batch_size)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, args.lr, total_steps=steps)
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
                x, y = torch.from_numpy(x).to(device), torch.from_numpy(y).to(device)
                logits = model(x)
                loss = nn.functional.cross_entropy(logits, y)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
                step += 1
                losses.append(loss.item())
                train_log.add_scalar("loss", loss.item(), step)
                train_log.add_scalar("accuracy", (logits.argmax(1) == y).float().mean(), step)
                train_log.add_scalar("lr", schedule.get_last_lr()[0], step)

            with torch.no_grad():
                logits = model(torch.from_numpy(check_images).to(device)).cpu().numpy()
            check_loss, check_accuracy = digits.score(logits, check_labels)
            check_log.add_scalar("loss", check_loss, step)
            check_log.add_scalar("accuracy", check_accuracy, step)
            filters = model[1].weight.detach().cpu().numpy()[:, 0]
            pictures = digits.picture_grid(filters, columns=8, zoom=12)
            train_log.add_image("weights", pictures, step, dataformats="HW")
            for name, parameter in model.named_parameters():
                train_log.add_histogram(f"weights/{name}", parameter.detach().cpu(), step)
                train_log.add_histogram(f"gradients/{name}", parameter.grad.cpu(), step)

            weights = {name: array.cpu().numpy() for name, array in model.state_dict().items()}
            digits.save_model(args.rundir, step, weights, onnx_nodes())
            print(
                f"epoch {epoch:2} of {args.epochs}   train loss {np.mean(losses):.4f}   "
                f"validation loss {check_loss:.4f}, accuracy {check_accuracy:.1%}",
                flush=True,
            )


if __name__ == "__main__":
    args, _ = parser.parse_known_args()  # flags meant for other scripts do no harm
    if args.test:
        digits.test(args.datadir, args.rundir, predict)
    else:
        train(args)
