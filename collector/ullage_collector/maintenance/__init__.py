"""Windows of maintenance: who is in the way, where their work could go, taking nodes out and giving them back."""
