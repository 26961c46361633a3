"""Lines as frameworks, examples and tutorials print them, and lines that only look alike."""

from __future__ import annotations

import itertools
import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guildlite.collect.scalars import LONGEST_LINE, MOST_NAMES, ScalarFinder


def find(*lines: str) -> list[tuple[str, int, float]]:
    """Return what the last of some lines gives."""
    finder = ScalarFinder()
    found = []
    for line in lines:
        found = finder.find(line)
    return found


@pytest.mark.parametrize(
    "line",
    [
        "loss: 0.25", "loss = 0.25", "loss=0.25", "loss:0.25", "loss   :   0.25", "\tloss: 0.25",
        "loss: +2.5e-1", "loss: .25", "[loss: 0.25]", "(loss=0.25)", "loss=0.25, done",
        "loss: 0.25.",
        "INFO:root:loss: 0.25", "[INFO] loss: 0.25", "2024-01-01 12:00:00,123 - INFO - loss: 0.25",
        "2024-01-01 12:00:00 INFO loss: 0.25", "12:30:45 | loss: 0.25", "\x1b[32mloss: 0.25\x1b[0m",
        "'loss': 0.25", '"loss": "0.25"', "loss 0.25", "| loss 0.25 |", "loss: 0.25 (0.30)",
        "loss: tensor(0.2500, device='cuda:0', grad_fn=<NllLossBackward0>)",
        "{'loss': np.float64(0.25)}", '{"loss": 0.25}', "Epoch 7 was good enough loss: 0.25",
    ],
)  # fmt: skip
def test_one_value(line: str) -> None:
    assert [(name, value) for name, _, value in find(line)] == [("loss", 0.25)]


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        # Keras 2
        (["Epoch 2/5", "1875/1875 [==============================] - 3s 2ms/step - loss: 0.2900"
          " - accuracy: 0.9100 - val_loss: 0.1500 - val_accuracy: 0.9500"],
         [("loss", 3750, 0.29), ("accuracy", 3750, 0.91), ("val_loss", 3750, 0.15),
          ("val_accuracy", 3750, 0.95)]),
        (["Epoch 1/5", "1875/1875 - 3s - loss: 0.29 - 3s/epoch - 2ms/step"],
         [("loss", 1875, 0.29)]),
        (["Epoch 1/5", " 640/1875 [=========>....................] - ETA: 2s - loss: 0.5"],
         [("loss", 640, 0.5)]),
        # Keras 3
        (["Epoch 1/5", "\x1b[1m1875/1875\x1b[0m \x1b[32m━━━━━━━━━━━━━━━━━━━━\x1b[0m\x1b[37m\x1b[0m "
          "\x1b[1m3s\x1b[0m 2ms/step - accuracy: 0.9000 - loss: 0.3000"],
         [("accuracy", 1875, 0.9), ("loss", 1875, 0.3)]),
        # PyTorch examples: mnist, imagenet, word_language_model
        (["Train Epoch: 2 [640/60000 (1%)]\tLoss: 2.300000"], [("Loss", 60640, 2.3)]),
        (["Test set: Average loss: 0.0479, Accuracy: 9842/10000 (98%)"],
         [("Average_loss", 1, 0.0479), ("Accuracy", 1, 0.9842)]),
        (["Epoch: [1][  10/5005]\tTime  0.4 ( 0.6)\tData  0.1 ( 0.2)\tLoss 7.0e+00 (6.9e+00)\t"
          "Acc@1   0.00 (  0.10)\tAcc@5   1.56 (  0.51)"],
         [("Time", 10, 0.4), ("Data", 10, 0.1), ("Loss", 10, 7.0), ("Acc@1", 10, 0.0),
          ("Acc@5", 10, 1.56)]),
        (["Epoch: [0][   1/5005]\tLoss 7.0e+00", "Epoch: [1][  10/5005]\tLoss 7.0e+00 (6.9e+00)"],
         [("Loss", 5015, 7.0)]),
        (["Test: [ 10/196]\tTime  0.4 ( 0.6)\tLoss 7.0e+00 (6.9e+00)"],
         [("Test_Time", 10, 0.4), ("Test_Loss", 10, 7.0)]),
        ([" *   Acc@1 69.758 Acc@5 89.078"], [("Acc@1", 1, 69.758), ("Acc@5", 1, 89.078)]),
        (["| epoch   2 |   200/ 2983 batches | lr 20.00 | ms/batch  9.70 | loss  7.60 | "
          "ppl  2100.00"],
         [("lr", 3183, 20.0), ("ms/batch", 3183, 9.7), ("loss", 3183, 7.6), ("ppl", 3183, 2100.0)]),
        (["| end of epoch   1 | time: 30.05s | valid loss  5.90 | valid ppl   365.00"],
         [("valid_loss", 1, 5.9), ("valid_ppl", 1, 365.0)]),
        # PyTorch tutorials: quickstart, CIFAR10
        (["Epoch 2", "-----------", "loss: 2.303494  [   64/60000]"], [("loss", 60064, 2.303494)]),
        ([" Accuracy: 44.7%, Avg loss: 2.156"], [("Accuracy", 1, 44.7), ("Avg_loss", 1, 2.156)]),
        (["[1,  2000] loss: 2.161", "[1,  4000] loss: 1.9", "[2,  2000] loss: 1.161"],
         [("loss", 6000, 1.161)]),
        (["Epoch [2/5], Step [100/600], Loss: 0.2831"], [("Loss", 700, 0.2831)]),
        (["Epoch 1 Batch 100 Loss 4.6"], [("Loss", 100, 4.6)]),
        # Hugging Face, Lightning, nanoGPT, detectron2, mmdet
        (["{'loss': 0.5, 'learning_rate': 5e-05, 'epoch': 1.0}"],
         [("loss", 1, 0.5), ("learning_rate", 1, 5e-05), ("epoch", 1, 1.0)]),
        (["{'loss': '0.5', 'grad_norm': '1.2', 'epoch': '0.25'}"],
         [("loss", 1, 0.5), ("grad_norm", 1, 1.2), ("epoch", 1, 0.25)]),
        (["Epoch 1: 100%|██████████| 10/10 [00:00<00:00, 99.5it/s, loss=0.3, v_num=0]"],
         [("loss", 10, 0.3)]),
        (["Epoch 0: 100%|█| 10/10 [00:00<00:00, 99.5it/s, loss=0.4]",
          "Epoch 1:  50%|█| 5/10 [00:00<00:00, 99.5it/s, loss=0.3]"],
         [("loss", 15, 0.3)]),
        (["step 250: train loss 4.2874, val loss 4.2823"],
         [("train_loss", 250, 4.2874), ("val_loss", 250, 4.2823)]),
        (["iter 10: loss 4.1234, time 123.45ms, mfu -100.00%"], [("loss", 10, 4.1234)]),
        (["eta: 0:12:31  iter: 19  total_loss: 4.5  lr: 0.0003  max_mem: 2400M"],
         [("total_loss", 19, 4.5), ("lr", 19, 0.0003)]),
        (["Epoch [1][50/100] lr: 1.000e-02, eta: 1:00:00, memory: 300, loss: 0.5"],
         [("lr", 50, 0.01), ("memory", 50, 300.0), ("loss", 50, 0.5)]),
        # XGBoost, LightGBM, scikit-learn
        (["[12]\ttrain-rmse:1.25000\ttest-rmse:1.30000"],
         [("train-rmse", 12, 1.25), ("test-rmse", 12, 1.3)]),
        (["[10]\ttraining's auc: 0.9\tvalid_0's auc: 0.8"],
         [("training_auc", 10, 0.9), ("valid_0_auc", 10, 0.8)]),
        (["Iteration 3, loss = 2.30"], [("loss", 3, 2.3)]),
        # JSON lines
        (['{"step": 3, "loss": 0.1, "train": {"acc": 0.5, "deep": {"x": 1}}, "ok": true}'],
         [("loss", 3, 0.1), ("train/acc", 3, 0.5)]),
        (['{"epoch": 2, "val loss": 1}'], [("val_loss", 2, 1.0)]),
        (['{"timestamp": 1700000000.5, "level": "info", "lineno": 1, "global_step": 7, "loss": 2}'],
         [("loss", 7, 2.0)]),
        # plain
        (["loss: 1", "acc: 5", "loss: 2"], [("loss", 2, 2.0)]),
        (["global_step=1200 step=3 lr=0.5"], [("lr", 1200, 0.5)]),
        (["Epoch 3: train loss=0.5 val loss=0.25"], [("loss", 3, 0.5), ("loss", 3, 0.25)]),
        (["done with train loss: 0.3"], [("train_loss", 1, 0.3)]),
        (["batch size: 100"], [("batch_size", 1, 100.0)]),
    ],
)  # fmt: skip
def test_lines_of_known_programs(lines: list[str], expected: list[tuple[str, int, float]]) -> None:
    assert find(*lines) == expected


