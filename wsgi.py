"""Production entry: the `application` that gunicorn loads."""

import os

from oxillama import log_config, settings
from oxillama.factory import create_app

log_config.configure()
application = create_app(settings.read(os.environ))
