"""One script with sub-commands that share some options."""

import argparse


def train(args):
    for step in range(args.steps):
        print(f"loss: {args.lr / (step + 1):.4f}")


def export(args):
    print(f"exported as {args.format}")


def main():
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--seed", type=int, default=1)

    parser = argparse.ArgumentParser()
    parser.add_argument("--log-level", default="info")
    commands = parser.add_subparsers(dest="command", required=True)

    train_parser = commands.add_parser("train", aliases=["fit"], parents=[common])
    train_parser.add_argument("--lr", type=float, default=0.1)
    train_parser.add_argument("--steps", type=int, default=3)
    train_parser.set_defaults(call=train)

    export_parser = commands.add_parser("export", parents=[common])
    export_parser.add_argument("--format", choices=["onnx", "pt"], default="onnx")
    export_parser.set_defaults(call=export)

    args = parser.parse_args()
    args.call(args)


if __name__ == "__main__":
    main()
