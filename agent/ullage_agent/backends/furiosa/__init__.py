from ullage_agent.backend import Backend

backend = Backend(name="furiosa", title="furiosa", decoder="ullage_agent.backends.furiosa.decode:decode")
