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

from anomaly.bundle.manifest import BundleError

TRUNK = "trunk.blocks."  # how names of the weights begin that are quantised, somewhere in them


def quantised(path: Path, runtime: str, samples: Sequence[np.ndarray]) -> None:
    """Quantise the graph in `path`, calibrated on `samples` (1, N, D) that enter it; the file is replaced.

    Raises `BundleError` without NNCF.
    """
    if find_spec("nncf") is None:
        raise BundleError(
            "int8 is calibrated with NNCF, which is not installed: pip install 'steer-anomaly[export]'"
        )
    import nncf

    logging.getLogger("nncf").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if runtime == "openvino":
            _openvino(path, nncf, samples)
        else:
            _onnx(path, nncf, samples)


def _openvino(path: Path, nncf: Any, samples: Sequence[np.ndarray]) -> None:
    import openvino

    model = openvino.Core().read_model(path)
    products = [node for node in model.get_ops() if node.get_type_name() == "MatMul"]
    kept = [node.get_friendly_name() for node in products if not _of_the_trunk(node)]
    found = _quantise(nncf, model, nncf.Dataset(list(samples)), kept)
    temporary = path.with_name(f"int8-{path.name}")
    openvino.save_model(found, temporary, compress_to_fp16=False)
    del model, found  # the file that they read is replaced
    temporary.replace(path)
    temporary.with_suffix(".bin").replace(path.with_suffix(".bin"))


def _of_the_trunk(node: Any) -> bool:
    return any(TRUNK in one.get_node().get_friendly_name() for one in node.input_values())


def _onnx(path: Path, nncf: Any, samples: Sequence[np.ndarray]) -> None:
    import onnx

    model = onnx.load(path)
    products = [node for node in model.graph.node if node.op_type in ("MatMul", "Gemm")]
    kept = [node.name for node in products if not any(TRUNK in name for name in node.input)]
    name = model.graph.input[0].name
    found = _quantise(nncf, model, nncf.Dataset([{name: one} for one in samples]), kept)
    onnx.save(found, path)


def _quantise(nncf: Any, model: Any, data: Any, kept: list[str]) -> Any:
    return nncf.quantize(
        model, data, model_type=nncf.ModelType.TRANSFORMER, subset_size=300,
        ignored_scope=nncf.IgnoredScope(names=kept, validate=False),
    )  # fmt: skip
