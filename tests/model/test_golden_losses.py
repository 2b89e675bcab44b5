"""The five losses of one fixed pack, to eight digits: what no change that means to keep results may move."""
import numpy as np
import pytest
import torch

from model.losses import LOSSES, LossWeights, losses_of, weighted_sum
from tests.model.packs import SPECIAL, masked_first, samples, tiny_model
from train.packing import Rows, build_pack, capacity_for

GOLDEN = {"mlm": 4.544074794393247, "moc": 1.4986437713605907, "mrfr": 1.0990623988965844, "itm": 0.695129641899945,
          "contrastive": 1.6094382870566573, "mrc_kl": 0.0}
GOLDEN_GRADIENT = 2.242629344225037            # Euclidean norm over all parameters, all weights 1


def by_formula(model):
    """Gives every weight a value by integer arithmetic alone, so that no library's random numbers matter."""
    with torch.no_grad():
        for number, (_, parameter) in enumerate(sorted(model.named_parameters())):
            steps = (torch.arange(parameter.numel(), dtype=torch.int64) * 7919 + number * 104729) % 2003
            parameter.copy_((steps.double() / 2003 - 0.5).view_as(parameter))
        model.contrast.log_scale.fill_(1.5)
    return model


def golden_pack():
    """Returns joint sequences, two of them mismatched, and the halves alone; the first word and region are masked."""
    chosen = samples(5)
    rows = Rows.pairs(np.arange(5), [0, 1, 2, 4, 3], [1, 1, 1, 0, 0], masked=True).and_then(Rows.singles(5))
    return build_pack(chosen, rows, SPECIAL, capacity_for(chosen, rows, SPECIAL), masked_first(chosen))


@pytest.mark.parametrize("cropped", [True, False])
def test_losses_are_the_golden_ones(cropped):
    model, pack = by_formula(tiny_model()), golden_pack()
    pack = pack.cropped() if cropped else pack
    losses = losses_of(model(pack), pack)
    assert {name: value.item() for name, value in losses.items()} == pytest.approx(GOLDEN, rel=1e-8)
    weighted_sum(losses, LossWeights(contrastive=1)).backward()
    norm = torch.stack([parameter.grad.square().sum() for parameter in model.parameters()]).sum().sqrt()
    assert float(norm) == pytest.approx(GOLDEN_GRADIENT, rel=1e-8)
    assert set(GOLDEN) == set(LOSSES)
