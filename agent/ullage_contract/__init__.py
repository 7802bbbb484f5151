"""What both ends agree on: identities, the metric catalogue, sample, event, wire format and errors.

Standard library only: the agent, the collector and the tests import it, and it imports nobody.
"""

__version__ = "0.1.0"
