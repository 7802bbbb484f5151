"""Hours in which one waits for cards while another's of the same kind idle."""