def test_not_a_number_and_infinities_are_values() -> None:
    (_, _, nan), (_, _, high), (_, _, low) = find("loss: nan, top=inf low=-Infinity")
    assert math.isnan(nan) and high == math.inf and low == -math.inf
    assert math.isnan(find('{"loss": NaN}')[0][2])


@pytest.mark.parametrize(
    "line",
    [
        "", "hello", "12:30:45", "at 12:30:45", "Time: 12:30:45", "date: 2024-01-01", "2024-01-01",
        "http://localhost:6006", "see https://a.b/c?step=3&loss=0.4", "Listening on localhost:6006",
        "10.0.0.1:8080", "host: 10.0.0.1", "version: 1.2.3", "torch==2.1.0", "Python: 3",
        "Epoch: 3", "Epoch 1/5", "step 100", "/usr/lib/x.py:12: UserWarning: odd", "x.py:12",
        "cuda:0",
        "ValueError: 3", "KeyError: 0", "line: 12", '  File "x.py", line 12, in f', "Killed: 9",
        "Linear(in_features=784, out_features=10, bias=True)",
        "(bn): BatchNorm2d(64, eps=1e-05, momentum=0.1)", "Namespace(batch_size=64, lr=1.0)",
        "addr: 0x7f001234", "<object at 0x7f00>", "id: 0a1b", "size: 3.5GB", "took: 3s", "eta: 12",
        "Downloading:  45%|████ | 4.5/10 [00:01<00:00, 3.1it/s]", "params: 1,234,567",
        "shape: (3, 4)", "betas=(0.9, 0.999)", "price: 0,25", "CUDA_VISIBLE_DEVICES=0",
        "2024-01-01 12:00:00.1: I tensorflow/core/cpu.cc:182] This TensorFlow binary",
        "python train.py --lr=0.1 --epochs=3", "The total number of good samples is: 12",
        "progress: 3/10", "{}", '{"a": "b"}', '{"a": tru', "[1, 2, 3]", "banana: information",
    ],
)  # fmt: skip
def test_false_friends(line: str) -> None:
    assert find(line) == []


