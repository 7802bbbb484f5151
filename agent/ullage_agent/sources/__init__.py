"""What the agent reads in its own process: RDMA ports, the host, the kernel log."""
