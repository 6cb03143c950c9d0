"""SteerViT: vision transformers that text steers. The model, knowing nothing of what it is used for."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from steervit.modeling.model import SteerViT

__all__ = ["SteerViT"]


def __getattr__(name: str):
    if name == "SteerViT":  # looked up on first use, so that importing a submodule does not import torch
        from steervit.modeling.model import SteerViT

        return SteerViT
    raise AttributeError(f"module 'steervit' has no attribute {name!r}")
