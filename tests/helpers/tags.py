"""Whether a page of HTML is whole."""

from html.parser import HTMLParser

VOID = {'meta', 'br', 'img', 'use', 'path', 'rect', 'image', 'link'}


class Tags(HTMLParser):
    """Checks that every tag that opens is closed, in order."""

    def __init__(self):
        super().__init__()
        self.open, self.links, self.ids = [], [], set()

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.links += [attributes.get('src'), attributes.get('href')]
        self.ids.add(attributes.get('id'))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag
