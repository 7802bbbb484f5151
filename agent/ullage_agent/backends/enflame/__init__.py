from ullage_agent.backend import Backend

backend = Backend(name="enflame", title="enflame", decoder="ullage_agent.backends.enflame.decode:decode")
