"""/v2.0/agents"""

from __future__ import annotations

from cloudseed.neutron import agents
from cloudseed.neutron import converters as to
from cloudseed.neutron.api.collection import Kind
from cloudseed.neutron.attributes import READ_ONLY, Attribute

AGENTS = Kind("agent", "agents", {
    "admin_state_up": Attribute(to.boolean, True, post=False),
    "description": Attribute(to.string(255, none=True), None, post=False),
    **dict.fromkeys(("id", "agent_type", "binary", "topic", "host", "availability_zone", "alive", "configurations",
                     "created_at", "started_at", "heartbeat_timestamp", "resources_synced"), READ_ONLY),
}, agents.SPEC, agents.list_agents, agents.get_agent, None, agents.update_agent, agents.delete_agent)
