"""The client: the HTTP API as Python calls, blocking or asynchronous. It knows the models, and nothing of the service.

Each operation is written once, as a flow; the two clients carry flows out in their ways.
"""

from .answers import UploadedImage as UploadedImage
from .awaiting import AsyncClient as AsyncClient
from .blocking import Client as Client
