"""Takes a graph's trunk to 8-bit integers with NNCF; what text goes through stays in floating point.

Only products with the trunk's own weights are quantised: cross-attention, its feed-forward network, norms and the head
decide a score by small differences. Letters: B images, N tokens, D width.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from anomaly.bundle.contents import BundleError
from anomaly.bundle.runtimes import in_own_thread

TRUNK = (
    "trunk.blocks."  # stands in the names of the biases that are added to products with the trunk's weights
)
PRODUCTS = ("MatMul", "Gemm")


def quantise(path: Path, samples: Sequence[np.ndarray], converted: Path | None = None) -> None:
    """Quantise the ONNX graph in `path`, or what it was `converted` to for OpenVINO; that file is replaced.

    It is calibrated on `samples` (1, N, D) that enter it. Raises `BundleError` without NNCF, and for a graph in which
    nothing of the trunk is found.
    """
    if find_spec("nncf") is None:
        raise BundleError(
            "int8 is calibrated with NNCF, which is not installed: pip install 'steer-anomaly[export]'"
        )
    import onnx

    graph = onnx.load(path)
    chosen = of_the_trunk(graph)
    if not chosen:
        raise BundleError(
            f"expected products with the trunk's weights in {path.name}, found none; please report this"
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if converted is not None:
            in_own_thread(lambda: _in_openvino(converted, chosen, samples))
            return
        given = graph.graph.input[0].name
        kept = [one.name for one in graph.graph.node if one.op_type in PRODUCTS and one.name not in chosen]
        # Its correction of biases trips over products of two activations.
        found = _quantised(graph, [{given: one} for one in samples], kept, disable_bias_correction=True)
        onnx.save(found, path)


def _in_openvino(path: Path, chosen: set[str], samples: Sequence[np.ndarray]) -> None:
    # Its nodes are called as those of the graph it was converted from.
    import openvino

    model = openvino.Core().read_model(path)
    products = [one.get_friendly_name() for one in model.get_ops() if one.get_type_name() == "MatMul"]
    found = _quantised(model, list(samples), [name for name in products if name not in chosen])
    temporary = path.with_name(f"int8-{path.name}")
    openvino.save_model(found, temporary, compress_to_fp16=False)
    del model, found  # the file that they read is replaced
    temporary.replace(path)
    temporary.with_suffix(".bin").replace(path.with_suffix(".bin"))


def _quantised(model: Any, samples: list[Any], kept: list[str], **more: Any) -> Any:
    import nncf

    nncf.set_log_level(logging.ERROR)
    return nncf.quantize(
        model, nncf.Dataset(samples), model_type=nncf.ModelType.TRANSFORMER, subset_size=len(samples),
        ignored_scope=nncf.IgnoredScope(names=kept, validate=False),
        advanced_parameters=nncf.AdvancedQuantizationParameters(**more),
    )  # fmt: skip


def of_the_trunk(model: Any) -> set[str]:
    """Names of the products of an ONNX graph to which a bias of the trunk's blocks is added.

    Weights themselves lose their names when the exporter turns them round; biases keep theirs.
    """
    products = {node.output[0]: node.name for node in model.graph.node if node.op_type in PRODUCTS}
    sums = [
        node for node in model.graph.node if node.op_type == "Add" and any(TRUNK in one for one in node.input)
    ]
    return {products[one] for node in sums for one in node.input if one in products}
