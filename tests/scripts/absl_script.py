"""A trainer that reads its options with absl."""

from absl import app, flags

FLAGS = flags.FLAGS

flags.DEFINE_integer("steps", 3, "Number of steps.", lower_bound=1)
flags.DEFINE_float("lr", 0.1, "Learning rate.", lower_bound=0.0, upper_bound=1.0)
flags.DEFINE_string("data_dir", None, "Where examples are.")
flags.DEFINE_bool("shuffle", True, "Whether to shuffle.")
flags.DEFINE_boolean("debug", False, "Print more.")
flags.DEFINE_enum("optimiser", "sgd", ["sgd", "adam"], "Which optimiser.")
WIDTHS = flags.DEFINE_list("widths", ["8", "4"], "Layer widths.")


def main(argv):
    for step in range(1, FLAGS.steps + 1):
        print(f"loss: {FLAGS.lr / step:.4f} shuffle={FLAGS.shuffle}")


if __name__ == "__main__":
    app.run(main)
