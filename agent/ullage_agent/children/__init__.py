"""One maker in a child process, and the parent that outlives whatever happens to it."""
