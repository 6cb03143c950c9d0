"""The result folder of a run, which goes on where it stopped."""
