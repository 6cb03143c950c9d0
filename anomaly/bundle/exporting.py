"""From an inspector to a bundle: its graphs, its evidence and its threshold, and the proof that they score the same.

A bundle that does not score as the model it comes from is not written.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from tempfile import mkdtemp
from typing import TYPE_CHECKING, Any

import numpy as np

from anomaly import __version__
from anomaly.bundle import parity
from anomaly.bundle.contents import BundleError, Manifest, hashed, is_bundle
from anomaly.bundle.parity import Parity, Picture, Scored, compared
from anomaly.bundle.runtimes import PACKAGES
from anomaly.decision.threshold import OperatingPoint
from anomaly.pictures.sizes import picture_at
from anomaly.prompts import object_name

if TYPE_CHECKING:
    from anomaly.inspector import Inspector

TOLERANCE = 0.01  # of PRO, or of rank correlation, that bf16 and int8 may lose
RENDERED = 900_000  # seed of the first rendered picture of a proof; training draws none of these
CALIBRATING = 64  # pictures that int8 is calibrated on, at most


@dataclass(frozen=True)
class Request:
    """What to export as: `runtime`, `precision`, the loss that is accepted, and whether a bundle there is replaced.

    `together`: able to compare the pictures of a run with each other, as every bundle with references is.
    """

    runtime: str = "onnx"
    precision: str = "fp32"
    tolerance: float = TOLERANCE
    overwrite: bool = False
    together: bool = False


def export(
    inspector: Inspector,
    object: str,
    out: Path,
    request: Request,
    pictures: Sequence[Picture] = (),
    calibrating: Sequence[np.ndarray] = (),
) -> Parity:
    """Write a bundle of `inspector` for the part called `object` to the folder `out`, whole or not at all.

    `pictures` prove it, rendered ones where fewer than 32 are given; int8 is calibrated on the good pictures
    `calibrating`, by default rendered ones. Raises `BundleError` when the scores are not the same.
    """
    _check(inspector, out, request)
    out.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    try:
        manifest = _written(inspector, object_name(object), folder, request, calibrating)
        found = _proven(inspector, manifest, folder, request, pictures)
        folder.chmod(0o755)
        if out.exists():
            shutil.rmtree(out)
        folder.rename(out)
        return found
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _check(inspector: Inspector, out: Path, request: Request) -> None:
    if inspector.mutual:
        raise BundleError(
            "expected pictures that are judged one at a time, got an inspector that compares them with each other: "
            "export one that does not (with --mutual the bundle can do both), or a profile with references"
        )
    if out.exists() and not (is_bundle(out) and request.overwrite):
        what = "--overwrite replaces it" if is_bundle(out) else "it is no bundle, so it is left alone"
        raise BundleError(f"{out} exists already: {what}")
    needed = {"onnx": ("onnx", "onnxscript", "onnxruntime"), "openvino": ("onnx", "onnxscript", "openvino")}
    missing = [name for name in needed.get(request.runtime, ()) if find_spec(name) is None]
    if missing:
        raise BundleError(f"export needs {', '.join(missing)}: pip install 'steer-anomaly[export]'")


def _written(
    inspector: Inspector, object: str, folder: Path, request: Request, calibrating: Sequence[np.ndarray]
) -> Manifest:
    from anomaly.bundle.graphs import Wanted, write_graphs

    model: Any = inspector.asked
    tiles = None
    if request.precision == "int8":
        chosen = calibrating[:CALIBRATING] or [one.image for one in _rendered(CALIBRATING, RENDERED + 10_000)]
        tiles = np.stack([picture_at(one, model.image_size) for one in chosen])
    described = request.together or bool(len(inspector.references))
    wanted = Wanted(request.runtime, request.precision, described, tiles)
    graphs = write_graphs(model, inspector.settings, object, wanted, folder)
    profile, references, options = _evidence(inspector, object, folder)
    _documents(inspector, folder)
    settings, record = inspector.settings, inspector.record
    if request.precision != "fp32":
        settings = replace(settings, precision=request.precision)
    names = ("torch", "timm", "numpy", PACKAGES[request.runtime])
    return Manifest(
        object=object,
        runtime=request.runtime,
        precision=request.precision,
        settings=settings.to_dict(),
        texts=tuple(inspector.prompts.fill(object) + inspector.prompts.fill_contrast(object)),
        prompt_set=inspector.prompts.name,
        description=inspector.description,
        model={"name": record.name, "about": record.about, "licence": record.licence},
        grid_size=model.grid_size,
        graphs=graphs,
        files=hashed(folder),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        tool_version=__version__,
        versions={name: version(name) for name in names},
        point=None if profile or inspector.point is None else _plain(inspector.point),
        why_unjudged=inspector.why_unjudged,
        profile=profile,
        references=references,
        notice=_notice(record.name),
        options=options | {"contrast": model.contrast, "mutual": _mutual_precision()},
    )


def _mutual_precision() -> str:
    """In which precision this machine compares pictures with each other, as a bundle repeats it anywhere."""
    from anomaly.evidence.mutual_half import is_native

    return "rounded" if is_native() else "single"


def _evidence(
    inspector: Inspector, object: str, folder: Path
) -> tuple[str | None, str | None, dict[str, Any]]:
    """Store the profile, or else what pictures are compared with and which pixels count: its file, and what is said."""
    if (profile := inspector.judge.profile) is not None:
        from anomaly.decision.profile_file import save

        save(profile, folder / "part.profile")
        return "part.profile", None, {}
    contents: tuple[str, ...] = ()
    arrays = inspector.roi.to_arrays()
    if described := inspector.described(object):
        arrays, contents = arrays | described.to_arrays(), tuple(described.bank.contents)
    if not arrays:
        return None, None, {}
    np.savez(folder / "references.npz", **arrays)  # type: ignore[arg-type]
    return None, "references.npz", {"references": list(contents)}


def _documents(inspector: Inspector, folder: Path) -> None:
    if inspector.record.card:
        (folder / "MODEL_CARD.md").write_text(inspector.record.card, encoding="utf-8")
    said = f"The weights of {inspector.record.name}: {inspector.record.licence}.\n"
    if notice := _notice(inspector.record.name):
        said += f"{notice}\n"
    (folder / "LICENCE.txt").write_text(said, encoding="utf-8")


def _notice(name: str) -> str | None:
    from steervit.weights.catalogue import licence_notice

    return licence_notice(name)


def _plain(point: OperatingPoint) -> dict[str, Any]:
    return asdict(replace(point, settings=None)) | {"settings": point.settings is not None}


def _proven(
    inspector: Inspector, manifest: Manifest, folder: Path, request: Request, pictures: Sequence[Picture]
) -> Parity:
    """Compare, and finish the bundle with what was found. Raises `BundleError` where that is no proof."""
    given = list(pictures)
    shown = [one.small() for one in given + _rendered(max(0, parity.FEWEST - len(given)), RENDERED)]
    expected = Scored.by(inspector, shown, manifest.object)
    manifest.save(folder)
    found = checked(folder, shown, expected)
    if (wrong := found.failure(request.precision, request.tolerance)) is not None:
        raise BundleError(
            f"the {request.precision} graphs do not score as {inspector.record.name} does: {wrong}; "
            f"{found.sentence()}. Nothing was written; try another --format, or --tolerance for bf16 and int8"
        )
    parity.keep(folder, shown, expected)
    replace(manifest, files=hashed(folder), parity=found.to_dict() | {"tolerance": request.tolerance}).save(
        folder
    )
    return found


def checked(folder: Path, pictures: Sequence[Picture], expected: Scored) -> Parity:
    """The bundle in `folder` beside what is `expected` of the pictures, and in which precision it really ran."""
    from anomaly.inspector import Inspector

    bundled: Any = Inspector(folder)
    found = Scored.by(bundled, pictures, bundled.bundle.manifest.object)
    threshold = bundled.point.threshold if bundled.point else None
    named = bundled.bundle.manifest.graphs
    precisions = {name: bundled.asked.graph(name).precisions() for name in named}
    return replace(compared(expected, found, pictures, threshold), precisions=precisions)


def verify(folder: Path) -> tuple[Manifest, Parity]:
    """Repeat the proof of the bundle in `folder` here. Raises `BundleError` for one that cannot be trusted."""
    from anomaly.bundle.contents import read

    manifest = read(folder)
    return manifest, checked(folder, *parity.kept(folder))


def _rendered(count: int, first: int) -> list[Picture]:
    from steervit.nano.scenes.scene import render_scene

    scenes = (render_scene(first + number, parity.LARGEST) for number in range(count))
    return [Picture(scene.image, scene.defects) for scene in scenes]
