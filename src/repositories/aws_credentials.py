"""Where credentials for AWS come from, where the environment does not hold them."""

import datetime as dt
import logging
import threading
from collections.abc import Callable
from typing import Any

from ..common.errors import ConfigurationError
from ..common.sigv4 import Credentials

log = logging.getLogger(__name__)

type CredentialSource = Callable[[], Credentials]

INTERVAL = 60  # seconds; botocore renews credentials from a quarter of an hour before they expire


def provider_chain(region: str) -> CredentialSource | None:
    """Return botocore's chain: profiles, and the roles of ECS, EKS and EC2.

    None if botocore, which is no requirement of ours, is not installed or finds nothing. Raises ConfigurationError.
    """
    try:
        from botocore.session import get_session
    except ImportError:
        return None
    session: Any = get_session()
    session.set_config_variable("region", region)  # for STS
    try:
        provided = session.get_credentials()
        return None if provided is None else _Renewed(provided)
    except Exception as error:  # of botocore, and of whatever a profile's command line writes
        raise ConfigurationError(f"AWS_ACCESS_KEY_ID: is not set, and no other credentials: {error}") from error


class _Renewed:
    """The credentials of the moment. A thread renews them, since that takes requests and they are asked for in none."""

    def __init__(self, provided: Any) -> None:
        self._provided = provided
        self._current = self._asked()
        threading.Thread(target=self._renew, name="aws-credentials", daemon=True).start()

    def __call__(self) -> Credentials:
        return self._current

    def _asked(self) -> Credentials:
        frozen = self._provided.get_frozen_credentials()
        expires_at: dt.datetime | None = getattr(self._provided, "_expiry_time", None)  # botocore tells it nowhere else
        return Credentials(frozen.access_key, frozen.secret_key, frozen.token, expires_at)

    def _renew(self) -> None:
        pause = threading.Event()
        while not pause.wait(INTERVAL):
            try:
                self._current = self._asked()
            except Exception:
                log.warning("the credentials for AWS could not be renewed", exc_info=True)
