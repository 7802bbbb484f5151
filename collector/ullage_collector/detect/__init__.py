"""Judges: rows in, findings out. No clock and no database inside; thresholds are data."""
