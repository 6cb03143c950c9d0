"""Graphs as the runtimes run them: arrays in, arrays out. Knows nothing of what they compute.

Each runtime is imported when a graph of its is opened, so a machine needs only the one that its bundle is for.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from threading import Lock
from typing import Any, Protocol, TypeVar

import numpy as np

from anomaly.bundle.contents import BundleError

PACKAGES = {"onnx": "onnxruntime", "openvino": "openvino", "torch": "torch"}
Made = TypeVar("Made")
OF_THE_CPU = {"fp32": "f32", "bf16": "bf16", "int8": "f32"}  # int8: what is not quantised stays float32


def in_own_thread(make: Callable[[], Made]) -> Made:
    """What `make` returns, called in a thread that ends with it.

    OpenVINO's plugin for the CPU replaces the signal stack of the thread that loads it. Two that end in another order
    than they began leave a freed one behind, and the next signal that Python handles (Ctrl-C, the end of a child)
    ends the process.
    """
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(make).result()


@cache
def openvino_core() -> Any:
    """OpenVINO with its plugin for the CPU: one for the whole process, loaded by a thread of its own."""
    import openvino

    def load() -> Any:
        core = openvino.Core()
        core.get_property("CPU", "FULL_DEVICE_NAME")
        return core

    return in_own_thread(load)


class Graph(Protocol):
    """A graph that any thread may run, one run at a time."""

    def __call__(self, given: np.ndarray) -> list[np.ndarray]:
        """Its one input, of any batch, -> its outputs in order."""

    def precisions(self) -> dict[str, int]:
        """By precision, how many of its matrix products and convolutions the processor really runs in it."""


def open_graph(path: Path, runtime: str, precision: str, threads: int) -> Graph:
    """The graph in a file. Raises `BundleError` when the runtime is not installed, or cannot run the graph here."""
    if find_spec(PACKAGES[runtime]) is None:
        raise BundleError(
            f"this bundle runs on {PACKAGES[runtime]}, which is not installed: pip install {PACKAGES[runtime]}"
        )
    kinds: dict[str, Any] = {"onnx": OnnxGraph, "openvino": OpenVinoGraph, "torch": TorchGraph}
    try:
        return kinds[runtime](path, precision, threads)
    except BundleError:
        raise
    except Exception as error:  # each runtime has errors of its own kind, none in common
        reason = str(error).strip().splitlines()[0][:300] if str(error).strip() else type(error).__name__
        raise BundleError(
            f"{path.name} cannot be run by the {PACKAGES[runtime]} that is installed here: {reason}. Export again with "
            "the versions of this machine, or with another --format"
        ) from error


class OnnxGraph:
    """By ONNX Runtime on the CPU, in the precisions that are written in the graph."""

    def __init__(self, path: Path, precision: str, threads: int) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.log_severity_level = threads, 3
        self._session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self._input, self._lock, self._precision = self._session.get_inputs()[0].name, Lock(), precision

    def __call__(self, given: np.ndarray) -> list[np.ndarray]:
        """See `Graph`."""
        with self._lock:
            return list(self._session.run(None, {self._input: given}))

    def precisions(self) -> dict[str, int]:
        """See `Graph`; ONNX Runtime changes no precision, so it is the graph's."""
        return {self._precision: 1}


class OpenVinoGraph:
    """By OpenVINO on the CPU. The precision is asked for: left alone, it takes bfloat16 where the processor has it."""

    def __init__(self, path: Path, precision: str, threads: int) -> None:
        core = openvino_core()
        able = core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        if precision == "bf16" and "BF16" not in able:
            raise BundleError(
                f"this bundle is for processors with bfloat16, and this one has {', '.join(able)} only: its scores "
                "would be others. Export it with --precision fp32, which runs anywhere"
            )
        settings = {"INFERENCE_PRECISION_HINT": OF_THE_CPU[precision], "INFERENCE_NUM_THREADS": threads,
                    "PERFORMANCE_HINT": "LATENCY"}  # fmt: skip
        self._compiled = core.compile_model(path, "CPU", settings)
        self._request, self._lock = self._compiled.create_infer_request(), Lock()

    def __call__(self, given: np.ndarray) -> list[np.ndarray]:
        """See `Graph`."""
        with self._lock:
            found = self._request.infer([given], share_inputs=True)
            return [np.array(found[output]) for output in self._compiled.outputs]

    def precisions(self) -> dict[str, int]:
        """See `Graph`; read from the graph as OpenVINO compiled it."""
        counted: Counter[str] = Counter()
        for node in self._compiled.get_runtime_model().get_ops():
            known: Any = node.get_rt_info()
            if str(_value(known, "layerType")) in (
                "FullyConnected",
                "MatMul",
                "Convolution",
                "GroupConvolution",
            ):
                counted[str(_value(known, "runtimePrecision"))] += 1
        return dict(counted)


class TorchGraph:
    """By torch: an exported program. Needs torch, and neither timm nor the model's own code."""

    def __init__(self, path: Path, precision: str, threads: int) -> None:
        import torch

        self._module, self._lock = torch.export.load(path).module(), Lock()
        self._precision = precision

    def __call__(self, given: np.ndarray) -> list[np.ndarray]:
        """See `Graph`."""
        import torch

        with self._lock, torch.inference_mode():
            found = self._module(torch.from_numpy(given))
        return [one.float().numpy() for one in (found if isinstance(found, tuple) else (found,))]

    def precisions(self) -> dict[str, int]:
        """See `Graph`."""
        return {self._precision: 1}


def _value(info: Any, key: str) -> Any:
    try:
        found = info[key]
    except (KeyError, RuntimeError):
        return ""
    return getattr(found, "value", found)
