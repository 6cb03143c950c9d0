"""CLIP and SigLIP from transformers as a backbone: whole pictures, patches, windows of patches, sentences.

A patch is brought into the space that sentences share as the whole picture is: by CLIP's last norm and projection; by
SigLIP's pooling head, which of a single patch keeps its value alone. Knows nothing of defects.
Letters: B images, P sentences, S image side in px, N = h x w patches, W windows of k patches, D channels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anomaly.errors import SteerAnomalyError

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image


class ContrastiveBackbone:
    """See `backbones.Backbone`. `model` is a folder as transformers saves it, or a hub name."""

    aligned, smooth = True, 0.0

    def __init__(self, model: str, device: str | None = None) -> None:
        from anomaly.file_hashes import file_hash
        from anomaly.loaded_model import usable_device

        self.name, self._model = Path(model).name, model
        self._device = usable_device(device, model)
        files = sorted(Path(model).glob("*.safetensors")) if Path(model).is_dir() else []
        self.hashes = {path.name: file_hash(path) for path in files} or {"hub": model}

    @cached_property
    def model(self) -> Any:
        """`CLIPModel` or `SiglipModel`. Raises `SteerAnomalyError` when it cannot be had."""
        from transformers import AutoModel, CLIPModel, SiglipModel

        loaded = self._asked(AutoModel)
        if not isinstance(loaded, CLIPModel | SiglipModel):
            raise SteerAnomalyError(
                f"expected a CLIPModel or SiglipModel, {self._model} is a {type(loaded).__name__}"
            )
        model: Any = loaded
        return model.to(self._device).eval()

    @cached_property
    def _tokenizer(self) -> Any:
        from transformers import AutoTokenizer

        return self._asked(AutoTokenizer)

    @cached_property
    def _processor(self) -> Any:
        from transformers import AutoImageProcessor

        return self._asked(AutoImageProcessor)

    @property
    def is_clip(self) -> bool:
        """Whether it is CLIP, with a CLS token, not SigLIP, with a pooling head."""
        return self.model.config.model_type == "clip"

    @property
    def scale(self) -> float:
        """The learned factor of cosines."""
        return float(self.model.logit_scale.detach().exp())

    @property
    def image_size(self) -> tuple[int, int]:
        """See `Backbone`."""
        side = self.model.config.vision_config.image_size
        return side, side

    @property
    def grid_size(self) -> tuple[int, int]:
        """See `Backbone`."""
        config = self.model.config.vision_config
        return (config.image_size // config.patch_size,) * 2

    def transform(self, whole: bool) -> Callable[[Image], torch.Tensor]:
        """See `Backbone`; not whole: CLIP's shorter side is resized and the centre cut out, SigLIP squashes anyway."""
        from torchvision.transforms import v2

        side, bicubic = self.image_size[0], v2.InterpolationMode.BICUBIC
        squash = whole or not self.is_clip
        sized = [
            v2.Resize((side, side) if squash else side, bicubic),
            *([] if squash else [v2.CenterCrop(side)]),
        ]
        import torch

        steps = [v2.ToImage(), v2.ToDtype(torch.float32, scale=True)]
        normal = v2.Normalize(list(self._processor.image_mean), list(self._processor.image_std))
        return v2.Compose([*sized, *steps, normal])

    def see(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """See `Backbone`."""
        vision = self.model.vision_model
        tokens = vision.encoder(inputs_embeds=self.embedded(images)).last_hidden_state
        return self.projected(tokens[:, 1:] if self.is_clip else tokens), self._whole(tokens)

    def embedded(self, images: torch.Tensor) -> torch.Tensor:
        """What enters the first block: (B, N, D), of CLIP with the CLS token first."""
        vision = self.model.vision_model
        tokens = vision.embeddings(images.to(self._device))
        return vision.pre_layrnorm(tokens) if self.is_clip else tokens

    def projected(self, patches: torch.Tensor) -> torch.Tensor:
        """Patches after the last block (B, N, D) -> the space of sentences, (B, N, D)."""
        vision = self.model.vision_model
        normed = vision.post_layernorm(patches)
        if self.is_clip:
            return self.model.visual_projection(normed)
        return vision.head(normed.flatten(0, 1)[:, None]).unflatten(0, normed.shape[:2])

    def windows(self, images: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
        """Vectors of windows, each of the patches `places` (W, k) alone, through all blocks: (B, W, D)."""
        tokens = self.embedded(images)
        first, patches = (tokens[:, :1], tokens[:, 1:]) if self.is_clip else (None, tokens)
        cut = patches[:, places.to(self._device)]  # (B, W, k, D)
        if first is not None:
            import torch

            cut = torch.cat([first[:, None].expand(-1, cut.shape[1], -1, -1), cut], 2)
        found = [self._window(some.flatten(0, 1)) for some in cut.split(64, dim=1)]
        return _joined([one.unflatten(0, (len(images), -1)) for one in found])

    def say(self, texts: Sequence[str]) -> torch.Tensor:
        """See `Backbone`."""
        length = self.model.config.text_config.max_position_embeddings
        padding = True if self.is_clip else "max_length"  # SigLIP reads a sentence's last place
        words = self._tokenizer(
            list(texts), padding=padding, truncation=True, max_length=length, return_tensors="pt"
        ).to(self._device)
        words.pop("token_type_ids", None)
        if not self.is_clip:
            words.pop("attention_mask", None)
        return self.model.get_text_features(**words).pooler_output

    def _window(self, tokens: torch.Tensor) -> torch.Tensor:
        return self._whole(self.model.vision_model.encoder(inputs_embeds=tokens).last_hidden_state)

    def _whole(self, tokens: torch.Tensor) -> torch.Tensor:
        vision = self.model.vision_model
        if self.is_clip:
            return self.model.visual_projection(vision.post_layernorm(tokens[:, 0]))
        return vision.head(vision.post_layernorm(tokens))

    def _asked(self, kind: Any) -> Any:
        """Local files, or the hub's. One sentence for whatever goes wrong."""
        try:
            return kind.from_pretrained(self._model)
        except (OSError, ValueError, ImportError) as error:
            reason = str(error).strip().splitlines()[0]
            raise SteerAnomalyError(
                f"{self._model}: {kind.__name__} could not load it ({reason}). Give --model a folder that has the "
                "weights, the tokenizer and preprocessor_config.json"
            ) from error


def _joined(parts: list[torch.Tensor]) -> torch.Tensor:
    import torch

    return torch.cat(parts, 1)
