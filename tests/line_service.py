"""A service without a model, for tests of everything around it: bright pictures are defects."""

from __future__ import annotations

import io
import threading
from contextlib import contextmanager

import numpy as np
from PIL import Image

from anomaly.inspection import Inspection, Region
from anomaly.line.limits import Limits


class Brightness:
    """An inspector that calls pictures brighter than grey defects. `slow` is set while it may go on."""

    references = ()

    def __init__(self, device="cpu"):
        self.device, self.slow, self.batches = device, threading.Event(), []
        self.slow.set()

    def observe(self, images, object):
        self.slow.wait(20)
        self.batches.append(len(images))
        if any(image.shape[0] == 13 for image in images):
            raise ValueError("thirteen")
        return list(images)

    def conclude(self, image, comparison=None):
        heatmap = image.mean(axis=2, dtype=np.float32)
        score, defect = float(heatmap.max()), bool(heatmap.max() > 128)
        regions = (Region(4, (0, 0, 2, 2), (0.5, 0.5), score),) if defect else ()
        return Inspection(score, defect, heatmap, heatmap > 128, regions, 128.0, "part", "brightness", 1.0)


class Empty:
    """A shelf without profiles, where every part is judged by `inspector`."""

    only_part = None

    def __init__(self, folder):
        self.folder, self.inspector = folder, Brightness()

    def names(self):
        return []

    def ready(self, name):
        return None

    def alone(self, part):
        return self.inspector

    def versions(self, name):
        from anomaly.line.versions import versions_of

        return versions_of(self.folder, name)


def picture(level=40, side=16, format="PNG", **how):
    """A grey picture as a file's bytes."""
    out = io.BytesIO()
    Image.new("RGB", (side, side), (level,) * 3).save(out, format, **how)
    return out.getvalue()


@contextmanager
def client(folder, token=None, limits=None, keep=100, shelf=None, cores=1):
    """A test client of a service in `folder`; its `service` is the service."""
    from fastapi.testclient import TestClient

    from anomaly.line.app import application
    from anomaly.line.service import Service

    service = Service(shelf or Empty(folder), folder / "line", limits or Limits(), keep, cores=cores)
    made = application(service, token, ("testserver", "localhost", "127.0.0.1"))
    with TestClient(made) as found:
        found.service = service
        yield found
