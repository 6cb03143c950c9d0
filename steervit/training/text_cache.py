"""Token features of sentences, computed once: a frozen text tower says the same every time.

Kept in memory and, given a folder, on disk: shards of safetensors, keyed by the sentence's hash, in a folder
named after the text tower's own hash, so that features of another tower are never taken by mistake.
Letters: L tokens of a sentence, T tokens of a shard, d_t width.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from steervit.files import write_whole
from steervit.modeling.text import TextEncoder

log = logging.getLogger(__name__)
KEY_BYTES = 16
WRITE_AT = 8_192  # new sentences in memory at which they are written out between checkpoints


def tower_hash(encoder: TextEncoder) -> str:
    """A hash of the tower's weights and vocabulary: 16 hex digits."""
    digest = hashlib.sha256()
    for name, tensor in sorted(encoder.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    get_vocab = getattr(encoder.tokenizer, "get_vocab", dict)
    digest.update(repr(sorted(get_vocab().items())).encode())
    return digest.hexdigest()[:16]


def key_of(text: str) -> bytes:
    """The key of a sentence."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:KEY_BYTES]


class TextCache:
    """Features of sentences, computed on first use.

    On a CPU each sentence is encoded alone, so its features do not depend on its neighbours and a run that
    goes on from a checkpoint repeats them bit for bit; on a GPU `batch` sentences are encoded together.
    `in_memory` bounds the sentences held; `save` writes what is new, once per checkpoint. Features are kept
    as `dtype`, also when they were computed just now. A sentence of ten tokens takes 20 KB in float16.
    """

    def __init__(
        self,
        encoder: TextEncoder,
        folder: Path | None = None,
        dtype: torch.dtype = torch.float16,
        in_memory: int = 20_000,
        batch: int = 256,
    ) -> None:
        self.encoder, self.in_memory, self.dtype = encoder, in_memory, dtype
        self.batch = 1 if next(encoder.parameters()).device.type == "cpu" else batch
        self.hits = self.misses = 0
        self._recent: OrderedDict[bytes, Tensor] = OrderedDict()
        self._new: dict[bytes, Tensor] = {}
        self._shards: list[Path] = []
        self._on_disk: dict[bytes, tuple[int, int, int]] = {}  # shard, first and last row + 1
        name = f"{tower_hash(encoder)}-{str(dtype).removeprefix('torch.')}"
        self.folder = folder / name if folder is not None else None
        self._look()

    def __call__(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Sentences (B) -> features (B, L, d_t), zero where padded, and mask (B, L) bool, on the CPU."""
        keys = [key_of(text) for text in texts]
        found = {key: features for key in set(keys) if (features := self._known(key)) is not None}
        missing = {key: text for key, text in zip(keys, texts, strict=True) if key not in found}
        self.hits, self.misses = self.hits + len(texts) - len(missing), self.misses + len(missing)
        for key, features in self._encode(missing):
            found[key] = self._new[key] = features
            self._remember(key, features)
        if len(self._new) >= WRITE_AT:
            self.save()
        rows = [found[key].float() for key in keys]
        features = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
        lengths = torch.tensor([len(row) for row in rows])
        return features, torch.arange(features.shape[1]) < lengths[:, None]

    def save(self) -> None:
        """Write what is new to disk. A full disk costs only the time to compute it again, and a warning."""
        if self.folder is None or not self._new:
            self._new.clear()
            return
        keys, rows = zip(*self._new.items(), strict=True)
        ends = torch.tensor([len(row) for row in rows]).cumsum(0)
        shard = {
            "keys": torch.frombuffer(bytearray(b"".join(keys)), dtype=torch.uint8).view(-1, KEY_BYTES),
            "ends": ends,
            "features": torch.cat(rows),
        }
        path = self.folder / f"{hashlib.sha256(b''.join(keys)).hexdigest()[:12]}-{os.getpid()}.safetensors"
        try:
            write_whole(path, lambda to: save_file(shard, to))
        except OSError as error:
            log.warning("text features could not be kept in %s (%s); they are computed again", path, error)
            return
        self._new.clear()
        self._look()

    def _known(self, key: bytes) -> Tensor | None:
        features = self._recent.get(key)
        if features is None:
            features = self._new.get(key)
        if features is None and (where := self._on_disk.get(key)) is not None:
            shard, start, end = where
            with contextlib.suppress(OSError, SafetensorError), safe_open(self._shards[shard], "pt") as file:
                features = file.get_slice("features")[start:end]
        if features is not None:
            self._remember(key, features)
        return features

    def _remember(self, key: bytes, features: Tensor) -> None:
        self._recent[key] = features
        self._recent.move_to_end(key)
        while len(self._recent) > self.in_memory:
            self._recent.popitem(last=False)

    def _encode(self, missing: dict[bytes, str]) -> Iterable[tuple[bytes, Tensor]]:
        todo = sorted(missing.items(), key=lambda item: (len(item[1]), item[1]))  # little padding in a batch
        for start in range(0, len(todo), self.batch):
            part = todo[start : start + self.batch]
            features, mask = self.encoder([text for _, text in part])
            for (key, _), row, real in zip(part, features.cpu(), mask.cpu(), strict=True):
                yield key, row[real].to(self.dtype, copy=True)

    def _look(self) -> None:
        """Learn of shards on disk that are new, by this process or another; broken ones are left out."""
        if self.folder is None or not self.folder.is_dir():
            return
        known = set(self._shards)
        for path in sorted(set(self.folder.glob("*.safetensors")) - known):
            try:
                with safe_open(path, "pt") as file:
                    keys, ends = file.get_tensor("keys"), file.get_tensor("ends").tolist()
            except (OSError, SafetensorError) as error:
                log.warning("%s is left out, it cannot be read (%s)", path, error)
                continue
            self._shards.append(path)
            starts = [0, *ends[:-1]]
            for key, start, end in zip(keys.numpy(), starts, ends, strict=True):
                self._on_disk.setdefault(key.tobytes(), (len(self._shards) - 1, start, end))
