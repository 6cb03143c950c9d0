"""How far text steers the features: the paper's benchmarks beside inspection. Knows nothing of defects."""
