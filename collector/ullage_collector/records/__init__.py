"""What was recorded, for people and other systems: what incidents cost, and the audit as a file."""
