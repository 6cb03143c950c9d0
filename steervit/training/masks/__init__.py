"""Masks of referring expressions: run lengths, shards, and those that Segment Anything draws from boxes."""
