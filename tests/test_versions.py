"""Versions: what is known is read, and what is not is refused at once."""

import pytest

from epsd_mm.versions import check_version


@pytest.mark.parametrize('version', [1, 2, 3])
def test_a_format_that_goes_on_still_reads_what_it_was(version):
    check_version(version, 3, 'it is', 'wait')


@pytest.mark.parametrize('version', [4, 0, -1, None, '3', True, 2.0])
def test_what_is_no_such_version_is_refused_with_a_remedy(version):
    with pytest.raises(ValueError) as error:
        check_version(version, 3, 'it is', 'wait')
    assert str(error.value) == (
        f'it is of version {version!r}, and this package reads versions up '
        'to 3: wait'
    )
