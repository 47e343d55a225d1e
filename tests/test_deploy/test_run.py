"""The command beside an exported file, and what it does to images."""

import json
import shutil
import subprocess
import sys

import cv2
import mmcv
import numpy as np
import pytest
from mmdet.datasets.transforms import Resize as MMResize
from mmpretrain.datasets.transforms import CenterCrop, ResizeEdge
from PIL import Image

from epsd_mm.deploy import run
from epsd_mm.deploy.run import Metadata, Resize
from tests.helpers.exported import (
    BOXES,
    SCORES,
    as_openvino,
    metadata_of,
    write_classifier,
    write_detector,
)

# Odd shapes, both ways round, one pixel, exact halves.
SHAPES = [(37, 91), (91, 37), (1, 1), (60, 80), (2, 300), (48, 64)]


def noise(height, width, seed=0):
    generator = np.random.default_rng(seed)
    return generator.integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.fixture
def detector(tmp_path):
    return write_detector(tmp_path / 'model.onnx')


class TestResizing:
    def test_bilinear_is_cv2_bit_by_bit(self):
        sizes = np.random.default_rng(0).integers(1, 200, (100, 4))
        for height, width, new_height, new_width in sizes.tolist():
            pixels = noise(height, width)
            size = new_width, new_height
            ours = run.resize(pixels, size, Resize('stretch'))
            assert np.array_equal(ours, cv2.resize(pixels, size))

    def test_bicubic_is_cv2_but_for_a_rounding(self):
        sizes = np.random.default_rng(0).integers(1, 200, (50, 4))
        how = Resize('stretch', interpolation='bicubic')
        for height, width, new_height, new_width in sizes.tolist():
            pixels = noise(height, width)
            size = new_width, new_height
            ours = run.resize(pixels, size, how).astype(int)
            theirs = cv2.resize(pixels, size, interpolation=cv2.INTER_CUBIC)
            assert np.abs(ours - theirs).max() <= 1
            assert (ours == theirs).mean() > 0.9

    @pytest.mark.parametrize('name', ['bilinear', 'bicubic', 'nearest'])
    def test_that_of_pillow_is_pillow(self, name):
        how = Resize('stretch', interpolation=name, backend='pillow')
        pixels = noise(70, 90)
        ours = run.resize(pixels, (31, 47), how)
        theirs = mmcv.imresize(
            pixels, (31, 47), interpolation=name, backend='pillow'
        )
        assert np.array_equal(ours, theirs)


def network_of(canvas, **changed):
    session = run.Session(dict(image=(None, 3, *canvas)), None, None)
    return run.Network(session, metadata_of(**changed))


@pytest.mark.parametrize('shape', SHAPES)
class TestPreparing:
    """mm's own transforms are the oracle."""

    def test_keep_ratio(self, shape):
        pixels = noise(*shape)
        theirs = MMResize(scale=(133, 80), keep_ratio=True)(
            dict(img=pixels[..., ::-1])
        )
        network = network_of(
            (None, None), resize=Resize('keep_ratio', scale=[133, 80])
        )
        ours = run.prepare(Image.fromarray(pixels), network)
        expected = theirs['img'][..., ::-1].transpose(2, 0, 1)
        assert np.array_equal(ours.image, expected)
        assert ours.size == theirs['img_shape']
        assert ours.scale == pytest.approx(theirs['scale_factor'])

    def test_stretch(self, shape):
        pixels = noise(*shape)
        theirs = MMResize(scale=(64, 48), keep_ratio=False)(
            dict(img=pixels[..., ::-1])
        )
        network = network_of((48, 64), resize=Resize('stretch'))
        ours = run.prepare(Image.fromarray(pixels), network)
        expected = theirs['img'][..., ::-1].transpose(2, 0, 1)
        assert np.array_equal(ours.image, expected)
        assert ours.scale == pytest.approx(theirs['scale_factor'])

    @pytest.mark.parametrize('backend', ['cv2', 'pillow'])
    def test_short_edge_then_crop(self, shape, backend):
        pixels = noise(*shape)
        results = dict(img=pixels[..., ::-1].copy())
        edge = ResizeEdge(scale=73, edge='short', backend=backend)
        theirs = CenterCrop(crop_size=(64, 48))(edge(results))['img']
        how = Resize('short_edge_then_crop', edge=73, backend=backend)
        network = network_of((48, 64), resize=how)
        ours = run.prepare(Image.fromarray(pixels), network)
        expected = theirs[..., ::-1].transpose(2, 0, 1)
        assert np.array_equal(ours.image, expected)

    def test_a_fixed_canvas_holds_every_picture(self, shape):
        network = network_of(
            (48, 64), resize=Resize('keep_ratio', scale=[64, 48])
        )
        ours = run.prepare(Image.fromarray(noise(*shape)), network)
        batch = network.on_canvas([ours.image])
        assert batch.shape == (1, 3, 48, 64)


