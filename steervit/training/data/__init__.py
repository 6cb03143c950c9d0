"""What a training step reads: sources of referring expressions, their mixture, augmentation, batches."""
