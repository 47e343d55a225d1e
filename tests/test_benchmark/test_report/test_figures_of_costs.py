"""A method has one colour in all drawings of a figure, and its name once."""

from matplotlib.colors import to_hex

from epsd_mm.benchmark.report import figures

BOTH = {'dense': [(1.0, 0.9)], 'Random': [(1.0, 0.8)], 'EPSD': [(1.4, 0.9)]}
COUNTED = {name: BOTH[name] for name in ('dense', 'EPSD')}


def test_a_panel_without_a_method_moves_no_colour(monkeypatch):
    drawn = []
    monkeypatch.setattr(figures, 'svg_of', drawn.append)
    figures.against_costs({'passes': BOTH, 'without zeros': COUNTED}, 'mAP')
    (canvas,) = drawn
    first, last = (
        {line.get_label(): to_hex(line.get_color()) for line in axes.lines}
        for axes in canvas.axes
    )
    assert len(set(first.values())) == 3
    assert last == {name: first[name] for name in COUNTED}
    legend = canvas.axes[-1].get_legend()
    told = {
        text.get_text(): to_hex(handle.get_color())
        for text, handle in zip(legend.get_texts(), legend.legend_handles)
    }
    assert told == first
