"""What is installed only on request, and the sentence for whoever needs it. Said before any work, not after it."""

from __future__ import annotations

from importlib.util import find_spec

from anomaly.errors import SteerAnomalyError

# The extras of pyproject.toml that commands need, and the modules they bring.
EXTRAS = {
    "archive": ("fsspec", "pyarrow"),
    "lance": ("fsspec", "pyarrow", "lance"),
    "plots": ("matplotlib",),
    "ray": ("fsspec", "pyarrow", "ray"),
    "serve": ("fastapi", "uvicorn", "python_multipart", "prometheus_client"),
    "train": ("matplotlib", "pyarrow", "pycocotools"),
}


def need(extra: str, what: str) -> None:
    """Raises `SteerAnomalyError` when `what` cannot be done for want of the packages of `extra`."""
    missing = [module for module in EXTRAS[extra] if find_spec(module) is None]
    if missing:
        raise SteerAnomalyError(
            f"{what} needs {' and '.join(missing)}, which a plain installation leaves out: "
            f"pip install 'steer-anomaly[{extra}]'"
        )
