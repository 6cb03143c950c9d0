"""Training of SteerViT: data, loss, loop. Knows sentences and masks, and no inspection."""
