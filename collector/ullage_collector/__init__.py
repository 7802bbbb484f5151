"""Keeps it all, knows who held which card when, judges, acts when asked, and shows it."""
