"""Labelled images: benchmark cards, layouts on disk, downloads, checks."""
