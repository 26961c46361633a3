import argparse

from defaults import LR


def get_parser():
    parser = argparse.ArgumentParser()
    parser.add_argument("--lr", type=float, default=LR)
    return parser


if __name__ == "__main__":
    argparse.ArgumentParser().add_argument("--not-this-one")
