"""Who holds which card by Slurm: one bulk read of the controller a cycle, past runs from slurmdbd, prolog events from agents."""
