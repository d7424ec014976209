"""What may go wrong with a call: every error that the service reports, and what only its callers see.

ServiceError
├── ServiceUnreachable      no answer, after all attempts
└── UnexpectedAnswer        an answer that is not the service's, or not one that this client knows

The others are those of `common.errors`, by the `code` of the answer, with its `status` and `request_id`.
"""

from ..common.errors import *  # noqa: F403 - all of them
from ..common.errors import ServiceError as _ServiceError


class ServiceUnreachable(_ServiceError):
    code = "service_unreachable"
    title = "The service does not answer"


class UnexpectedAnswer(_ServiceError):
    code = "unexpected_answer"
    title = "The answer is not one that this client understands"
