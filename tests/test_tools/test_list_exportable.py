"""The table of exportable networks: one that is, and a fault that is seen."""

import subprocess
import sys

import pytest

from .conftest import TOOLS

TOOL = 'analysis_tools/list_exportable'


def test_a_network_is_exported_and_compared_in_a_process_of_its_own(tmp_path):
    options = ['--families', 'mobilenet_v2', '--out', tmp_path / 'table.md']
    found = subprocess.run(
        [sys.executable, TOOLS / f'{TOOL}.py', *options],
        check=True,
        capture_output=True,
        text=True,
    )
    row = found.stdout.strip().splitlines()[-1]
    assert row.startswith(
        '| mobilenet_v2 | mobilenet-v2_8xb32_in1k | yes | 2 '
    )
    assert (tmp_path / 'table.md').read_text().splitlines()[-1] == row


@pytest.mark.parametrize(
    'error, told', [(ValueError('so\n so'), 'no'), (KeyError('x'), 'failed')]
)
def test_a_refusal_is_told_from_a_fault(tool, monkeypatch, error, told):
    def refuse(name):
        raise error

    module = tool(TOOL)
    monkeypatch.setattr(module, 'built', refuse)
    config, outcome, why = module.outcome('PAA', 'onnx', False)
    assert (config, outcome) == ('paa_r50_fpn_1x_coco', told)
    assert why in ('so so', "KeyError: 'x'")
