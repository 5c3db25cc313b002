"""Requests that parsers have disagreed about, and what we answer to each.

Each is followed by a good request (``END``) when it is sent, so that whoever misjudges where it ends
reads something else than that. Status 200 means: it reaches the application, as h11 reads it too.
"""

from __future__ import annotations

END = b"GET /end HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
POST = b"POST /x HTTP/1.1\r\nHost: a\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"

CORPUS: dict[str, tuple[int, bytes]] = {
    # Lines
    "bare LF everywhere": (400, b"GET /x HTTP/1.1\nHost: a\n\n"),
    "bare LF after a header": (400, b"GET /x HTTP/1.1\r\nHost: a\nX: b\r\n\r\n"),
    "bare LF as the end": (400, b"GET /x HTTP/1.1\r\nHost: a\r\n\n"),
    "bare CR in a header": (400, b"GET /x HTTP/1.1\r\nHost: a\rX: b\r\n\r\n"),
    "space before the colon": (400, POST + b"Content-Length : 4\r\n\r\nGET "),
    "tab before the colon": (400, POST + b"Content-Length\t: 4\r\n\r\nGET "),
    "obs-fold": (400, b"GET /x HTTP/1.1\r\nHost: a\r\nX: b\r\n c\r\n\r\n"),
    "obs-fold of the framing": (400, POST + b"Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n"),
    "fold before the first header": (400, b"GET /x HTTP/1.1\r\n Host: a\r\n\r\n"),
    "NUL in a value": (400, b"GET /x HTTP/1.1\r\nHost: a\r\nX: b\0c\r\n\r\n"),
    "NUL in a name": (400, b"GET /x HTTP/1.1\r\nHost: a\r\nX\0: b\r\n\r\n"),
    "control character in a value": (400, b"GET /x HTTP/1.1\r\nHost: a\r\nX: b\x01c\r\n\r\n"),
    "DEL in a value": (400, b"GET /x HTTP/1.1\r\nHost: a\r\nX: b\x7fc\r\n\r\n"),
    "name that is no token": (400, b"GET /x HTTP/1.1\r\nHost: a\r\nX(y): b\r\n\r\n"),
    "name with 8 bits": (400, b"GET /x HTTP/1.1\r\nHost: a\r\nX\xe4: b\r\n\r\n"),
    "empty name": (400, b"GET /x HTTP/1.1\r\nHost: a\r\n: b\r\n\r\n"),
    "line without a colon": (400, b"GET /x HTTP/1.1\r\nHost: a\r\nXb\r\n\r\n"),
    "value with 8 bits": (200, b"GET /x HTTP/1.1\r\nHost: a\r\nX: \xc3\xa4\r\n\r\n"),
    "blank line before": (400, b"\r\nGET /x HTTP/1.1\r\nHost: a\r\n\r\n"),
    "bare LF before": (400, b"\nGET /x HTTP/1.1\r\nHost: a\r\n\r\n"),
    # Request line
    "two spaces": (400, b"GET  /x HTTP/1.1\r\nHost: a\r\n\r\n"),
    "space at the end": (400, b"GET /x HTTP/1.1 \r\nHost: a\r\n\r\n"),
    "space in the target": (400, b"GET /x y HTTP/1.1\r\nHost: a\r\n\r\n"),
    "tabs": (400, b"GET\t/x\tHTTP/1.1\r\nHost: a\r\n\r\n"),
    "NUL in the target": (400, b"GET /x\0y HTTP/1.1\r\nHost: a\r\n\r\n"),
    "8 bits in the target": (400, b"GET /\xc3\xa4 HTTP/1.1\r\nHost: a\r\n\r\n"),
    "fragment in the target": (400, b"GET /x#y HTTP/1.1\r\nHost: a\r\n\r\n"),
    "absolute form": (200, b"GET http://b/x HTTP/1.1\r\nHost: a\r\n\r\n"),
    "absolute form without a path": (400, b"GET http://b?x=/y HTTP/1.1\r\nHost: a\r\n\r\n"),
    "authority form": (400, b"GET a:80 HTTP/1.1\r\nHost: a\r\n\r\n"),
    "asterisk": (400, b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n"),
    "lower-case method": (400, b"get /x HTTP/1.1\r\nHost: a\r\n\r\n"),
    "unknown method": (400, b"FOO /x HTTP/1.1\r\nHost: a\r\n\r\n"),
    "HTTP/0.9": (400, b"GET /x\r\n\r\n"),
    "HTTP/1.2": (400, b"GET /x HTTP/1.2\r\nHost: a\r\n\r\n"),
    "HTTP/2.0": (400, b"GET /x HTTP/2.0\r\nHost: a\r\n\r\n"),
    "HTTP/2 preface": (400, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    "RTSP": (400, b"DESCRIBE /x RTSP/1.0\r\nHost: a\r\n\r\n"),
    "TLS hello": (400, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
    # Host
    "two Hosts": (400, b"GET /x HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"),
    "the same Host twice": (400, b"GET /x HTTP/1.1\r\nHost: a\r\nhost: a\r\n\r\n"),
    "no Host": (400, b"GET /x HTTP/1.1\r\n\r\n"),
    "Host with a path": (400, b"GET /x HTTP/1.1\r\nHost: a/v2/keys?\r\n\r\n"),
    "Host with a user": (400, b"GET /x HTTP/1.1\r\nHost: b@a\r\n\r\n"),
    "empty Host": (400, b"GET /x HTTP/1.1\r\nHost: \r\n\r\n"),
    "IPv6 Host": (200, b"GET /x HTTP/1.1\r\nHost: [::1]:80\r\n\r\n"),
    # Lengths
    "Content-Length and chunked": (400, POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    "chunked and Content-Length": (400, POST + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n"),
    "equal lengths": (400, POST + b"Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc"),
    "different lengths": (400, POST + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd"),
    "length list": (400, POST + b"Content-Length: 3, 3\r\n\r\nabc"),
    "length +3": (400, POST + b"Content-Length: +3\r\n\r\nabc"),
    "length -3": (400, POST + b"Content-Length: -3\r\n\r\nabc"),
    "length 0x3": (400, POST + b"Content-Length: 0x3\r\n\r\nabc"),
    "length 1_0": (400, POST + b"Content-Length: 1_0\r\n\r\nabcdefghij"),
    "no length": (400, POST + b"Content-Length: \r\n\r\n"),
    "huge length": (400, POST + b"Content-Length: 99999999999999999999999\r\n\r\n"),
    "length with a blank behind": (200, POST + b"Content-Length: 3 \r\n\r\nabc"),
    "length 3 3": (400, POST + b"Content-Length: 3 3\r\n\r\nabc"),
    "length on GET": (200, b"GET /x HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc"),
    # Transfer codings
    "xchunked": (501, POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"),
    "chunked, identity": (400, POST + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n"),
    "gzip, chunked": (501, POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
    "chunked twice": (400, POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    "chunked behind VT": (400, POST + b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n"),
    "identity": (501, POST + b"Transfer-Encoding: identity\r\n\r\n0\r\n\r\n"),
    "no coding": (400, POST + b"Transfer-Encoding: \r\n\r\n0\r\n\r\n"),
    "HTTP/1.0 and chunked": (
        400,
        b"POST /x HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\nConnection: keep-alive\r\n\r\n0\r\n\r\n",
    ),
    "chunked behind a tab": (200, POST + b"Transfer-Encoding:\tchunked\r\n\r\n1\r\na\r\n0\r\n\r\n"),
    # Chunks
    "chunks": (200, CHUNKED + b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"),
    "empty lines inside chunks": (200, CHUNKED + b"8\r\n\r\n\r\n\r\n\r\n\r\n0\r\n\r\n"),
    "chunk extension": (200, CHUNKED + b"1;a=b\r\na\r\n0\r\n\r\n"),
    "trailers": (200, CHUNKED + b"1\r\na\r\n0\r\nX: y\r\nHost: b\r\n\r\n"),
    "chunk extension ended by LF": (400, CHUNKED + b"1;a\nb\r\na\r\n0\r\n\r\n"),
    "chunk size ended by LF": (400, CHUNKED + b"1\na\r\n0\r\n\r\n"),
    "chunk ended by LF": (400, CHUNKED + b"1\r\na\n0\r\n\r\n"),
    "chunk longer than said": (400, CHUNKED + b"1\r\nabc\r\n0\r\n\r\n"),
    "blank behind a chunk size": (400, CHUNKED + b"1 \r\na\r\n0\r\n\r\n"),
    "blank before a chunk size": (400, CHUNKED + b" 1\r\na\r\n0\r\n\r\n"),
    "chunk size 0x1": (400, CHUNKED + b"0x1\r\na\r\n0\r\n\r\n"),
    "chunk size -1": (400, CHUNKED + b"-1\r\na\r\n0\r\n\r\n"),
    "chunk size overflow": (400, CHUNKED + b"10000000000000001\r\na\r\n0\r\n\r\n"),
    "empty chunk size": (400, CHUNKED + b"\r\na\r\n0\r\n\r\n"),
    # Other protocols
    "CONNECT": (501, b"CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n"),
    "TRACE": (501, b"TRACE /x HTTP/1.1\r\nHost: a\r\n\r\n"),
    # An offer to upgrade is declined by serving the request as it is (RFC 9110, 7.8): Java's client makes one.
    "h2c": (
        200,
        b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: \r\n\r\n",
    ),
    "WebSocket": (200, b"GET /x HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"),
}
