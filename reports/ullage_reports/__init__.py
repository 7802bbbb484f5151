"""Statements people read: numbers from published days, the same in HTML, PDF, CSV and JSON."""
