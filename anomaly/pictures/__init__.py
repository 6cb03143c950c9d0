"""Files and pixels: which images, how they are read, what is drawn on them, and how maps are kept."""
