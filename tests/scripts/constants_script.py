"""A trainer without options: what can be changed stands at the top."""

LR = 0.1
STEPS = 3
NAME = "plain"
WARM = True
_SCALE = 2.0
TABLE = {"a": 1}


def main():
    for step in range(1, STEPS + 1):
        print(f"loss: {LR * _SCALE / step:.4f}")


if __name__ == "__main__":
    main()
