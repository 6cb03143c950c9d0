"""From names and files to a loaded model: catalogue, hub, checkpoints. The only place where files are missing."""
