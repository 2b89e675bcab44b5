"""Bottom-up attention: tensors by their published names and shapes; boxes, features and classes of small made-up nets.

The listing below follows two public descriptions and not the code under test.  Layers, sizes and shapes: the prototxt
of the Caffe network (peteanderson80/bottom-up-attention, models/vg/ResNet-101/faster_rcnn_end2end_final/test.prototxt:
res2a..2c, 3a..3b3, 4a..4b22, 5a..5c; branch1 of each first block; rpn/output 512; 12 anchors; cls_score 1601;
cls_embedding 256; fc_attr 512; attr_score 401).  Names: modeling_frcnn.py of Hugging Face (transformers,
examples/research_projects/lxmert), whose weights are unc-nlp/frcnn-vg-finetuned.
"""
import numpy as np
import pytest
import torch
from torch import Tensor

from model import bottom_up
from model.bottom_up import Architecture, BottomUp, Network
from model.checkpoint_tensors import tensors_in
from model.detection import DetectorOptions, WeightsError, detect_all, open_detector
from tests.model.detector_weights import SMALL, as_pkl, as_torch, bottom_up_tensors, picture

OPTIONS = DetectorOptions(max_regions=12, min_regions=5, min_confidence=0.5, min_side=64, max_side=128)


def published():
    """Returns name -> shape of the published checkpoint."""
    shapes = {}

    def convolution(name, *shape):
        shapes[f"{name}.weight"] = shape
        shapes.update({f"{name}.norm.{part}": shape[:1] for part in ("weight", "bias", "running_mean", "running_var")})

    convolution("backbone.stem.conv1", 64, 3, 7, 7)
    inputs = 64
    for stage, blocks, middle in (("backbone.res2", 3, 64), ("backbone.res3", 4, 128), ("backbone.res4", 23, 256),
                                  ("roi_heads.res5", 3, 512)):
        for block in range(blocks):
            if block == 0:
                convolution(f"{stage}.0.shortcut", 4 * middle, inputs, 1, 1)
            convolution(f"{stage}.{block}.conv1", middle, inputs, 1, 1)
            convolution(f"{stage}.{block}.conv2", middle, middle, 3, 3)
            convolution(f"{stage}.{block}.conv3", 4 * middle, middle, 1, 1)
            inputs = 4 * middle
    for name, shape in (("proposal_generator.rpn_head.conv", (512, 1024, 3, 3)),
                        ("proposal_generator.rpn_head.objectness_logits", (12, 512, 1, 1)),
                        ("proposal_generator.rpn_head.anchor_deltas", (48, 512, 1, 1)),
                        ("roi_heads.box_predictor.cls_score", (1601, 2048)),
                        ("roi_heads.box_predictor.bbox_pred", (6400, 2048)),
                        ("roi_heads.box_predictor.fc_attr", (512, 2048 + 256)),
                        ("roi_heads.box_predictor.attr_score", (401, 512))):
        shapes[f"{name}.weight"], shapes[f"{name}.bias"] = shape, shape[:1]
    shapes["roi_heads.box_predictor.cls_embedding.weight"] = (1601, 256)
    return shapes


def test_names_and_shapes_are_those_of_the_published_checkpoint():
    with torch.device("meta"):
        ours = {name: tuple(tensor.shape) for name, tensor in Network(Architecture()).state_dict().items()}
    used = {name: shape for name, shape in published().items() if not name.startswith(bottom_up.UNUSED)}
    assert ours == used and len(used) == 5 * (1 + 4 + 3 * (3 + 4 + 23 + 3)) + 6 + 2
    assert Architecture().feature_dim == 2048


def test_the_published_shapes_tell_the_published_architecture():
    shapes = {name: torch.empty(shape, device="meta") for name, shape in published().items()}
    assert bottom_up.architecture_of(shapes, "x") == Architecture()


