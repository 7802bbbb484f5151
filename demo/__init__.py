"""The demonstration: a fleet that does not exist, its history, and what Ullage makes of it."""
