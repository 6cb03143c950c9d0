"""Slow, plain metrics to compare with: a loop over every distinct score, regions from scikit-image."""

from __future__ import annotations

import numpy as np
from skimage.measure import label


def brute_force(samples, limit=0.3):
    """AUROC, AP, F1-max, threshold and PRO of a list of (map, mask), by looping over every distinct score."""
    scores = np.concatenate([score_map.ravel() for score_map, _ in samples])
    truth = np.concatenate([mask.ravel() != 0 for _, mask in samples])
    regions = [
        score_map[labels == number]
        for score_map, mask in samples
        for labels in [label(mask != 0, connectivity=2)]
        for number in range(1, labels.max() + 1)
    ]
    points = [(0.0, 0.0, 0.0, 1.0)]
    best_f1, best_threshold, precision_area = -1.0, None, 0.0
    for threshold in sorted(set(scores.tolist()), reverse=True):
        found = scores >= threshold
        true, false = (found & truth).sum(), (found & ~truth).sum()
        f1 = 2 * true / (found.sum() + truth.sum())
        if f1 > best_f1:
            best_f1, best_threshold = f1, threshold
        recall, precision = true / truth.sum(), true / (true + false)
        precision_area += (recall - points[-1][1]) * precision
        coverage = np.mean([(region >= threshold).mean() for region in regions])
        points.append((false / (~truth).sum(), recall, coverage, precision))
    fpr, tpr, pro, _ = (np.array(column) for column in zip(*points, strict=True))
    return {
        "auroc": area(fpr, tpr, 1.0),
        "ap": precision_area,
        "f1_max": best_f1,
        "threshold": best_threshold,
        "pro": area(fpr, pro, limit),
    }


def area(x, y, limit):
    """Area under a curve given by points up to `limit`, over `limit`, one trapezoid after another."""
    total = 0.0
    for x0, y0, x1, y1 in zip(x[:-1], y[:-1], x[1:], y[1:], strict=True):
        if x1 <= limit:
            total += (x1 - x0) * (y0 + y1) / 2
        elif x0 < limit:
            at_limit = y0 + (y1 - y0) * (limit - x0) / (x1 - x0)
            total += (limit - x0) * (y0 + at_limit) / 2
    return total / limit


def draw(seed, images=4, size=12, levels=None):
    """Small random (map, mask) pairs; the first is good. `levels` makes ties."""
    random = np.random.default_rng(seed)
    samples = []
    for number in range(images):
        mask = (random.random((size, size)) < 0.15).astype(np.uint8)
        if number == 0:
            mask[:] = 0
        scores = random.normal(size=(size, size)) + 1.2 * mask
        if levels:
            scores = np.round(scores * levels) / levels
        samples.append((scores.astype(np.float32), mask))
    return samples
