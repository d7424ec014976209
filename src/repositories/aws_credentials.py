"""Where credentials for AWS come from, where the environment does not hold them."""

from collections.abc import Callable
from typing import Any

from ..common.errors import ConfigurationError, StoreUnavailable
from ..common.sigv4 import Credentials

type CredentialSource = Callable[[], Credentials]


def provider_chain() -> CredentialSource | None:
    """Return botocore's chain (profiles, roles of ECS, EKS and EC2), which renews what expires.

    None if botocore, which is no requirement of ours, is not installed or finds nothing. Raises ConfigurationError.
    """
    try:
        from botocore.exceptions import BotoCoreError
        from botocore.session import get_session
    except ImportError:
        return None
    try:
        provided: Any = get_session().get_credentials()
    except BotoCoreError as error:
        raise ConfigurationError(f"The credentials for AWS could not be had: {error}") from error
    if provided is None:
        return None

    def current() -> Credentials:
        try:
            frozen = provided.get_frozen_credentials()
        except BotoCoreError as error:
            raise StoreUnavailable("The credentials for AWS could not be renewed.") from error
        return Credentials(frozen.access_key, frozen.secret_key, frozen.token)

    return current
