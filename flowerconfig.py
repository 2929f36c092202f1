"""Flower's settings, taken from config.py.

Flower executes this file (`--conf`, by default `flowerconfig.py` in the working directory)
after it has read FLOWER_... variables; each name below that is an option of Flower's is set.
"""

from pathlib import Path

from config import ConfigError as _ConfigError
from config import check as _check
from config import management_url as _management_url
from config import options as _settings

address = _settings.flower_address
port = _settings.flower_port

# Flower takes our FLOWER_AUTH (user:password) for its own option `auth`, a pattern of e-mail
# addresses for OAuth logins, and would print it as wrong. So that is off.
auth = ""
# Without a login, Flower itself refuses every API call.
basic_auth = [_settings.flower_auth] if _settings.flower_auth else []

# By default Flower sends the broker's password to port 15672 in clear, even for amqps://.
broker_api = _management_url()

# The history outlives a restart; saved every few seconds, it outlives kill -9 as well. Saving
# blocks Flower's loop: 10,000 tasks take about 0.1 s.
_folder = Path(_settings.var_dir)
try:
    _check()
    _folder.mkdir(mode=0o700, parents=True, exist_ok=True)
except (_ConfigError, OSError) as _exc:
    raise SystemExit(str(_exc)) from _exc  # as in celeryconfig, which is read later
db = str(_folder / "flower")
persistent = True
state_save_interval = 5000  # ms
max_tasks = 10_000
# A worker with an old host name does not stay on the page for ever.
purge_offline_workers = 3600  # s
