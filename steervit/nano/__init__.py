"""The embedded model: its trunk and filters, its weights, and the rendered scenes it learns from."""
