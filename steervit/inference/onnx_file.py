"""Writes a torch module as an ONNX file that ONNX Runtime and OpenVINO both run. Knows nothing of what it computes.

The batch stays free, every other size is fixed. Operators that ONNX has not are written with those that it has.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

OPSET = 20  # the first with an exact GELU


class ExportError(ValueError):
    """A module that cannot be written as a graph; the message names the operator that is missing."""


def write_onnx(
    module: nn.Module, example: Tensor, path: Path, inputs: Sequence[str], outputs: Sequence[str]
) -> None:
    """Write `module`, called with one tensor like `example` (its first dimension is the batch, 2 or more), to `path`.

    Raises `ExportError` when an operator has no counterpart, or when the batch did not stay free.
    """
    batch = torch.export.Dim("batch")
    with torch.no_grad():
        module.eval()(
            example
        )  # constants that are kept from the first call on are not to be made while tracing
    try:
        with _quiet(), torch.no_grad():
            program = torch.onnx.export(
                module, (example,), dynamo=True, opset_version=OPSET, verbose=False,
                input_names=list(inputs), output_names=list(outputs),
                dynamic_shapes=({0: batch},), custom_translation_table=_translations(),
            )  # fmt: skip
    except torch.onnx.errors.OnnxExporterError as error:
        raise ExportError(
            f"expected a model whose operators ONNX has, {type(module).__name__} has others: {_first_reason(error)}; "
            "export this model with --format torch, which runs where torch is"
        ) from error
    assert program is not None
    program.save(path, external_data=False)
    _check_batch(path)


def _first_reason(error: BaseException) -> str:
    told: BaseException | None = error
    while told is not None and "No ONNX function found" not in str(told) and told.__cause__ is not None:
        told = told.__cause__
    line = next((one for one in str(told or error).splitlines() if "No ONNX function" in one), None)
    return (line or str(told or error).splitlines()[0])[:300]


def _check_batch(path: Path) -> None:
    import onnx

    for value in onnx.load(path, load_external_data=False).graph.input:
        if not value.type.tensor_type.shape.dim[0].dim_param:
            raise ExportError(
                f"expected a graph for any number of images, {path.name} takes only as many as it was traced with; "
                "please report this"
            )


@contextmanager
def _quiet():
    # The exporter tells of its own deprecations and its progress, which nobody who exports a model can act on.
    import logging

    level = logging.getLogger("torch.onnx").level
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.getLogger("torch.onnx").setLevel(level)


def _translations() -> dict[Any, Any]:
    """Operators that torch's exporter does not know, in terms of ONNX's."""
    return {
        torch.ops.aten.median.dim: _median,
        torch.ops.aten._upsample_bilinear2d_aa.default: _shrunk,
        torch.ops.aten._adaptive_avg_pool2d.default: _pooled,
        torch.ops.aten.adaptive_max_pool2d.default: _peaks,
    }


def _median(self, dim: int = -1, keepdim: bool = False):
    """The lower median along `dim`, as torch defines it, and where it is."""
    op = _operators()
    count = (int(self.shape[dim]) - 1) // 2 + 1
    values, places = op.TopK(self, op.Constant(value_ints=[count]), axis=dim, largest=0, sorted=1)
    last, axes = op.Constant(value_ints=[count - 1]), op.Constant(value_ints=[dim])
    found = [op.Gather(one, last, axis=dim) for one in (values, places)]
    return tuple(found if keepdim else [op.Squeeze(one, axes) for one in found])


def _shrunk(
    self, output_size: Sequence[int], align_corners: bool, scales_h: Any = None, scales_w: Any = None
):
    """Bilinear resampling with antialiasing: a weighted sum of rows, then of columns."""
    return _resampled(
        self, output_size, lambda x, size: F.interpolate(x, size, mode="bilinear", antialias=True)
    )


def _pooled(self, output_size: Sequence[int]):
    """Means over windows that may overlap: a weighted sum of rows, then of columns."""
    return _resampled(self, output_size, F.adaptive_avg_pool2d)


def _peaks(self, output_size: Sequence[int]):
    """Maxima over windows that may overlap, of rows, then of columns; where they are is not said.

    Windows of one length: shorter ones hold their last row or column more than once.
    """
    op, x = _operators(), self
    for axis, after in ((2, int(output_size[0])), (3, int(output_size[1]))):
        before = int(self.shape[axis])
        first = [number * before // after for number in range(after)]
        last = [-(-(number + 1) * before // after) - 1 for number in range(after)]
        length = 1 + max(b - a for a, b in zip(first, last, strict=True))
        places = torch.tensor(
            [[min(a + step, b) for step in range(length)] for a, b in zip(first, last, strict=True)]
        )
        window = op.Constant(value_ints=[axis + 1])
        x = op.ReduceMax(op.Gather(x, _constant(places), axis=axis), window, keepdims=0)
    return x, x


def _resampled(self, output_size: Sequence[int], resample):
    op = _operators()
    rows, columns = (
        _weights(int(self.shape[axis]), int(size), resample)
        for axis, size in ((2, output_size[0]), (3, output_size[1]))
    )
    return op.MatMul(op.MatMul(_constant(rows), self), _constant(columns.T))


def _weights(before: int, after: int, resample) -> Tensor:
    """(after, before): what each of `after` values along one side takes from each of `before`."""
    return resample(torch.eye(before).view(1, 1, before, before), (after, before))[0, 0]


def _operators() -> Any:
    from onnxscript import opset20  # it is OPSET's

    return opset20


def _constant(matrix: Tensor):
    import onnx

    return _operators().Constant(value=onnx.numpy_helper.from_array(matrix.contiguous().numpy()))
