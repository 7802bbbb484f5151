"""The daemon on every server: reads cards, ports and the host, shows them, and loses nothing on the way."""
