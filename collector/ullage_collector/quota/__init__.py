"""Pools of cards, the quota tree over them, and what is borrowed, lent and waited for."""
