"""How a host is asked: again after what may pass, never faster than it wants, and no more than so many at once."""

import asyncio
import time

import pytest

from ml.config.download import DownloadConfig
from ml.download.attempts import Patience
from ml.download.faults import FetchError, Reason

CONFIG = DownloadConfig(retries=3, backoff_seconds=0.001, max_wait_seconds=2)


def run(*answers, config=CONFIG, slots=8):
    """Ask for what gives these answers one after the other; return the result, the number of requests and the host."""
    waiting = list(answers)

    async def request():
        answer = waiting.pop(0)
        if isinstance(answer, FetchError):
            raise answer
        return answer

    async def accept(answer):
        return answer.decode()

    async def main():
        patience = Patience("host", config, asyncio.Semaphore(slots))
        try:
            return await patience.ask(request, accept), patience
        except FetchError as error:
            return error, patience

    result, patience = asyncio.run(main())
    return result, len(answers) - len(waiting), patience


def test_what_may_pass_is_tried_again_as_often_as_allowed():
    lost = FetchError(Reason.CONNECTION, "lost")
    assert run(lost, lost, b"whole")[:2] == ("whole", 3)
    result, requests, patience = run(*[lost] * 9)
    assert (result, requests, patience.retries) == (lost, 4, 3)


def test_what_is_not_there_is_not_asked_for_again():
    absent = FetchError(Reason.ABSENT, "HTTP 404")
    assert run(absent, b"whole")[:2] == (absent, 1)


def test_the_wait_doubles_and_has_a_limit():
    patience = Patience("host", DownloadConfig(backoff_seconds=1, max_wait_seconds=5), asyncio.Semaphore(1))
    for tries, longest in ((1, 1), (2, 2), (3, 4), (4, 5), (50, 5)):
        waits = [patience.backoff(tries) for _ in range(200)]
        assert longest / 2 < max(waits) <= longest
        assert min(waits) < longest / 2


def test_all_requests_to_a_host_wait_while_it_asks_for_a_pause():
    moments = []

    async def main():
        patience = Patience("host", CONFIG, asyncio.Semaphore(8))

        async def request():
            moments.append(time.monotonic())
            if len(moments) == 1:
                raise FetchError(Reason.THROTTLED, "HTTP 429", wait=0.3)
            return b""

        async def accept(answer):
            return answer

        await asyncio.gather(patience.ask(request, accept), _later(0.05, lambda: patience.ask(request, accept)))

    async def _later(seconds, call):
        await asyncio.sleep(seconds)
        return await call()

    asyncio.run(main())
    assert len(moments) == 3
    assert min(moments[1:]) - moments[0] >= 0.3


def test_a_host_that_asks_for_too_long_a_pause_gets_no_more_requests():
    result, requests, _ = run(FetchError(Reason.THROTTLED, "HTTP 429", wait=3600), b"whole")
    assert result.reason is Reason.THROTTLED
    assert "asks to wait for 3600 seconds" in result.detail
    assert requests == 1


def test_nobody_waits_with_a_connection_in_hand():
    """With one slot, a request that has to be tried again later lets another one pass."""
    order = []

    async def main():
        slots = asyncio.Semaphore(1)
        config = DownloadConfig(retries=1, backoff_seconds=0.5, max_wait_seconds=1)
        patience = Patience("host", config, slots)
        patience.backoff = lambda tries: 0.2

        def requests(name, *answers):
            waiting = list(answers)

            async def request():
                order.append(name)
                if (answer := waiting.pop(0)) is None:
                    raise FetchError(Reason.SERVER, "HTTP 500")
                return answer

            return request

        async def accept(answer):
            return answer

        await asyncio.gather(
            patience.ask(requests("failing", None, b""), accept), patience.ask(requests("other", b""), accept)
        )

    asyncio.run(main())
    assert order == ["failing", "other", "failing"]


@pytest.mark.parametrize("retries", [0, 2])
def test_without_retries_the_first_failure_counts(retries):
    lost = FetchError(Reason.CONNECTION, "lost")
    config = CONFIG.model_copy(update={"retries": retries})
    assert run(*[lost] * 5, config=config)[1] == retries + 1
