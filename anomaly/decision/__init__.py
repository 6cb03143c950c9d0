"""From a score to a verdict: thresholds and what they are valid for."""
