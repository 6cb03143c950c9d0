"""What the metrics cost beside others: CPU seconds and memory for 83 maps of 900 x 900, a category of MVTec.

    python benchmarks/metrics.py            # prints a Markdown table; a few minutes, most of it scikit-learn
    python benchmarks/metrics.py --images 20 --size 300

Every implementation runs alone in a fresh process on one thread, on the same maps, read into memory before
the clock starts. adeval is measured when it is installed (it is not needed otherwise).
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
FAMILIES = {
    "logits": lambda z: z,
    "softmax": lambda z: np.exp(3 * z - 8),
    "sigmoid": lambda z: 1 / (1 + np.exp(-6 * z)),
    "narrow": lambda z: 0.5 + 1e-5 * z,
}


def draw(images: int, size: int, family: str, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """float32 maps and uint8 masks, images x size x size: smooth noise, raised on defects; a quarter good."""
    import cv2

    random = np.random.default_rng(seed)
    maps = np.empty((images, size, size), np.float32)
    masks = np.zeros((images, size, size), np.uint8)
    for number in range(images):
        for _ in range(random.integers(1, 4) if number >= images // 4 else 0):
            centre, axes = random.integers(size // 6, size - size // 6, 2), random.integers(2, size // 7, 2)
            cv2.ellipse(masks[number], centre.tolist(), axes.tolist(), random.uniform(0, 180), 0, 360, 1, -1)
        noise = cv2.GaussianBlur(random.standard_normal((size, size), dtype=np.float32), (0, 0), size / 110)
        raised = cv2.GaussianBlur(masks[number].astype(np.float32), (0, 0), size / 75)
        maps[number] = FAMILIES[family](noise / noise.std() + 2.2 * raised)
    return maps, masks


# ---- the implementations: each takes maps and masks and returns its figures


def ours(maps: np.ndarray, masks: np.ndarray) -> dict[str, float]:
    from anomaly.metrics import PixelMetrics

    metrics = PixelMetrics()
    for score_map, mask in zip(maps, masks, strict=True):
        metrics.update(score_map, mask)
    result = metrics.compute()
    return {name: float(result[name]) for name in ("auroc", "f1_max", "pro")}


def exact(maps: np.ndarray, masks: np.ndarray) -> dict[str, float]:
    """scikit-learn for ROC and precision-recall; PRO from all scores sorted, region by region."""
    from sklearn.metrics import auc, precision_recall_curve, roc_curve

    scores, truth = maps.ravel(), masks.ravel()
    fpr, tpr, _ = roc_curve(truth, scores)
    precision, recall, _ = precision_recall_curve(truth, scores)
    f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
    return {"auroc": float(auc(fpr, tpr)), "f1_max": float(f1.max()), "pro": exact_pro(maps, masks)}


def exact_pro(maps: np.ndarray, masks: np.ndarray, limit: float = 0.3) -> float:
    """Sort every pixel; each adds a false positive, or one over its region's size of coverage."""
    from skimage.measure import label, regionprops

    gain = np.zeros(maps.shape)
    regions = 0
    for number, mask in enumerate(masks):
        for region in regionprops(label(mask, connectivity=2)):
            gain[number][tuple(region.coords.T)] = 1 / region.area
            regions += 1
    order = np.argsort(maps, axis=None)[::-1]
    scores, gain = maps.ravel()[order], gain.ravel()[order]
    last = np.append(scores[1:] != scores[:-1], True)
    fpr = np.append(0, (np.cumsum(gain == 0) / np.count_nonzero(gain == 0))[last])
    pro = np.append(0, (np.cumsum(gain) / regions)[last])
    inside = fpr <= limit
    x, y = np.append(fpr[inside], limit), np.append(pro[inside], np.interp(limit, fpr, pro))
    return float(np.sum(np.diff(x) * (y[1:] + y[:-1])) / 2 / limit)


def adeval(maps: np.ndarray, masks: np.ndarray) -> dict[str, float]:
    """AUROC and PRO of adeval, which asks for a function NumPy 2.4 has dropped; it gets the successor."""
    import warnings

    if not hasattr(np, "trapz"):
        np.trapz = np.trapezoid
    from adeval import auroc_aupr_aupro

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        auroc, _, pro = auroc_aupr_aupro(maps, masks)
    return {"auroc": auroc, "pro": pro}


