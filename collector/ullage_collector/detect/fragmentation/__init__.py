"""Free cards that typical work cannot use: how many, why, and what moving a little would give back."""
