"""Owned cards beyond their rows: purchase data, the order of lives, assets that outlive a swapped serial, history.

The rows themselves come from imports/inventory.py; what is wrong with them is judged in detect/inventory.py.
"""
