"""The collector's front: one listener, who speaks, what they may, and batches into the journal."""
