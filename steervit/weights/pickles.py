"""Opens the pickle inside a `.pth` without running anything in it, and makes OmegaConf settings plain.

OmegaConf need not be installed: its classes are stood in for by empty ones that only hold what the file says.
"""

from __future__ import annotations

import pickletools
import re
import struct
import zipfile
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch


class CheckpointError(ValueError):
    """A checkpoint that cannot or must not be read; the message says why and what to do."""


class _StandIn:
    """Takes whatever a pickle hands it and does nothing; a dict of attributes is kept."""

    def __new__(cls, *_: Any) -> _StandIn:
        return object.__new__(cls)

    def __setstate__(self, state: Any) -> None:
        if isinstance(state, dict):
            vars(self).update(state)


def _stand_in(full_name: str) -> type[_StandIn]:
    # torch's reader finds an allowed class by its module and name, so the stand-in carries the real ones.
    module, name = full_name.rsplit(".", 1)
    return type(name, (_StandIn,), {"__module__": module})


DICT, LIST = _stand_in("omegaconf.dictconfig.DictConfig"), _stand_in("omegaconf.listconfig.ListConfig")
NODES = tuple(
    _stand_in(f"omegaconf.nodes.{kind}Node")
    for kind in ("Any", "String", "Integer", "Float", "Boolean", "Interpolation")
)
# Read and never looked at: OmegaConf's bookkeeping, and numbers that numpy wrote into the training state.
IGNORED = tuple(
    map(
        _stand_in,
        (
            "omegaconf.base.ContainerMetadata",
            "omegaconf.base.Metadata",
            "typing.Any",
            "numpy.dtype",
            "numpy.core.multiarray.scalar",
            "numpy._core.multiarray.scalar",
        ),
    )
)
PLAIN = (dict, list, tuple, str, int, float, bool, defaultdict)
STAND_INS: tuple[type, ...] = (DICT, LIST, *NODES, *IGNORED, *PLAIN)

TORCH = {
    "collections.OrderedDict",
    "torch._utils._rebuild_tensor_v2",
    "torch._utils._rebuild_parameter",
    "torch.nn.parameter.Parameter",
    "torch.Size",
    "torch.device",
    "_codecs.encode",
    *(f"torch.{kind}Storage" for kind in ("Float", "Double", "Half", "BFloat16")),
    *(f"torch.{kind}Storage" for kind in ("Long", "Int", "Short", "Char", "Byte", "Bool")),
    *(
        f"torch.{kind}"
        for kind in ("float32", "float64", "float16", "bfloat16", "int64", "int32", "uint8", "bool")
    ),
}
ALLOWED = TORCH | {f"{kind.__module__}.{kind.__qualname__}" for kind in STAND_INS}
# What the names were called in Python 2, which pickles of protocol 2 still write.
PYTHON_2 = {
    "__builtin__": "builtins",
    "__builtin__.long": "builtins.int",
    "__builtin__.unicode": "builtins.str",
}
MAX_DEPTH, MAX_VALUES = 64, 100_000
REFERENCE = re.compile(r"\$\{([\w.]+)\}")


def load_pth(path: Path) -> Any:
    """The object in the torch file `path`, tensors mapped from the file, OmegaConf containers made plain.

    Raises `CheckpointError` when the file is damaged, or its pickle wants anything that is not allowed here.
    """
    refuse_unknown_globals(path, _pickle_bytes(path))
    theirs = torch.serialization.get_safe_globals()  # leaving the block below must not drop these
    try:
        with torch.serialization.safe_globals([kind for kind in STAND_INS if kind not in theirs]):
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:  # a damaged pickle makes torch raise almost anything
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise CheckpointError(f"{path} holds a damaged pickle ({first}): download it again") from error
    if isinstance(content, dict) and "config" in content:
        config = plain(content["config"])
        content = {**content, "config": resolved(config, config)}
    return content


