"""torchvision's and open_clip's own published architectures, with made-up weights that the tests make themselves."""
import warnings

import numpy as np
import pytest
import torch

from model.detection import DetectorOptions, WeightsError, detect_all, open_detector
from tests.model.detector_weights import as_torch, picture

OPTIONS = DetectorOptions(max_regions=6, min_regions=3, min_confidence=0.5, min_side=64, max_side=96)
CLASSES = 7


pytestmark = pytest.mark.slow          # 40 million weights are made, written and read again


@pytest.fixture(scope="module", params=["fasterrcnn_resnet50_fpn", "fasterrcnn_resnet50_fpn_v2"])
def coco(request):
    """The bytes of a checkpoint of one of the two versions."""
    detection = pytest.importorskip("torchvision.models.detection")
    torch.manual_seed(3)
    model = getattr(detection, request.param)(weights=None, weights_backbone=None, num_classes=CLASSES + 1)
    return as_torch(model.state_dict())


def test_fasterrcnn_reads_either_version(coco):
    detector = open_detector("fasterrcnn", coco, "x.pth", OPTIONS, "cpu")
    assert (detector.feature_dim, detector.num_classes, detector.signed) == (1024, CLASSES, False)
    found = detect_all(detector, [picture(1), picture(2, 50, 90), picture(3)], 2)
    for one in found:
        n = len(one.features)
        assert 3 <= n <= 6 and one.features.shape == (n, 1024) and one.probabilities.shape == (n, CLASSES)
        assert (one.features >= 0).all() and (one.boxes >= 0).all() and (one.boxes <= 1).all()
        assert (np.diff(one.confidences) <= 0).all() and (one.classes == one.probabilities.argmax(axis=1)).all()
    alone = detect_all(detector, [picture(3)], 1)[0]
    assert np.allclose(alone.features, found[2].features, rtol=1e-3, atol=1e-4)


@pytest.fixture(scope="module")
def clip_weights():
    """The bytes of a checkpoint of the smallest architecture open_clip has."""
    open_clip = pytest.importorskip("open_clip")
    torch.manual_seed(3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return as_torch(open_clip.create_model("ViT-S-32", pretrained=None).state_dict())


@pytest.mark.parametrize("names", [(), ("yolk", "goggles", "bathtub")])
def test_clip_sees_the_parts_of_a_picture(clip_weights, names):
    options = DetectorOptions(architecture="ViT-S-32", grid=2, class_names=names)
    detector = open_detector("clip", clip_weights, "x.pt", options, "cpu")
    assert detector.signed and detector.num_classes == len(names)
    one, two = detect_all(detector, [picture(1), picture(2, 30, 500)], 2)
    assert one.features.shape == (5, detector.feature_dim)
    assert np.allclose((one.features ** 2).sum(axis=1), 1, atol=1e-4)
    assert one.boxes.tolist() == [[0, 0, 1, 1], [0, 0, .5, .5], [.5, 0, 1, .5], [0, .5, .5, 1], [.5, .5, 1, 1]]
    assert (one.classes is None) == (not names)
    if names:
        assert np.allclose(one.probabilities.sum(axis=1), 1, atol=1e-4)
    alone = detect_all(detector, [picture(2, 30, 500)], 1)[0]
    assert np.allclose(alone.features, two.features, atol=1e-5)


@pytest.mark.parametrize("architecture, says", [
    ("", "'' is not known"), ("ViT-Z", "'ViT-Z' is not known"), ("roberta-ViT-B-32", "from a download"),
    ("ViT-B-32", "this model has")])
def test_clip_refuses_what_it_has_no_weights_for(clip_weights, architecture, says):
    with pytest.raises(WeightsError, match=says) as raised:
        open_detector("clip", clip_weights, "x.pt", DetectorOptions(architecture=architecture), "cpu")
    assert "\n" not in str(raised.value)


def test_weights_of_another_model_are_refused():
    with pytest.raises(WeightsError, match="not the weights of fasterrcnn"):
        open_detector("fasterrcnn", as_torch({"a": torch.zeros(2)}), "x.pth", OPTIONS, "cpu")
