"""Which detectors of mmdet are scored, and how: see detector_coverage.py."""

if __name__ == 'coverage':
    # Others look for the package of that name where this file lies.
    raise ImportError('this is a command, not the package coverage')

from detector_coverage import main

if __name__ == '__main__':
    main()