class TestCanvas:
    def test_is_padded_at_the_right_and_below_with_the_pixel(self):
        batch = network_of((48, 64)).on_canvas([np.ones((3, 40, 50))])
        assert (batch[0, :, :40, :50] == 1).all()
        for channel, value in enumerate([10, 20, 30]):
            assert (batch[0, channel, 40:] == value).all()
            assert (batch[0, channel, :, 50:] == value).all()

    def test_of_any_size_is_a_multiple_that_fits_all(self):
        network = network_of((None, None))
        images = [np.ones((3, 40, 50)), np.ones((3, 17, 97))]
        assert network.on_canvas(images).shape == (2, 3, 48, 112)

    def test_that_is_too_small_is_said(self):
        with pytest.raises(ValueError, match='64 x 65 after.*64 x 48.*--dyn'):
            network_of((48, 64)).on_canvas([np.ones((3, 65, 64))])


def read_as_mm(path):
    return mmcv.imread(str(path), backend='cv2')[..., ::-1]


class TestColours:
    @pytest.mark.parametrize(
        'mode', ['1', 'L', 'LA', 'P', 'RGB', 'RGBA', 'I;16']
    )
    def test_are_read_as_cv2_reads_them(self, mode, tmp_path):
        path = tmp_path / 'image.png'
        image = Image.fromarray(noise(20, 30))
        if mode == 'I;16':
            deep = np.random.default_rng(0).integers(0, 65536, (20, 30))
            image = Image.fromarray(deep.astype(np.uint16))
        elif mode in ('LA', 'RGBA'):
            image = image.convert(mode)
            image.putalpha(Image.fromarray(noise(20, 30, 1)[..., 0]))
        else:
            image = image.convert(mode)
        image.save(path)
        ours = np.asarray(run.open_image(path))
        assert np.array_equal(ours, read_as_mm(path))

    @pytest.mark.parametrize('ending', ['pgm', 'png', 'tiff'])
    def test_of_16_bits_are_read_as_cv2_reads_them(self, ending, tmp_path):
        path = tmp_path / f'image.{ending}'
        deep = np.random.default_rng(0).integers(0, 65536, (20, 30))
        cv2.imwrite(str(path), deep.astype(np.uint16))
        ours = np.asarray(run.open_image(path))
        assert np.array_equal(ours, read_as_mm(path))

    def test_of_an_animation_are_those_of_the_first_picture(self, tmp_path):
        path = tmp_path / 'image.gif'
        first, other = (
            Image.new('RGB', (30, 20), c) for c in ('#203040', 'white')
        )
        first.save(path, save_all=True, append_images=[other], duration=9)
        assert run.open_image(path).getpixel((3, 3)) == (0x20, 0x30, 0x40)

    @pytest.mark.parametrize('orientation', range(1, 9))
    def test_turn_as_exif_says(self, orientation, tmp_path):
        path = tmp_path / 'image.jpg'
        image = Image.fromarray(noise(20, 30))
        exif = Image.Exif()
        exif[0x0112] = orientation
        image.save(path, exif=exif, quality=95)
        ours = np.asarray(run.open_image(path))
        theirs = read_as_mm(path)
        assert ours.shape == theirs.shape
        # Decoders of JPEG differ by a rounding.
        assert np.abs(ours.astype(int) - theirs).mean() < 2

    @pytest.mark.parametrize('kind', [np.float32, np.int32])
    def test_without_a_range_are_refused(self, kind, tmp_path):
        path = tmp_path / 'image.tiff'
        Image.fromarray(np.full((4, 4), 200, kind)).save(path)
        with pytest.raises(ValueError, match=r'image\.tiff: .*save it with 8'):
            run.open_image(path)


