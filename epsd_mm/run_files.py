"""Where a run leaves what it has scored, as seen from its folder."""

MASKS = 'epsd/masks.pth'
REPORT = 'epsd/report.json'
