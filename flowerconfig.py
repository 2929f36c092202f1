"""Flower's settings, taken from config.py.

Flower executes this file (`--conf`, by default `flowerconfig.py` in the working directory)
after it has read FLOWER_... variables, and sets each of its options that is a name below.
"""

from pathlib import Path

from config import ConfigError as _ConfigError
from config import check as _check
from config import management_url as _management_url
from config import options as _settings

address = _settings.flower_address
port = _settings.flower_port

# Flower would use our variable FLOWER_AUTH (user:password) as its own option `auth`, a pattern of
# e-mail addresses for OAuth logins, and print it as invalid. So `auth` is set to empty.
auth = ""
# Without a login, Flower itself refuses every API call.
basic_auth = [_settings.flower_auth] if _settings.flower_auth else []

# By default Flower sends the broker's password to port 15672 in clear, even for amqps://.
broker_api = _management_url()

# The history is kept over a restart, and over kill -9, since it is saved every few seconds. Saving
# blocks Flower's loop: 0.1 s for 10,000 tasks.
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
# Offline workers, for example with an old host name, are removed from the page.
purge_offline_workers = 3600  # s
