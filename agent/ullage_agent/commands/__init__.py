"""What the commands do beside the daemon: check, bundle, decode, and a tick as a document or table."""
