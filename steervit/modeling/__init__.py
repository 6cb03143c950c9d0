"""The figure of the paper: trunk, text tower, connector, gated cross-attention, head, and what wires them."""
