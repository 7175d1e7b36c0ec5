"""nova-novncproxy: consoles in the browser, on the cloud's one port under `/console`.

`pages.py` serves the pages and their scripts (noVNC's and xterm.js's come from Debian packages, put into the state
directory when the cloud is set up); `proxy.py` lets a websocket with a token to a machine's screen or serial line;
`relay.py` carries the bytes.  Read `proxy.py` first.
"""