class TestMetadata:
    def test_survives_the_file(self):
        metadata = metadata_of(sparsity=0.9, compaction='half')
        assert Metadata.from_json(metadata.to_json()) == metadata

    @pytest.mark.parametrize(
        ('place', 'value', 'message'),
        [
            ('version', 2, 'version 2'),
            ('task', 'segmentation', "'segmentation', not one of"),
            ('classes', 'abc', 'classes'),
            ('classes', [], 'classes'),
            ('width', 64.0, 'width is 64.0'),
            ('divisor', 0, 'divisor is 0'),
            ('pad', [0, 0], 'pad'),
            ('score_threshold', None, 'score_threshold'),
            ('colour', 'red', "'colour'"),
            ('resize', 'stretch', 'resize'),
            ('resize', dict(mode='fit'), "'fit'"),
            ('resize', dict(mode='keep_ratio'), 'scale'),
            ('resize', dict(mode='stretch', backend='cv2', edges=3), 'edges'),
            ('resize', {}, 'incomplete'),
        ],
    )
    def test_that_is_wrong_is_named(self, place, value, message):
        content = json.loads(metadata_of().to_json())
        content[place] = value
        with pytest.raises(ValueError, match=message):
            Metadata.from_json(json.dumps(content))

    @pytest.mark.parametrize('text', ['', '[]', '{', 'null'])
    def test_that_is_none_is_refused(self, text):
        with pytest.raises(ValueError, match='metadata'):
            Metadata.from_json(text)


class TestFiles:
    def test_both_runtimes_answer_alike(self, tmp_path):
        metadata = metadata_of('classification')
        file = write_classifier(tmp_path / 'model.onnx', metadata)
        other = as_openvino(file, metadata)
        image = np.full((2, 3, 48, 64), 51.0)
        for each in (file, other):
            network = run.load(each, threads=1)
            assert network.metadata == metadata
            assert network.canvas == (48, 64)
            found = network(image)['probabilities']
            assert found == pytest.approx(np.array([[0.8, 0.2]] * 2))

    def test_that_are_none_are_refused_in_a_sentence(self, tmp_path):
        with pytest.raises(ValueError, match='neither a .onnx nor a .xml'):
            run.load(tmp_path / 'model.pth')
        with pytest.raises(FileNotFoundError, match='there is no file'):
            run.load(tmp_path / 'model.onnx')
        for name in ('model.onnx', 'model.xml'):
            (tmp_path / name).write_bytes(b'<rubbish')
        with pytest.raises(ValueError, match='ONNX Runtime cannot read'):
            run.load(tmp_path / 'model.onnx')
        with pytest.raises(FileNotFoundError, match=r'model\.bin'):
            run.load(tmp_path / 'model.xml')
        (tmp_path / 'model.bin').write_bytes(b'')
        with pytest.raises(ValueError, match='OpenVINO cannot read'):
            run.load(tmp_path / 'model.xml')

    def test_of_others_are_refused(self, tmp_path):
        file = write_detector(tmp_path / 'model.onnx', metadata=False)
        with pytest.raises(ValueError, match=r'tools/export\.py'):
            run.load(file)

    @pytest.mark.parametrize('name', ['onnxruntime', 'openvino'])
    def test_name_the_runtime_that_is_absent(
        self, name, tmp_path, monkeypatch
    ):
        file = write_detector(tmp_path / 'model.onnx')
        if name == 'openvino':
            file = as_openvino(file, metadata_of())
        monkeypatch.setitem(sys.modules, name, None)
        with pytest.raises(ImportError, match=f'-m pip install {name}$'):
            run.load(file)


