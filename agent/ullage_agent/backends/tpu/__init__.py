from ullage_agent.backend import Backend

backend = Backend(name="tpu", title="tpu", decoder="ullage_agent.backends.tpu.decode:decode")
