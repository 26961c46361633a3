"""A trainer that reads its options with click."""

import click

STEPS = 3


@click.command()
@click.option("--steps", "-s", default=STEPS, show_default=True, help="Number of steps.")
@click.option("--lr", type=click.FloatRange(0, 1), default=0.1)
@click.option("--batch-size", type=click.IntRange(min=1), default=32)
@click.option("--optimiser", type=click.Choice(["sgd", "adam"]), default="sgd")
@click.option("--shout/--no-shout", default=True)
@click.option("--dry-run", is_flag=True)
@click.option("--data", "data_dir", type=click.Path(), default="data")
@click.option("--name", required=False)
@click.argument("words", nargs=-1)
def train(steps, lr, batch_size, optimiser, shout, dry_run, data_dir, name, words):
    """Train for a few steps."""
    for step in range(1, steps + 1):
        line = f"loss: {lr / step:.4f}"
        click.echo(line.upper() if shout else line)


if __name__ == "__main__":
    train()
