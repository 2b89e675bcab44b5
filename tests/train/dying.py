"""A training run that dies at a lane's gradient: what tests of resuming share."""
import contextlib

import pytest

from train import step


@contextlib.contextmanager
def dying_after(lanes: int):
    """Lets `lanes` gradients be computed in this process, then raises KeyboardInterrupt, and expects it."""
    count, real = 0, step.add_gradients

    def counted(*arguments):
        nonlocal count
        count += 1
        if count > lanes:
            raise KeyboardInterrupt
        real(*arguments)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(step, "add_gradients", counted)
        yield
