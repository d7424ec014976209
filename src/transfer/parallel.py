"""Work on several things at once, with the results in order."""

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor

AHEAD = 4  # things that are taken up for each thread, so that none waits for a slow one


def in_order[T, R](function: Callable[[T], R], things: Iterable[T], *, jobs: int) -> Generator[R]:
    """Yield what the function makes of each, on so many threads. Things are taken as they are needed.

    What it raises ends the work, and so does an interruption: what is not under way is not begun, and what is under
    way is finished and yielded before that is raised.
    """
    with ThreadPoolExecutor(jobs, thread_name_prefix="transfer") as pool:
        under_way: deque[Future[R]] = deque()
        try:
            for thing in things:
                under_way.append(pool.submit(function, thing))
                while under_way and (under_way[0].done() or len(under_way) >= AHEAD * jobs):
                    yield under_way.popleft().result()
            while under_way:
                yield under_way.popleft().result()
        except GeneratorExit:  # nobody wants to know any more
            raise
        except BaseException:
            pool.shutdown(cancel_futures=True)
            for future in under_way:
                if not future.cancelled() and future.exception() is None:
                    yield future.result()
            raise
        finally:
            pool.shutdown(cancel_futures=True)
