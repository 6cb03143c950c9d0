"""Rendered inspection scenes for referring segmentation: image, masks by kind, and sentences about them."""
