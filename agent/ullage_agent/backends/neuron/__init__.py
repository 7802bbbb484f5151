from ullage_agent.backend import Backend

backend = Backend(name="neuron", title="neuron", decoder="ullage_agent.backends.neuron.decode:decode")
