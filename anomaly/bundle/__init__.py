"""A bundle: one part's inspection as a folder that runs without torch. Made once, proven, and the same everywhere."""
