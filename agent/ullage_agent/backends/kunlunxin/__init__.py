from ullage_agent.backend import Backend

backend = Backend(
    name="kunlunxin", title="kunlunxin", decoder="ullage_agent.backends.kunlunxin.decode:decode"
)
