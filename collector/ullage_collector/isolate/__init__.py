"""Keeping new work off a card or node, and giving it back. Dry run unless asked."""
