"""Requests of serving systems: who tells them, how they are counted, and where they are kept."""
