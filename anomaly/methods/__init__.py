"""Other ways to a map of defects, each a file of its own, to be measured under the same protocol as ours."""
