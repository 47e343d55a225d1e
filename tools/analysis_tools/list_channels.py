"""Channels of a model that stand or fall together, and what stays whole.

The model is that of any config of mmdet or mmpretrain; several configs give
a table of how much of each network is in a group, and how long it took.

    python tools/analysis_tools/list_channels.py CONFIG
    python tools/analysis_tools/list_channels.py mmdet::yolox/yolox_s_….py …

A config of an installed package is named by the package and its path there.
Pretrained weights are neither needed nor fetched.
"""

import argparse  # noqa: I001  (epsd_mm repairs broken environments)
import time

import epsd_mm  # noqa: F401

from mmengine.hub import get_config
from mmengine.registry import MODELS, init_default_scope
from torch import nn
from torch.nn.modules.conv import _ConvNd

from epsd_mm.config_file import read_config
from epsd_mm.config_types import scope_of
from epsd_mm.families import channel_groups
from epsd_mm.structure import Groups
from epsd_mm.tables import markdown_table


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('configs', nargs='+', metavar='CONFIG')
    parser.add_argument('--size', type=int, help='of the image to trace with')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    rows = []
    for name in args.configs:
        try:
            model = build(name)
            start = time.process_time()
            groups = channel_groups(model, args.size)
        except (ImportError, OSError, ValueError) as error:
            raise SystemExit(f'error: {name}: {error}') from None
        rows.append(row_of(name, model, groups, time.process_time() - start))
        if len(args.configs) == 1:
            print(groups, end='\n\n')
    print(markdown_table(HEAD, rows))


def build(name: str) -> nn.Module:
    """The model of a config, with the weights that it starts with anew."""
    if '::' in name:
        cfg = get_config(name)
    else:
        cfg = read_config(name)
    init_default_scope(scope_of(cfg) or 'mmengine')
    return MODELS.build(cfg.model)


HEAD = ('model', 'groups', 'units', 'layers in a group', 'whole', 'CPU s')


def row_of(
    name: str, model: nn.Module, groups: Groups, seconds: float
) -> list[str]:
    """How much of a network can become narrower.

    A layer counts that emits or reads units. The last layers, whose outputs
    stay whole, count as soon as they read some.
    """
    members = {m.layer for group in groups.values() for m in group.members}
    layers = [
        layer
        for layer, module in model.named_modules()
        if isinstance(module, (_ConvNd, nn.Linear))
    ]
    return [
        name.rpartition('/')[2].removesuffix('.py'),
        str(len(groups)),
        f'{sum(group.units for group in groups.values()):,}',
        f'{sum(layer in members for layer in layers)} of {len(layers)}',
        str(len(groups.whole)),
        f'{seconds:.1f}',
    ]


if __name__ == '__main__':
    main()
