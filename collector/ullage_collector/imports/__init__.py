"""The import door: history in files of any shape, by a map that says what its columns mean.

A bad row is refused, counted and listed while the rest goes on. The same file twice adds nothing; another
file that overlaps adds only what is not there.
"""
