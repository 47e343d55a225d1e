"""Installs epsd_mm together with its configs and tools (mim's layout)."""

import runpy
import shutil
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
PACKAGE = 'epsd_mm'
MIM_FOLDERS = ('configs', 'tools', 'requirements')


class BuildWithMim(build_py):
    """Puts configs, tools and the versions of requirements into ``.mim``.

    All ways of installing run this command: wheels and plain installs copy
    the folders, editable installs link to them, source archives list them.
    """

    def run(self) -> None:
        super().run()
        if self.editable_mode:
            self._link()
        else:
            self._copy()

    def get_source_files(self) -> list[str]:
        extra = [ROOT / 'CHANGELOG.md']
        extra += [source for source, _ in self._mim_files()]
        return super().get_source_files() + [
            path.relative_to(ROOT).as_posix() for path in extra
        ]

    def get_outputs(self, include_bytecode: bool = True) -> list[str]:
        outputs = super().get_outputs(include_bytecode)
        if not self.editable_mode:
            outputs += [str(target) for _, target in self._mim_files()]
        return outputs

    def _mim_files(self) -> list[tuple[Path, Path]]:
        mim = Path(self.build_lib, PACKAGE, '.mim')
        return [
            (source, mim / source.relative_to(ROOT))
            for folder in MIM_FOLDERS
            for source in sorted((ROOT / folder).rglob('*'))
            if source.is_file() and '__pycache__' not in source.parts
        ]

    def _copy(self) -> None:
        # An earlier build may have left files that are gone since.
        shutil.rmtree(Path(self.build_lib, PACKAGE, '.mim'), True)
        for source, target in self._mim_files():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target)

    def _link(self) -> None:
        mim = ROOT / PACKAGE / '.mim'
        mim.mkdir(exist_ok=True)
        for folder in MIM_FOLDERS:
            link = mim / folder
            if not link.is_symlink():
                link.symlink_to(Path('..', '..', folder), True)


def names(file: str) -> list[str]:
    """The packages of a requirements file, free of its exact versions."""
    lines = (ROOT / 'requirements' / f'{file}.txt').read_text().splitlines()
    return [
        line.partition('==')[0]
        for line in lines
        if line and not line.startswith('#')
    ]


FILES = (
    *('tests', 'optional', 'structure', 'deploy', 'docs', 'ray', 'slurm'),
)
extras = {file: names(file) for file in FILES}
extras['all'] = sorted(set(sum(extras.values(), [])))
extras['cluster'] = [*extras['ray'], *extras['slurm']]
# Not in `all`: who has the upstream packages must not get these beside them.
# Classification alone: no extra can have mmcv's operators compiled, which
# detection takes; docs/installation.md and check_env have the commands.
extras['mm'] = [
    'onedl-mmcv>=2.3',
    'onedl-mmengine>=0.10.8',
    'onedl-mmpretrain>=1.3',
]

setup(
    name=PACKAGE,
    version=runpy.run_path(str(ROOT / PACKAGE / 'version.py'))['__version__'],
    description='Early pruning with self-distillation for mm models',
    long_description=(ROOT / 'README.md').read_text(encoding='utf-8'),
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    license_files=['LICENSE'],
    packages=find_packages(include=[PACKAGE, f'{PACKAGE}.*']),
    cmdclass={'build_py': BuildWithMim},
    python_requires='>=3.10',
    # The mm packages are left to the user: two families go by one name.
    install_requires=[
        'matplotlib>=3.6',
        'numpy>=1.22',
        'rich>=12',
        'scipy>=1.9',
        'torch>=2.1',
    ],
    extras_require=extras,
    classifiers=[
        'Development Status :: 3 - Alpha',
        'Programming Language :: Python :: 3',
        'Programming Language :: Python :: 3.10',
        'Programming Language :: Python :: 3.11',
        'Programming Language :: Python :: 3.12',
        'Programming Language :: Python :: 3.13',
        'Topic :: Scientific/Engineering :: Artificial Intelligence',
    ],
    zip_safe=False,
)