def refuse_unknown_globals(path: Path, data: bytes) -> None:
    """Raise `CheckpointError` naming every import of the pickle `data` that is not on the allow-list.

    Nothing is built here: the opcodes are only listed.
    """
    try:
        wanted = list(_globals_of(data))
    except (ValueError, IndexError, struct.error) as error:
        raise CheckpointError(f"{path} holds a malformed pickle ({error}): download it again") from error
    refused = sorted({name for name in wanted if name not in ALLOWED})
    if refused:
        raise CheckpointError(
            f"{path} was not opened: it asks for {', '.join(refused)}. A checkpoint may hold only tensors, "
            "plain values and OmegaConf settings, since anything else can run code. If you trust the file, "
            "open it with the program that wrote it and save only 'state_dict' and a plain 'config'"
        )


def _globals_of(data: bytes) -> Iterator[str]:
    strings: list[str] = []
    argument: Any
    for opcode, argument, _ in pickletools.genops(data):
        if opcode.name == "GLOBAL":
            yield _modern(*argument.split(" ", 1))
        elif opcode.name == "STACK_GLOBAL":
            yield _modern(*strings[-2:]) if len(strings) > 1 else "an import without a name"
        elif opcode.name == "INST":
            yield _modern(*argument.split(" ", 1)) + " (called at once)"
        elif opcode.name.startswith("EXT"):
            yield f"the registered extension {argument}"
        elif isinstance(argument, str) and "UNICODE" in opcode.name:
            strings.append(argument)


def _modern(module: str, name: str) -> str:
    full = f"{module}.{name}"
    return PYTHON_2.get(full) or f"{PYTHON_2.get(module, module)}.{name}"


def _pickle_bytes(path: Path) -> bytes:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            pickles = [name for name in names if name.rsplit("/", 1)[-1] == "data.pkl"]
            if len(pickles) != 1 or len(set(names)) != len(names):
                raise CheckpointError(
                    f"{path} is a zip, but not one that torch.save wrote: expected one data.pkl"
                )
            if (damaged := archive.testzip()) is not None:
                raise CheckpointError(f"{path} is damaged ({damaged} fails its checksum): download it again")
            return archive.read(pickles[0])
    except (PermissionError, CheckpointError):
        raise
    except Exception as error:  # zipfile reports damage in a dozen ways
        raise CheckpointError(f"{path} is damaged or cut short ({error}): download it again") from error


def plain(value: Any) -> Any:
    """`value` with OmegaConf containers and nodes turned into dicts, lists and scalars.

    Raises `CheckpointError` for a value that is no setting, or for more of them than settings ever have
    (containers nested in themselves among them).
    """
    return _plain(value, iter(range(MAX_VALUES)), MAX_DEPTH)


def _plain(value: Any, budget: Iterator[int], depth: int) -> Any:
    if next(budget, None) is None or depth == 0:
        raise CheckpointError("the config is larger than settings can be, or contains itself: save it again")
    if isinstance(value, (DICT, LIST)):
        return _plain(_held(value, "_content"), budget, depth - 1)
    if isinstance(value, NODES):
        return _plain(_held(value, "_val"), budget, depth - 1)
    if isinstance(value, dict):
        return {str(key): _plain(item, budget, depth - 1) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item, budget, depth - 1) for item in value]
    if value is None or type(value) in (str, int, float, bool):
        return value
    kind = f"{type(value).__module__}.{type(value).__qualname__}"
    raise CheckpointError(f"the config holds a {kind}, expected plain values only: save it as a plain dict")


def _held(value: Any, name: str) -> Any:
    held = vars(value)
    if name not in held:
        raise CheckpointError(
            f"the config holds a {type(value).__qualname__} without {name!r}: save it again"
        )
    return held[name]


def resolved(value: Any, root: Any) -> Any:
    """`value` with OmegaConf's plain references, such as `${model.width}`, replaced by what they name.

    A reference that names nothing, or needs a resolver (`${oc.env:HOME}`), stays as it is written.
    """
    if isinstance(value, dict):
        return {key: resolved(item, root) for key, item in value.items()}
    if isinstance(value, list):
        return [resolved(item, root) for item in value]
    for _ in range(MAX_DEPTH):  # a reference may name another; a circle of them ends here
        if not isinstance(value, str) or not (found := REFERENCE.fullmatch(value)):
            break
        value = _named(found[1], root, value)
    return value


def _named(path: str, root: Any, otherwise: Any) -> Any:
    for key in path.split("."):
        if not isinstance(root, dict) or key not in root:
            return otherwise
        root = root[key]
    return root
