"""Probes: short checks of one isolated card, by name, from this node's own allow-list. Off unless ``[probes] enable``.

A collector asks in the answer to the agent's own push (ullage_contract.asked); desk.py decides whether one may run,
and what became of it goes out as an event ``probe_result``. Nothing that runs comes from the network: a name selects
what the local file says. A passed probe is no proof that a card is well; it is one condition of its return.
"""
