"""Asking who owns what and why: the rules checked and explained, the organisation as a tree, sums over it."""
