from ullage_agent.backend import Backend

backend = Backend(
    name="tenstorrent", title="tenstorrent", decoder="ullage_agent.backends.tenstorrent.decode:decode"
)
