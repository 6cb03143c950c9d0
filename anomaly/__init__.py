"""steer-anomaly: finds defects in photographs of parts, told only what the part is called.

One module per step of an inspection. Importing this package imports neither torch nor OpenCV; do it before you import
torch, so that threads which wait leave the cores to others (`anomaly.threads`).
"""

from anomaly.threads import wait_passively

wait_passively()

__version__ = "0.1.0"

__all__ = ["Inspection", "Inspector", "Region", "__version__"]


def __getattr__(name: str):
    # The public names are looked up on first use, so that `--help` and the metrics stay fast.
    if name == "Inspector":
        from anomaly.inspector import Inspector

        return Inspector
    if name in ("Inspection", "Region"):
        from anomaly import inspection

        return getattr(inspection, name)
    raise AttributeError(f"module 'anomaly' has no attribute {name!r}")
