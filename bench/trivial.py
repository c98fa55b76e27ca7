"""The least a server can do: 202 at once. It shows what the load generator can reach."""

import sys

from bench.http1 import response, serve

_ACCEPTED = response(b"202 Accepted", b'{"status":"accepted"}')


def main() -> None:
    """Serve on the port named on the command line."""
    serve(int(sys.argv[1]), lambda _head, _body: _ACCEPTED)


if __name__ == "__main__":
    main()
