import numpy as np
import torch

from train.feature_buffers import FeatureBuffers


def test_memory_is_used_again_when_nobody_looks_at_it_and_not_before():
    buffers = FeatureBuffers(6, 3, torch.uint8)
    first = buffers.take()
    first.array[:4] = 9
    place, tensor = first.array.__array_interface__["data"][0], first.finished(4)
    part = first.array[1:2]
    del first
    second = buffers.take()
    assert second.array.__array_interface__["data"][0] != place      # both a tensor and a view hold it
    cropped = tensor[:2]
    del tensor, part
    third = buffers.take()
    assert third.array.__array_interface__["data"][0] != place       # a piece of the tensor does, too
    assert cropped.tolist() == [[9, 9, 9]] * 2
    del cropped
    again = buffers.take()
    assert again.array.__array_interface__["data"][0] == place
    again.array[:1] = 5
    np.testing.assert_array_equal(again.finished(1).numpy(), [[5] * 3] + [[0] * 3] * 5)      # nothing of the last time
