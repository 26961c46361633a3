"""What a file is that may be a model, told by its content, and what loading it can do.

Trust classes: A is data and nothing else. B is a format that has held code before and is loaded
with its framework's safe mode. C is a graph whose operations may touch files when it predicts.
D runs code when loaded. A and B are served as they are, C and D only to those who trust the run;
a name never chooses a loader, and nothing inside a run can grant trust.
"""

from __future__ import annotations

import mmap
import os
import zipfile
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Kind:
    """A format.

    words: what to call it, with its article. trust: its class, A to D. extra: what
    `pip install "guildlite[EXTRA]"` brings to serve it, empty for what cannot be served by itself.
    packages: the modules without which it cannot be loaded. danger: what the class means for it.
    instead: what to do where it is not or cannot be served.
    """

    words: str
    trust: str
    extra: str = ""
    packages: tuple[str, ...] = ()
    danger: str = ""
    instead: str = ""

    @property
    def served(self) -> bool:
        return bool(self.extra)

    @property
    def needs_trust(self) -> bool:
        return self.trust in ("C", "D")


_PREDICTS = "may read and write files when it predicts"
_LOADS = "runs code that it holds when it is loaded"
_WEIGHTS = (
    "give `gl serve --predictor MODULE:NAME` the code that loads them, or export a whole model: "
    "ONNX or `.pt2`"
)
_TO_ONNX = "export the model to ONNX (`.onnx`) into $RUNDIR"

ONNX, PT2, KERAS, TORCHSCRIPT = "onnx", "pt2", "keras", "torchscript"
SAVED_MODEL, TF1_EXPORT, PICKLE = "savedmodel", "tf1-export", "pickle"

KINDS = {
    ONNX: Kind("an ONNX model", "A", "onnx", ("onnxruntime", "numpy")),
    PT2: Kind("a PyTorch export", "B", "torch", ("torch", "numpy")),
    KERAS: Kind("a Keras model", "B", "keras", ("keras", "numpy")),
    TORCHSCRIPT: Kind(
        "a TorchScript model", "C", "torch", ("torch", "numpy"), _PREDICTS,
        "`torch.export.save` writes a `.pt2` file, which needs no trust",
    ),
    SAVED_MODEL: Kind(
        "a TensorFlow SavedModel", "C", "tensorflow", ("tensorflow",), _PREDICTS,
        "a `.keras` or ONNX file needs no trust",
    ),
    TF1_EXPORT: Kind(
        "a TensorFlow 1 export", "C", "tensorflow", ("tensorflow",), _PREDICTS,
        "an ONNX file needs no trust",
    ),
    PICKLE: Kind(
        "a pickle", "D", "sklearn", ("sklearn", "joblib"), _LOADS,
        "an ONNX file, as skl2onnx writes it, needs no trust",
    ),
    "safetensors": Kind("a weights file", "A", instead=_WEIGHTS),
    "state-dict": Kind("a file of PyTorch weights", "B", instead=_WEIGHTS),
    "weights-h5": Kind("a file of Keras weights", "A", instead="save the whole model as `.keras`"),
    "torch-pickle": Kind("a pickle of PyTorch", "D", instead=_WEIGHTS),
    "aotinductor": Kind(
        "a compiled PyTorch package", "D", instead="`torch.export.save` writes one that is data"
    ),
    "tflite": Kind("a LiteRT model", "A", instead=_TO_ONNX),
    "skops": Kind("a skops file", "B", instead=_TO_ONNX),
}  # fmt: skip

_TORCH_SUFFIXES = frozenset({".pt", ".pth", ".pt2", ".ts"})
_PICKLE_SUFFIXES = frozenset({".pkl", ".pickle", ".joblib"})
_HDF5_SUFFIXES = frozenset({".h5", ".hdf5", ".keras"})
_BY_SUFFIX = {
    ".onnx": ONNX,
    ".safetensors": "safetensors",
    ".tflite": "tflite",
    ".skops": "skops",
}
#: How joblib's compressed files begin: zlib, gzip, bz2, xz, lzma, lz4.
_COMPRESSED = (b"\x78", b"\x1f\x8b", b"BZ", b"\xfd7zXZ", b"\x5d\x00", b"\x04\x22\x4d\x18")
#: Keras puts the architecture into the head of an HDF5 file; a data set has none.
_HDF5_HEAD_BYTES = 64 * 1024 * 1024
#: Entries a zip of weights may have; its directory is read whole.
_MAX_DIRECTORY_BYTES = 64 * 1024 * 1024


def kind_of(path: Path) -> str | None:
    """Return the name in KINDS of the file at `path`, None for what is no model that we know."""
    name = path.name.lower()
    suffix = os.path.splitext(name)[1]
    try:
        if not path.is_file():
            return None
        if name == "saved_model.pb":
            return SAVED_MODEL
        if name == "export.meta":
            return TF1_EXPORT if path.with_suffix(".index").is_file() else None
        if suffix in _TORCH_SUFFIXES:
            return _torch_kind(path)
        if suffix in _HDF5_SUFFIXES:
            return _keras_kind(path, name)
        if suffix in _PICKLE_SUFFIXES:
            return PICKLE if _is_pickle(path, suffix) else None
        return _BY_SUFFIX.get(suffix)
    except (OSError, ValueError, zipfile.BadZipFile, RuntimeError):
        return None


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(8)


def _is_pickle(path: Path, suffix: str) -> bool:
    head = _head(path)
    return head[:1] == b"\x80" or (suffix == ".joblib" and head.startswith(_COMPRESSED))


def _torch_kind(path: Path) -> str | None:
    head = _head(path)
    if head[:1] == b"\x80":
        return "torch-pickle"
    members = _members(path)
    if members is None:
        return None
    if any(name.startswith("data/aotinductor/") for name in members):
        return "aotinductor"
    if "archive_format" in members and any(name.startswith("models/") for name in members):
        return PT2
    if "constants.pkl" in members and any(name.startswith("code/") for name in members):
        return TORCHSCRIPT
    return "state-dict" if "data.pkl" in members else None


def _members(path: Path) -> set[str] | None:
    """Return the names in a zip of PyTorch without their common first folder, None for no zip."""
    if not zipfile.is_zipfile(path):
        return None
    with path.open("rb") as file, zipfile.ZipFile(file) as archive:
        if file.seek(0, os.SEEK_END) - archive.start_dir > _MAX_DIRECTORY_BYTES:
            return None
        return {name.partition("/")[2] or name for name in archive.namelist()}


def _keras_kind(path: Path, name: str) -> str | None:
    if name.endswith(".weights.h5"):
        return "weights-h5"
    head = _head(path)
    if head.startswith(b"\x89HDF\r\n\x1a\n"):
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                found = data.find(b"model_config", 0, min(size, _HDF5_HEAD_BYTES))
        return KERAS if found >= 0 else None
    if not head.startswith(b"PK"):
        return None
    with zipfile.ZipFile(path) as archive:
        names = set(archive.namelist())
    return KERAS if {"config.json", "metadata.json"} <= names else None
