from ullage_agent.backend import Backend

backend = Backend(name="iluvatar", title="iluvatar", decoder="ullage_agent.backends.iluvatar.decode:decode")
