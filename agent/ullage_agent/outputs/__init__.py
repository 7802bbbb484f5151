"""What the agent gives out: the spool and the pushes, Prometheus, OTLP."""
