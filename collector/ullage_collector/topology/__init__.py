"""Where cards, nodes, ports and switches stand and what they hang on, as dated facts of several sources.

Parsers (slurm, labels, table, infiniband, lldp, agents) give relations; keep.py dates them; domains.py answers.
"""

from ullage_collector.topology.domains import LEVELS, Subject, Topology

__all__ = ["LEVELS", "Subject", "Topology"]
