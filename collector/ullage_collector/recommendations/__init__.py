"""What detectors propose, in money: proposals, what they do not count twice, and what became of them."""
