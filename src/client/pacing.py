"""How long to wait before a request, and until when a service wants to be left alone."""

import random
import threading
import time

from .flow import Flow, Pause

LONGEST_WAIT = 120.0  # seconds in total that a request waits for a service that has enough to do

_FIRST_PAUSE = 0.25  # seconds; each further one is twice as long
_LONGEST_PAUSE = 10.0
_DOUBLINGS = 10  # after which no pause gets any longer


class Pace:
    """Until when no request of a client is sent, in whichever thread or task: each of them would be refused as well."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._until = 0.0  # by the monotonic clock

    def hold(self, seconds: float) -> None:
        """Let nobody send anything for so long; what others were told before holds on."""
        with self._lock:
            self._until = max(self._until, time.monotonic() + seconds)

    def wait(self, pause: float) -> Flow[float]:
        """Wait for so long, and until nobody is held up any more; return the seconds that it took."""
        waited = 0.0
        while waited < LONGEST_WAIT and (seconds := max(pause - waited, self._until - time.monotonic())) > 0:
            yield Pause(seconds)
            waited += seconds
        return waited


def pause_after(failures: int) -> float:
    """Return the seconds to wait after the first failure, or a later one."""
    pause = min(_FIRST_PAUSE * 2.0 ** min(failures - 1, _DOUBLINGS), _LONGEST_PAUSE)
    return pause * random.uniform(0.5, 1.0)  # noqa: S311 - so that clients don't come back all at once
