"""Does a backend keep what it promises? For whoever writes one: ``python -m ullage_agent.conformance PACKAGE``."""
