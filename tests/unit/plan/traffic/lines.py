"""Lines of a registry's log, as distribution v3.1.2 writes them."""

LINE = (
    'time="{time}" level=info msg="response completed" go.version=go1.26.8 '
    'http.request.host="127.0.0.1:5000" http.request.id=01a22179 http.request.method={method} '
    'http.request.remoteaddr="10.5.0.2:46314" http.request.uri="/v2/{path}" '
    "http.request.useragent=containerd/v2.2.2 "
    "http.response.contenttype=application/vnd.oci.image.manifest.v1+json "
    "http.response.duration=18.5ms http.response.status={status} http.response.written=415 "
    "instance.id=01a2 vars.name=library/hello vars.reference=1 version=3.1.2"
)


def line(path, *, time="2026-11-28T09:26:09.015701002Z", method="GET", status=200):
    """The line of a request; the path without `/v2/`."""
    return LINE.format(path=path, time=time, method=method, status=status)