IMPLEMENTATIONS = {"ours": ours, "adeval": adeval, "exact": exact}
LABELS = {
    "ours": "`anomaly.metrics`: AUROC, AP, F1-max, PRO",
    "adeval": "adeval: AUROC, AP, PRO",
    "exact": "scikit-learn ROC + PR, exact PRO by regions",
}

# ---- measuring


def measure(name: str, folder: Path, repeats: int) -> None:
    """In a process of its own: run one implementation and print its cost (best of `repeats`) as JSON."""
    import cv2

    cv2.setNumThreads(1)
    maps, masks = np.load(folder / "maps.npy"), np.load(folder / "masks.npy")
    run = IMPLEMENTATIONS[name]
    run(maps[:1, :32, :32], draw(1, 32, "logits")[1] | np.eye(32, dtype=np.uint8))  # imports are not counted
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
    before = memory("VmRSS")
    seconds = []
    for _ in range(repeats):
        start = time.process_time()
        figures = run(maps, masks)
        seconds.append(time.process_time() - start)
    print(json.dumps({"seconds": seconds, "megabytes": memory("VmHWM") - before, **figures}))


def memory(field: str) -> float:
    """A memory figure of this process in MB, from Linux."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"expected {field} in /proc/self/status, found none; run this on Linux")


def in_child(name: str, folder: Path, repeats: int) -> dict:
    command = [sys.executable, __file__, "--child", name, "--folder", str(folder), "--repeats", str(repeats)]
    path = os.pathsep.join(filter(None, [str(Path(__file__).parent.parent), os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, **ONE_THREAD, "PYTHONPATH": path}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout)


def table(rows: dict[str, dict]) -> str:
    """Markdown; the ratio is CPU of each over ours, best against best."""
    reference, truth = min(rows["ours"]["seconds"]), rows.get("exact", {})
    lines = [
        "| implementation | CPU s (best, all) | times ours | MB above the maps | AUROC | F1-max | PRO |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, row in rows.items():
        best, every = min(row["seconds"]), ", ".join(f"{second:.2f}" for second in row["seconds"])
        figures = [f"{row[key]:.7f}" if key in row else "-" for key in ("auroc", "f1_max", "pro")]
        cells = [LABELS[name], f"{best:.2f} ({every})", f"{best / reference:.1f}", f"{row['megabytes']:.0f}"]
        lines.append(f"| {' | '.join(cells + figures)} |")
    if truth:
        keys = ("auroc", "f1_max", "pro")
        gaps = ", ".join(f"{key} {abs(rows['ours'][key] - truth[key]):.1e}" for key in keys)
        lines += ["", f"Ours differs from the exact sort by: {gaps}."]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=83)
    parser.add_argument("--size", type=int, default=900)
    parser.add_argument("--family", choices=FAMILIES, action="append", help="kind of maps; may be repeated")
    parser.add_argument("--only", choices=IMPLEMENTATIONS, action="append", help="implementations to run")
    parser.add_argument("--repeats", type=int, default=3, help="of all but the exact one")
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        measure(options.child, options.folder, options.repeats)
        return
    names = [name for name in IMPLEMENTATIONS if not options.only or name in options.only or name == "ours"]
    if "adeval" in names and importlib.util.find_spec("adeval") is None:
        names.remove("adeval")
        print("adeval is not installed; left out.\n")
    for family in options.family or ["softmax"]:
        with tempfile.TemporaryDirectory() as folder:
            maps, masks = draw(options.images, options.size, family)
            np.save(Path(folder) / "maps.npy", maps)
            np.save(Path(folder) / "masks.npy", masks)
            del maps, masks
            rows = {
                name: in_child(name, Path(folder), 1 if name == "exact" else options.repeats)
                for name in names
            }
        versions = f"Python {platform.python_version()}, NumPy {np.__version__}"
        print(f"{options.images} {family} maps of {options.size} x {options.size}, one thread, {versions}\n")
        print(table(rows) + "\n", flush=True)


if __name__ == "__main__":
    main()
