"""Draws docs/names.png: what nano lights up when it is asked for one kind of defect or the other, by name.

Run from the repository root: python docs/samples/names.py

Renderings that were not trained on, the first three of those with several defects; no term that ignores the text
(self-similarity, dark lines) is added. Brighter is a higher sigmoid, 0 to 1.
"""

from itertools import count, islice
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from anomaly.decision.threshold import TEXT_ALONE
from anomaly.inspector import Inspector
from anomaly.prompts import from_texts
from steervit.nano.scenes.scene import Scene, render_scene

FIRST_SEED, ROWS, SIDE, CAPTION = 810_100, 3, 210, 24


def main() -> None:
    """Write the picture."""
    model = Inspector("nano").model
    scenes = (render_scene(seed, 384, several=True) for seed in count(FIRST_SEED))
    chosen = islice((scene for scene in scenes if len(scene.kinds) >= 2), ROWS)
    rows = [np.hstack([_cell(*cell) for cell in _cells(model, scene)]) for scene in chosen]
    Image.fromarray(np.vstack(rows)).save(Path(__file__).parent.parent / "names.png", optimize=True)


def _cells(model: object, scene: Scene) -> list[tuple[np.ndarray, str]]:
    """The scene and its maps, each with what was asked for."""
    asked = ["the anomaly", *(f"the {kind}" for kind in scene.kinds[:2])]
    return [(scene.image, scene.object_name)] + [(_map(model, scene, text), text) for text in asked]


def _map(model: object, scene: Scene, text: str) -> np.ndarray:
    inspector = Inspector(
        model, prompts=from_texts([text + " in the {object}"]), activation="sigmoid", **TEXT_ALONE
    )
    heatmap = inspector.inspect(scene.image, scene.object_name).heatmap
    return cv2.applyColorMap((heatmap * 255).astype(np.uint8), cv2.COLORMAP_VIRIDIS)[..., ::-1]


def _cell(picture: np.ndarray, caption: str) -> np.ndarray:
    cell = Image.new("RGB", (SIDE + 8, SIDE + CAPTION + 8), "white")
    cell.paste(Image.fromarray(picture).resize((SIDE, SIDE), Image.Resampling.BILINEAR), (4, CAPTION + 4))
    ImageDraw.Draw(cell).text((6, 6), caption, "black", ImageFont.load_default(15))
    return np.asarray(cell)


if __name__ == "__main__":
    main()
