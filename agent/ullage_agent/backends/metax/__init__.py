from ullage_agent.backend import Backend

backend = Backend(name="metax", title="metax", decoder="ullage_agent.backends.metax.decode:decode")
