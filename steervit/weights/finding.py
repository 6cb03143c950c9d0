"""Which files a model is built from: a name, a checkpoint, a folder -> checkpoint, trunk and text tower.

Trunk and text tower come from files given here, from the checkpoint's own folder (nano), or from the hub. Reads
the checkpoint and builds nothing: no model library is imported.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from steervit.weights import hub
from steervit.weights.catalogue import is_name
from steervit.weights.checkpoint import Checkpoint, read_checkpoint

TEXT_WEIGHTS = ("model.safetensors", "pytorch_model.bin")


def find_files(name_or_path: str | Path, local_only: bool = False) -> hub.ModelPaths:
    """The files of a model by name (downloaded if need be), or of a checkpoint file or folder.

    A name of the list is a name, whatever lies in the working directory (`catalogue.is_name`).
    A folder may carry its trunk (`trunk.safetensors`) and its text tower (`text/`) beside the checkpoint, as
    nano's does. Raises ValueError naming the known models, or FileNotFoundError saying what is missing.
    """
    path = Path(name_or_path).expanduser()
    if is_name(name_or_path) or not path.exists():
        paths = hub.ensure(str(name_or_path), local_only)
        if paths.trunk is not None or paths.checkpoint.is_file():
            return paths
        path = paths.checkpoint
    home = path if path.is_dir() else path.parent
    trunk, text = home / "trunk.safetensors", home / "text"
    return hub.ModelPaths(path, trunk if trunk.is_file() else None, text if text.is_dir() else None)


@dataclass(frozen=True)
class Found:
    """Everything a model is built from, not yet built: its checkpoint as read, and the files of the other parts."""

    checkpoint: Checkpoint
    path: Path
    trunk: Path
    text: Path


def find_parts(name_or_path, *, trunk=None, text_encoder=None, local_only: bool = False) -> Found:
    """The files of every part of a model; `trunk` and `text_encoder` replace what would be taken otherwise.

    Raises as `find_files` does, and ValueError (`CheckpointError`) for a damaged checkpoint.
    """
    files = find_files(name_or_path, local_only)
    checkpoint = read_checkpoint(files.checkpoint)
    config = checkpoint.config
    text = text_encoder or files.text or hub.text_encoder_path(config["text_encoder"], local_only)
    timm_name = config["vision_encoder"]["model_name"]
    trunk = trunk or files.trunk or hub.trunk_path(timm_name, local_only)
    found = Found(checkpoint, files.checkpoint, Path(trunk).expanduser(), Path(text).expanduser())
    if not found.trunk.is_file():
        raise FileNotFoundError(f"expected the trunk's weights in {found.trunk}, and there is no such file")
    _check_text_folder(found.text)
    return found


def _check_text_folder(folder: Path) -> None:
    if not any((folder / name).is_file() for name in TEXT_WEIGHTS):
        here = ", ".join(sorted(path.name for path in folder.iterdir())) if folder.is_dir() else ""
        state = f"it holds {here or 'nothing'}" if folder.is_dir() else "there is no such folder"
        raise FileNotFoundError(
            f"expected a text encoder's folder with {' or '.join(TEXT_WEIGHTS)} at {folder}; {state}"
        )