def test_boxes_are_in_pixels_of_the_picture(detector):
    picture = Image.fromarray(noise(96, 100))  # halved on the canvas
    found = run.detect(run.load(detector), picture)
    assert found.scores == pytest.approx(SCORES[:2])
    assert found.boxes[0] == pytest.approx(2 * BOXES[0])
    assert found.boxes[1] == pytest.approx([0, 0, 100, 96])  # of 128 x 128
    assert len(run.detect(run.load(detector), picture, 0.5).scores) == 1


FORBIDDEN = ('torch', 'torchvision', 'mmengine', 'mmcv', 'mmdet', 'epsd_mm')


def command(folder, *arguments):
    """``run.py`` in a folder, where what it must not need is not there."""
    code = (
        'import runpy, sys\n'
        f'sys.modules.update(dict.fromkeys({(*FORBIDDEN, "cv2")}))\n'
        'sys.argv.pop(0)\n'
        'runpy.run_path(sys.argv[0], run_name="__main__")\n'
    )
    return subprocess.run(
        [sys.executable, '-I', '-c', code, 'run.py', *map(str, arguments)],
        cwd=folder,
        capture_output=True,
        text=True,
    )


class TestCommand:
    @pytest.fixture
    def folder(self, tmp_path):
        shutil.copy(run.__file__, tmp_path / 'run.py')
        Image.fromarray(noise(96, 128) // 4).save(tmp_path / 'image.png')
        return tmp_path

    def test_draws_what_is_found_without_torch_and_mm(self, folder):
        write_detector(folder / 'model.onnx')
        done = command(folder, 'image.png')
        assert done.returncode == 0, done.stderr
        assert done.stderr == ''
        first, second, last = done.stdout.splitlines()
        assert first.split() == [
            '0.900',
            '4.0',
            '8.0',
            '44.0',
            '68.0',
            'light',
        ]
        assert second.split()[-1] == 'dark'
        drawn = Image.open(folder / 'image_detections.png')
        assert drawn.size == (128, 96)
        edge = drawn.getpixel((4, 40))
        assert edge != Image.open(folder / 'image.png').getpixel((4, 40))

    def test_tells_the_classes(self, folder):
        write_classifier(folder / 'model.onnx')
        done = command(folder, 'image.png')
        assert done.returncode == 0, done.stderr
        assert [line.split()[1] for line in done.stdout.splitlines()] == [
            'dark',
            'light',
        ]
        assert not (folder / 'image_detections.png').exists()

    @pytest.mark.parametrize(
        ('arguments', 'message'),
        [
            (['nowhere.png'], 'there is no image nowhere.png'),
            (['run.py'], 'run.py is not an image'),
            (['broken.png'], 'broken.png is damaged'),
            (['image.png', '--out', 'image.png'], 'is the image itself'),
            (['image.png', '--out', 'a.txt'], 'end it in .png or .jpg'),
            (['image.png', '--out', 'a.psd'], 'end it in .png or .jpg'),
            (['image.png', '--threads', '0'], 'must be at least 1'),
            (['image.png', '--score-thr', 'nan'], 'nan is not between 0'),
            (['image.png', '--score-thr', '2'], 'is not between 0 and 1'),
            (['image.png', '--out', 'no/a.png'], 'there is no folder no'),
            (['image.png', '--file', 'x.onnx'], 'there is no file x.onnx'),
        ],
    )
    def test_answers_bad_input_in_one_sentence(
        self, folder, arguments, message, monkeypatch
    ):
        write_detector(folder / 'model.onnx')
        content = (folder / 'image.png').read_bytes()
        (folder / 'broken.png').write_bytes(content[: len(content) // 2])
        monkeypatch.chdir(folder)
        monkeypatch.setattr(run, '__file__', str(folder / 'run.py'))
        with pytest.raises(SystemExit) as caught:
            run.main(arguments)
        assert str(caught.value).startswith('error: ')
        assert message in str(caught.value)

    def test_refuses_what_a_classifier_does_not_have(
        self, folder, monkeypatch
    ):
        write_classifier(folder / 'model.onnx')
        monkeypatch.setattr(run, '__file__', str(folder / 'run.py'))
        for option in (['--out', 'a.png'], ['--score-thr', '0.1']):
            with pytest.raises(SystemExit, match=f'{option[0]} is for det'):
                run.main([str(folder / 'image.png'), *option])
