"""Faults made on purpose, for drills and tests, through the same path as real ones. Off unless ``[inject] allow``.

scenario.py reads what shall happen when, targets.py makes it happen, mix.py draws a scenario from how often causes
were seen; scenarios/ ships some. What is injected arrives with origin ``simulated`` and moves no money.
"""
