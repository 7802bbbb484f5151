"""Money that goes forward: corrections of closed periods, credits and disputes."""
