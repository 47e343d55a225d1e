"""Networks that teach: of other weights, and on the disk."""

import copy

import torch

from .models import tiny_classifier_config


def other_weights(model):
    """A network of the same kind that predicts otherwise."""
    teacher = copy.deepcopy(model)
    with torch.random.fork_rng():
        torch.manual_seed(7)
        for weight in teacher.parameters():
            noise = torch.randn_like(weight) * weight.abs().mean()
            weight.data += 0.1 * noise
    return teacher


def file_of(model, folder, **meta):
    """A trained classifier on the disk, as a runner leaves it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / 'config.py').write_text(
        f"default_scope = 'mmpretrain'\nmodel = {tiny_classifier_config()!r}\n"
    )
    content = dict(state_dict=model.state_dict(), meta=dict(meta))
    torch.save(content, folder / 'epoch_1.pth')
    return dict(
        config=str(folder / 'config.py'),
        checkpoint=str(folder / 'epoch_1.pth'),
    )
