from ullage_agent.backend import Backend

backend = Backend(
    name="rebellions", title="rebellions", decoder="ullage_agent.backends.rebellions.decode:decode"
)
