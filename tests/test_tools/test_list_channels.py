"""The channels of a config, from the command line."""

import pytest

TOOL = 'analysis_tools/list_channels'


def test_one_config_prints_its_groups_and_a_row(run, capsys):
    run(TOOL, 'mmpretrain::mobilenet_v2/mobilenet-v2_8xb32_in1k.py')
    out = capsys.readouterr().out
    assert (
        'backbone.conv1.conv: 32 units\n'
        '  produced by backbone.conv1.conv, backbone.layer1.0.conv.0.conv\n'
    ) in out
    assert 'whole, its outputs are those of the network: head.fc' in out
    assert '| mobilenet-v2_8xb32_in1k | 25 |' in out


def test_a_config_that_is_not_there_is_named(run):
    with pytest.raises(SystemExit, match='error: nowhere.py: '):
        run(TOOL, 'nowhere.py')
