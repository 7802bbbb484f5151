from ullage_agent.backend import Backend

backend = Backend(name="qualcomm", title="qualcomm", decoder="ullage_agent.backends.qualcomm.decode:decode")
