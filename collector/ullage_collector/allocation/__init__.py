"""Who holds which card: from Slurm, Kubernetes, card-sharing systems and the nodes' own view to table ``allocation``."""
