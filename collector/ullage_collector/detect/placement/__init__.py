"""Running jobs that stand on more switches or rails than they must, and whether that costs anything."""
