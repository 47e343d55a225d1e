"""Loading images that may be damaged."""

import io
from typing import Any

import mmcv
import numpy as np
from mmcv.transforms import LoadImageFromFile
from mmengine import fileio
from mmengine.logging import MMLogger
from mmengine.registry import TRANSFORMS
from PIL import Image, UnidentifiedImageError


@TRANSFORMS.register_module()
class LoadCheckedImage(LoadImageFromFile):
    """``LoadImageFromFile`` that notices truncated and corrupt images.

    Some versions of OpenCV silently fill what is missing of an image. Here
    Pillow, which insists on complete data, decodes the file first, JPEG at
    an eighth of its size to keep that cheap; what mmcv then decodes is what
    a pipeline gets: ``img``, ``img_shape`` and ``ori_shape``
    as usual, so that grey, palette and CMYK images have three channels and
    EXIF's orientation is applied. Flipped bits that still decode go
    unnoticed, and an absent file stays a ``FileNotFoundError``. What Pillow
    does not know, or takes for too large, is left to mmcv alone.

    An image of another size than its annotation says counts as damaged where
    a box reaches beyond it by more than a pixel, for such boxes are somebody
    else's; where they all fit, there is one warning.

    Args:
        skip: Return None for a damaged image and log its path and how many
            were skipped so far; each worker process counts its own. In
            training, the data set then draws another image at random, of any
            class, at most ``max_refetch`` times; a data set in test mode
            stops, since no image of a test may be left out.
        to_float32, color_type, imdecode_backend, backend_args: As in mmcv's
            ``LoadImageFromFile``.

    Raises:
        ValueError: In use: the image is damaged and ``skip`` is off.
    """

    def __init__(
        self,
        skip: bool = False,
        *,
        to_float32: bool = False,
        color_type: str = 'color',
        imdecode_backend: str = 'cv2',
        backend_args: dict | None = None,
    ) -> None:
        super().__init__(
            to_float32=to_float32,
            color_type=color_type,
            imdecode_backend=imdecode_backend,
            backend_args=backend_args,
        )
        self.skip = skip
        self.skipped = 0
        self._told_size = False

    @classmethod
    def like(cls, loader: LoadImageFromFile) -> 'LoadCheckedImage':
        """One that skips, with the options of mmcv's loader."""
        return cls(
            skip=True,
            to_float32=loader.to_float32,
            color_type=loader.color_type,
            imdecode_backend=loader.imdecode_backend,
            backend_args=loader.backend_args,
        )

    def transform(self, results: dict) -> dict | None:
        """Load the image of ``results['img_path']``."""
        path = results['img_path']
        content = fileio.get(path, backend_args=self.backend_args)
        nothing = f'{self.imdecode_backend} gives nothing'
        known = True
        try:
            _decode_strictly(content)
        except (UnidentifiedImageError, Image.DecompressionBombError):
            known = False
        except Exception as error:
            # Of damaged data, decoders raise nearly everything.
            return self._refuse(path, error)
        try:
            img = mmcv.imfrombytes(
                content, flag=self.color_type, backend=self.imdecode_backend
            )
        except Exception:
            if known:
                raise
            img = None
        if img is None:
            return self._refuse(path, nothing)
        if fault := self._wrong_size(results, img.shape[:2]):
            return self._refuse(path, fault)
        results['img'] = img.astype(np.float32) if self.to_float32 else img
        results['img_shape'] = results['ori_shape'] = img.shape[:2]
        return results

    def _refuse(self, path: str, reason: Any) -> None:
        if not self.skip:
            raise ValueError(_DAMAGED.format(path, reason))
        self.skipped += 1
        MMLogger.get_current_instance().warning(
            _SKIPPED.format(path, reason, self.skipped)
        )

    def _wrong_size(self, results: dict, shape: tuple[int, int]) -> str:
        """What speaks against the boxes of an image, or nothing."""
        height, width = shape
        written = (results.get('height'), results.get('width'))
        if None in written or written == (height, width):
            return ''
        fault = (
            f'it is {width} x {height}, but its annotation says '
            f'{written[1]} x {written[0]}'
        )
        instances = results.get('instances') or ()
        boxes = [one['bbox'] for one in instances if 'bbox' in one]
        for box in boxes:
            if len(box) == 4 and (box[2] > width + 1 or box[3] > height + 1):
                return f'{fault} and has the box {list(box)}'
        if boxes and not self._told_size:
            self._told_size = True
            MMLogger.get_current_instance().warning(
                f'{results["img_path"]}: {fault}; its boxes fit both, so that '
                'it is trained on; further such images are not told of'
            )
        return ''

    def __repr__(self) -> str:
        return f'{super().__repr__()[:-1]}, skip={self.skip})'


def _decode_strictly(content: bytes) -> None:
    with Image.open(io.BytesIO(content)) as image:
        image.draft(image.mode, (1, 1))
        image.load()


_DAMAGED = (
    '{} is truncated, corrupt or no image ({}): replace the file, take it '
    'out of the data set, or set skip=True of LoadCheckedImage in training'
)
_SKIPPED = (
    'skipped {}: truncated, corrupt or no image ({}); {} skipped so far in '
    'this process (a data set in test mode cannot skip and stops here: '
    'replace the file or take it out of the data set)'
)
