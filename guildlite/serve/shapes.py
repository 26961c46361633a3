"""Shapes of instances and of whole tensors, and whether two answers are the same."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from guildlite.serve.model import TensorSpec

if TYPE_CHECKING:
    from guildlite.serve.model import Array

    Instance = dict[str, Array]


def counts_instances(spec: TensorSpec) -> bool:
    """Say whether the first dimension is free, or is 1 in front of others."""
    return spec.shape[:1] == (-1,) or (spec.shape[:1] == (1,) and len(spec.shape) > 1)


def instance_shape(spec: TensorSpec) -> tuple[int, ...]:
    """Return the shape of one instance's value."""
    return spec.shape[1:] if counts_instances(spec) else spec.shape


def without_leading(array: Array, spec: TensorSpec) -> Array:
    """Undo the leading 1 that a single instance went in with, where the output has it too."""
    if spec.shape[:1] in ((), (-1,), (1,)) and array.shape[:1] == (1,):
        row: Array = array[0]
        return row
    return array


def same_shapes(instances: Sequence[Instance]) -> bool:
    """Say whether the arrays of some instances can be stacked."""
    first = {name: array.shape for name, array in instances[0].items()}
    return all(array.shape == first[name] for one in instances[1:] for name, array in one.items())


def neighbour(instance: Instance) -> Instance:
    """Return an instance of the same shape with other numbers."""
    return {
        name: array if array.dtype.kind in "bO" else array + array.dtype.type(1)
        for name, array in instance.items()
    }


def close(one: Array, other: Array) -> bool:
    """Say whether two answers are the same but for the order in which sums were taken."""
    import numpy as np

    if one.shape != other.shape:
        return False
    if one.dtype.kind != "f":
        return bool((one == other).all())
    return bool(np.allclose(one, other, rtol=1e-2, atol=1e-4, equal_nan=True))


def is_array(value: object) -> bool:
    """Say whether this is an array of NumPy's kind; a model may give other things."""
    return hasattr(value, "size") and hasattr(value, "dtype")
