"""The network that is exported is the one that was trained."""

from mmengine.config import Config

from epsd_mm.deploy.exporting import initial_model
from tests.helpers.models import tiny_classifier, tiny_classifier_config


def test_a_preprocessor_beside_the_model_is_that_of_the_network():
    tiny_classifier()  # registers what the config names
    cfg = Config(
        dict(
            default_scope='mmpretrain',
            model=tiny_classifier_config(),
            data_preprocessor=dict(
                mean=[1.0, 2.0, 3.0], std=[4.0, 5.0, 6.0], to_rgb=True
            ),
        )
    )
    cfg.model.pop('data_preprocessor', None)
    before = cfg.to_dict()
    seen = initial_model(cfg).data_preprocessor
    assert seen.mean.flatten().tolist() == [1.0, 2.0, 3.0]
    assert seen.std.flatten().tolist() == [4.0, 5.0, 6.0]
    assert seen.to_rgb
    assert cfg.to_dict() == before
