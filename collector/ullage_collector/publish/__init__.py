"""From the store to published days: rollups, telemetry days, and the facts that money stands on."""
