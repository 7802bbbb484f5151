"""What is owned, where it stands and what it runs: one answer each, for the API and for the commands."""