@pytest.mark.parametrize("form, suffix", [(as_pkl, ".pkl"), (as_torch, ".bin")])
def test_a_checkpoint_gives_regions(form, suffix):
    detector = open_detector("bottom-up", form(bottom_up_tensors()), f"weights{suffix}", OPTIONS, "cpu")
    assert (detector.feature_dim, detector.num_classes, detector.signed) == (128, 20, False)
    (found,) = detect_all(detector, [picture(1)], 4)
    n = len(found.features)
    assert 5 <= n <= 12 and found.features.shape == (n, 128) and found.probabilities.shape == (n, 20)
    assert (found.features >= 0).all() and (found.boxes >= 0).all() and (found.boxes <= 1).all()
    assert (found.boxes[:, 2:] > found.boxes[:, :2]).all() and (np.diff(found.confidences) <= 0).all()
    assert (found.classes == found.probabilities.argmax(axis=1)).all()


def test_pictures_alone_and_in_company_have_the_same_regions():
    detector = BottomUp(bottom_up_tensors(), "x", OPTIONS, "cpu")
    pictures = [picture(1), picture(2, 80, 60), picture(3), picture(4, 100, 300), picture(5)]
    for together, alone in zip(detect_all(detector, pictures, 8), (detect_all(detector, [one], 1)[0]
                                                                   for one in pictures), strict=True):
        assert together.features.shape == alone.features.shape and len(alone.features) >= 5
        assert np.allclose(together.features, alone.features, rtol=1e-3, atol=1e-3)
        assert np.allclose(together.boxes, alone.boxes, atol=1e-4) and (together.classes == alone.classes).all()


def test_anchors_of_the_checkpoint_are_used_where_it_has_them():
    tensors = bottom_up_tensors()
    moved = tensors | {"proposal_generator.anchor_generator.cell_anchors.0": torch.full((6, 4), 9.0) *
                       torch.tensor([-1, -1, 1, 1])}
    one, two = (detect_all(BottomUp(some, "x", OPTIONS, "cpu"), [picture(1)], 1)[0] for some in (tensors, moved))
    assert one.boxes.shape != two.boxes.shape or not np.allclose(one.boxes, two.boxes)


def test_weights_that_are_not_its_own_are_refused():
    tensors = bottom_up_tensors()
    less = {name: tensor for name, tensor in tensors.items() if not name.startswith("roi_heads.res5.0.conv2.norm")}
    more = tensors | {"roi_heads.mask_head.weight": torch.zeros(1)}
    for wrong, says in ((less, "4 tensors missing .roi_heads.res5.0.conv2.norm.bias"),
                        (more, "1 unknown .roi_heads.mask_head.weight"), ({"a": torch.zeros(1)}, "not the weights of"),
                        (tensors | {"roi_heads.res5.0.conv1.weight": torch.zeros(2, 2, 1, 1)}, "this model has")):
        with pytest.raises(WeightsError, match=says) as raised:
            BottomUp(wrong, "wrong.pkl", OPTIONS, "cpu")
        assert "\n" not in str(raised.value) and "wrong.pkl" in str(raised.value)


class _Hostile:
    def __reduce__(self):
        return print, ("run",)


@pytest.mark.parametrize("suffix", [".pkl", ".pth", ".safetensors"])
def test_a_file_that_runs_code_or_is_broken_is_refused(suffix, capsys):
    import pickle
    for data in (pickle.dumps({"model": {"a": _Hostile()}}), b"", b"garbage", as_pkl({})[:20]):
        with pytest.raises(WeightsError, match=f"x{suffix}: cannot be read as weights|no tensor in it") as raised:
            tensors_in(data, f"x{suffix}")
        assert "\n" not in str(raised.value)
    assert capsys.readouterr().out == ""


def test_background_is_the_last_class():
    tensors: dict[str, Tensor] = bottom_up_tensors()
    bias = torch.zeros(SMALL.classes + 1)
    bias[-1] = 50.0
    found = detect_all(BottomUp(tensors | {"roi_heads.box_predictor.cls_score.bias": bias}, "x", OPTIONS, "cpu"),
                       [picture(1)], 1)[0]
    assert (found.confidences < 1e-6).all() and len(found.features) == OPTIONS.min_regions
