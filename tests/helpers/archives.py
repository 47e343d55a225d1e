"""Small archives of the forms in which data sets are published."""

import io
import tarfile
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image


def tree(folder):
    """The bytes of all files below a folder, by their names."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in Path(folder).rglob('*')
        if path.is_file()
    }


def tar_bytes(files, mode='w'):
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode=mode) as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return stream.getvalue()


def pack(files, path):
    """Write files, by their names, as tar, tar.gz, zip or a folder."""
    path = Path(path)
    if path.suffix == '.zip':
        with zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED) as archive:
            for name, content in files.items():
                archive.writestr(name, content)
    elif path.suffix in ('.tar', '.gz', '.tgz'):
        mode = 'w' if path.suffix == '.tar' else 'w:gz'
        path.write_bytes(tar_bytes(files, mode))
    else:
        for name, content in files.items():
            place = path / name
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(content)
    return path


def picture(number):
    """A JPEG that no other number gives."""
    pixels = np.random.default_rng(number).integers(0, 256, (24, 24))
    stream = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(stream, 'JPEG')
    return stream.getvalue()


def cub_files(train=4, test=2):
    """CUB of two classes, with what its archive holds beside."""
    classes = ('001.Black_footed_Albatross', '002.Laysan_Albatross')
    files = {'attributes.txt': b'1 has_bill', 'CUB_200_2011/README': b'x'}
    lines = {'images': [], 'image_class_labels': [], 'train_test_split': []}
    for number in range(1, train + test + 1):
        label = number % 2 + 1
        image = f'{classes[label - 1]}/{number:04d}.jpg'
        files[f'CUB_200_2011/images/{image}'] = picture(number)
        lines['images'].append(f'{number} {image}')
        lines['image_class_labels'].append(f'{number} {label}')
        lines['train_test_split'].append(f'{number} {int(number <= train)}')
    lines['classes'] = [f'{i} {name}' for i, name in enumerate(classes, 1)]
    for name, rows in lines.items():
        content = ''.join(f'{row}\n' for row in rows).encode()
        files[f'CUB_200_2011/{name}.txt'] = content
    files['CUB_200_2011/parts/parts.txt'] = b'1 back'
    return files
