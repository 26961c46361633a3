"""Write request.json, two digits from the test images for a prediction server, and show them.

    python get_samples.py --labels 3 8
    curl http://localhost:6444/run -d @request.json

A request is a JSON list of instances; an instance gives the model's input `image` by name: 64
pixels, row by row, 0 (paper) to 16 (ink).
"""

import argparse
import json
from pathlib import Path

import digits

parser = argparse.ArgumentParser(description="Two digits for a prediction server")
parser.add_argument("--datadir", default="./data", help="where the data lie")
parser.add_argument("--request", default="./request.json", help="file to write")
parser.add_argument("--labels", type=int, nargs="+", default=[3, 7], help="which digits")
args, _ = parser.parse_known_args()

digits.prepare(args.datadir)
images, labels = digits.load(args.datadir, "test")
chosen = [int((labels == label).argmax()) for label in args.labels]  # the first of each
instances = []
for index in chosen:
    pixels = (images[index] * digits.INK).astype(int)
    instances.append({"image": pixels.tolist()})
    print(f"test image {index}, a {labels[index]}:")
    for row in pixels.reshape(8, 8):
        print("   ", "".join(" .:-=+*#%@"[9 * pixel // digits.INK] * 2 for pixel in row))

lines = ",\n  ".join(json.dumps(instance) for instance in instances)
Path(args.request).write_text(f"[\n  {lines}\n]\n")
print(f"wrote {args.request}")