def test_code_in_a_traceback_is_no_result() -> None:
    finder = ScalarFinder()
    assert finder.find('  File "train.py", line 12, in main') == []
    assert ScalarFinder(finder.state).find("    loss = 0.25") == []
    assert finder.find("    loss = 0.25") == []
    assert finder.find("loss = 0.25") == [("loss", 1, 0.25)]


def test_names_are_limited() -> None:
    finder = ScalarFinder()
    for number in range(MOST_NAMES):
        assert finder.find(f"name{number}: 0.5")
    before = finder.full
    assert finder.find("one_more: 0.5") == []
    assert (before, finder.full) == (False, True)
    assert finder.find("name0: 0.5") == [("name0", 2, 0.5)]


@given(
    st.lists(
        st.one_of(
            st.sampled_from(
                ["Epoch 1/3", "Epoch 2/3", "Epoch: [0]", "5/10 [=] - loss: 0.5", "loss=1",
                 "batch 3 loss 2",
                 '  File "a", line 1', "[1, 20] loss: 1", "[2, 20] loss: 1", '{"a": 1}']
            ),
            st.text(max_size=40),
        ),
        max_size=12,
    )
)  # fmt: skip
def test_state_goes_on_anywhere(lines: list[str]) -> None:
    """A new finder for every line, made from the state of the last, finds the same."""
    one, found, found_again = ScalarFinder(), [], []
    state = None
    for line in lines:
        found.append(repr(one.find(line)))
        each = ScalarFinder(state)
        found_again.append(repr(each.find(line)))
        state = json.loads(json.dumps(each.state))
    assert found == found_again


PARTS = [
    " ", "1", ":", "=", "a", "a ", "a: ", "[1/", "1/", "epoch ", "a-", "loss ", "loss", "'", "a.",
    "(", "train_", "train ", ":1", "=1.1e", "a(", "\x1b[", "0 |", "step ", "|", "\t", "\x08",
    "loss 1|",
    'File "', '",', "{", "/", "+", "nan", "://", "@", "\x1b]",
]  # fmt: skip


def test_no_line_takes_long() -> None:
    """Time grows with the length: a pattern that backtracks would need minutes for these."""
    # The test's own time limit is the check.
    for first, rest in itertools.product(PARTS, PARTS):
        ScalarFinder().find("1" + first + rest * (2000 // len(rest)) + "x")
    for rest in PARTS:
        ScalarFinder().find("1" + rest * ((LONGEST_LINE - 2) // len(rest)) + "x")
        ScalarFinder().find("1" + rest * (65536 // len(rest)))


def test_deep_json_is_no_object() -> None:
    assert find('{"a":' * 1000 + "1" + "}" * 1000) == []
    assert find('{"big": 1' + "0" * 400 + "}") == []
