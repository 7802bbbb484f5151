"""One file or folder a maker. How to write one: docs/writing-a-backend.md."""
