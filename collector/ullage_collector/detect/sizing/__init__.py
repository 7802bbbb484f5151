"""Cards too big for their work, and small holders that would fit one card together."""
