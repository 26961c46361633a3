"""A trainer with forty options, as they accumulate in a real project."""

import argparse
import math
from pathlib import Path

EPOCHS = 3
BASE_LR = 1e-3
SIZES = [64, 32]
OPTIMISERS = {"sgd": 1.0, "adam": 0.5, "rmsprop": 0.7}


def positive_int(text):
    value = int(text)
    if value <= 0:
        raise argparse.ArgumentTypeError("must be positive")
    return value


def str2bool(text):
    return text.lower() in ("1", "true", "yes")


def add_model_options(parser):
    group = parser.add_argument_group("model")
    group.add_argument("--hidden-size", type=int, default=2**7, help="units per layer")
    group.add_argument("--layers", type=int, nargs="+", default=SIZES)
    group.add_argument("--activation", choices=["relu", "tanh", "gelu"], default="relu")
    group.add_argument("--dropout", type=float, default=0.1)
    group.add_argument("--depth", type=int, choices=range(1, 9), default=2)
    group.add_argument("--bias", action=argparse.BooleanOptionalAction, default=True)
    group.add_argument("--norm", action=argparse.BooleanOptionalAction, default=False)
    group.add_argument("--init-scale", type=float, default=-0.5)
    group.add_argument("--residual", type=str2bool, default=False)


def add_data_options(parser):
    data = parser.add_argument_group("data", "where examples come from")
    data.add_argument("--data-dir", type=Path, default=Path("data") / "digits")
    data.add_argument("--batch-size", "-b", type=int, default=32, help="examples\n  per step")
    data.add_argument("--workers", "-j", type=positive_int, default=1)
    data.add_argument("--shuffle", action="store_true")
    data.add_argument("--no-augment", dest="augment", action="store_false")
    data.add_argument("--split", default="train", metavar="NAME")
    data.add_argument("--limit", type=int)
    data.add_argument("--image-size", type=int, nargs=2, default=(28, 28))
    data.add_argument("--classes", type=int, default=10, dest="num_classes")


def build_parser():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", nargs="?", help="not an option")
    add_data_options(parser)
    add_model_options(parser)
    optim = parser.add_argument_group("optimiser")
    optim.add_argument("--lr", "--learning-rate", type=float, default=BASE_LR)
    optim.add_argument("--optimiser", choices=list(OPTIMISERS), default="adam")
    optim.add_argument("--momentum", type=float, default=0.9)
    optim.add_argument("--weight-decay", type=float, default=5e-4)
    optim.add_argument("--warmup", type=int, default=EPOCHS * 10)
    optim.add_argument("--clip", type=float, default=None, help=argparse.SUPPRESS)
    optim.add_argument("--schedule", default="cosine", choices=("cosine", "step", "none"))
    optim.add_argument("--epochs", "-e", type=int, default=EPOCHS)
    device = parser.add_mutually_exclusive_group()
    device.add_argument("--cpu", action="store_true", help="never use a GPU")
    device.add_argument("--gpu", type=int, default=0)
    cuda = parser.add_mutually_exclusive_group()
    cuda.add_argument("--cuda", dest="cuda", action="store_true")
    cuda.add_argument("--no-cuda", dest="cuda", action="store_false")
    for name in ("train", "test"):
        parser.add_argument(f"--{name}-steps", type=int, default=100)
    parser.add_argument("-n", "--name", default="run")
    parser.add_argument("-s", type=int, dest="seed", default=42)
    parser.add_argument("-q", action="store_true")
    parser.add_argument("--verbose", "-v", action="count", default=0)
    parser.add_argument("--mode", nargs="?", const="fast", default="slow")
    parser.add_argument("--tag", action="append")
    parser.add_argument("--out", default="out", type=str)
    parser.add_argument("--resume", type=Path)
    parser.add_argument("--port", type=int, default="6333")
    parser.set_defaults(momentum=0.95, cuda=False)
    return parser


def main():
    args = build_parser().parse_args()
    loss = 1.0
    for step in range(1, args.epochs + 1):
        loss *= math.exp(-args.lr)
        print(f"step: {step} loss: {loss:.6f}", flush=True)


if __name__ == "__main__":
    main()
