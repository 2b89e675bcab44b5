"""What runs a job: Beam's local runner hands its workers every byte."""
from __future__ import annotations

import threading

from apache_beam.runners.portability.fn_api_runner import worker_handlers
from apache_beam.runners.worker import data_plane

from crawl.runner import beam_runner

_CHUNK = bytes(1 << 20)


def sent(time_limit_ms, chunks):
    """Returns how many bytes reach the queue to a worker of those the runner writes, and whether in several pieces."""
    channel = data_plane.BeamFnDataServicer(time_limit_ms).get_conn_by_worker_id("worker")
    arrived = []

    def drain():
        while not (element := channel._to_send.get()).is_last:
            arrived.append(len(element.data))

    reader = threading.Thread(target=drain)
    reader.start()
    stream = channel.output_stream("bundle", "read")
    for _ in range(chunks):
        stream.write(_CHUNK)
    stream.close()
    reader.join()
    return sum(arrived), len(arrived) > 1


def test_no_timer_takes_rows_away_while_the_runner_writes_them():
    beam_runner(2, [])
    assert sent(worker_handlers.DATA_BUFFER_TIME_LIMIT_MS, 100) == (100 * len(_CHUNK), False)
    stream = data_plane.BeamFnDataServicer(worker_handlers.DATA_BUFFER_TIME_LIMIT_MS).get_conn_by_worker_id(
        "worker").output_stream("bundle", "read")
    assert not isinstance(stream, data_plane.TimeBasedBufferingClosableOutputStream)
