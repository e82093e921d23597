"""Real PostgreSQL and Redis for the tests, the demo and development: started by us, gone with us.

Owns: the servers' processes, their folders and ports.
Does not own: what is in them; migrations and settings are made elsewhere.
Must always hold: no server outlives the process that started it, and nothing of the machine is changed: no account is
made, no permission of an existing folder is touched.
"""

from tollkeeper.embedded.errors import ServerFailed, ServerProgramMissing
from tollkeeper.embedded.postgres import EmbeddedPostgres
from tollkeeper.embedded.redis import EmbeddedRedis
from tollkeeper.embedded.services import Addresses, Services, services_from_environment

__all__ = [
    "Addresses",
    "EmbeddedPostgres",
    "EmbeddedRedis",
    "ServerFailed",
    "ServerProgramMissing",
    "Services",
    "services_from_environment",
]
