"""A trainer whose options are defined in the file beside it."""

from args import get_parser

parser = get_parser()
parser.add_argument("--steps", type=int, default=3)
args, rest = parser.parse_known_args()
for step in range(1, args.steps + 1):
    print(f"loss: {args.lr / step:.4f}")
