"""Textual steering vectors for multimodal language models (arXiv 2505.14071): from sentences to a decoder layer."""
