"""A web server on this machine that can break off."""

import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self):  # noqa: N802
        server = self.server
        content = server.files.get(self.path.lstrip('/'))
        asked = self.headers.get('Range')
        server.ranges.append(asked)
        if content is None:
            self.send_error(404)
            return
        start = 0
        if asked and server.has_ranges:
            start = int(asked.removeprefix('bytes=').removesuffix('-'))
            if start >= len(content):
                self.send_response(416)
                self.send_header('Content-Range', f'bytes */{len(content)}')
                self.end_headers()
                return
            self.send_response(206)
            end = f'{len(content) - 1}/{len(content)}'
            self.send_header('Content-Range', f'bytes {start}-{end}')
        else:
            self.send_response(200)
        self.send_header('Content-Length', str(len(content) - start))
        self.end_headers()
        rest = content[start:]
        rest = rest[: server.breaks.pop(0)] if server.breaks else rest
        server.sent += len(rest)  # before the client can have read them
        self.wfile.write(rest)

    def log_message(self, *_):
        pass


@contextmanager
def serving(files):
    """Serve files, by their names.

    The server has ``url``; ``ranges`` and ``sent``, which tell what was
    asked for and how many bytes went out; ``has_ranges``; and ``breaks``, the
    bytes after which the next connections are closed.
    """
    server = ThreadingHTTPServer(('127.0.0.1', 0), _Handler)
    server.url = f'http://127.0.0.1:{server.server_port}'
    server.files, server.has_ranges, server.breaks = files, True, []
    server.ranges, server.sent = [], 0
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
