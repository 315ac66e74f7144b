"""What a proxy cache of the fake does with a pull: when it stores what, and what it answers.

As in `src/server/middleware/repoproxy` and `src/controller/proxy` of goharbor/harbor, step by step,
and as observed on a running one. What Harbor does 10 to 600 seconds later is done so many times
`pace` later here.
"""

import contextlib
import json
import threading
from dataclasses import dataclass, field

import httpx

from plan.images.manifests import INDEX_TYPES, MANIFEST_TYPES, parse
from tests.fakes.harbor.store import NotTakenError, digest_of
from tests.real.private.harbor.failures import FailedError, not_found

CHUNK = 1024 * 1024
ACCEPT = {"Accept": ", ".join((*INDEX_TYPES, *MANIFEST_TYPES))}
TOO_MANY = FailedError(429, "TOOMANYREQUESTS", "too many requests to upstream registry")
SLEEP_SECONDS, MANIFEST_LOOKS, INDEX_LOOKS = 20, 10, 20
TAG_SECONDS, TAG_LOOKS = 10, 60
# In the order in which Go writes the fields of an index, and of what it refers to.
DESCRIPTOR = ("mediaType", "size", "digest", "urls", "annotations", "platform")
PLATFORM = ("architecture", "os", "os.version", "os.features", "variant", "features")


class UpstreamError(Exception):
    """The upstream gives no answer that could be passed on."""


class _EndedError(Exception):
    """The fake has been stopped."""


@dataclass
class Answer:
    """What a client gets: `pieces` are the content's."""

    status: int
    headers: dict
    pieces: object = ()


@dataclass
class Background:
    """What Harbor does after its answers.

    Attributes:
        pace: what one of Harbor's seconds lasts here, in seconds.
    """

    pace: float = 1.0
    _ended: threading.Event = field(default_factory=threading.Event)
    _running: list = field(default_factory=list)

    def start(self, work, *arguments):
        def run():
            with contextlib.suppress(_EndedError, NotTakenError, UpstreamError):
                work(*arguments)

        thread = threading.Thread(target=run, daemon=True)
        self._running.append(thread)
        thread.start()

    def sleep(self, seconds):
        if self._ended.wait(seconds * self.pace):
            raise _EndedError

    def wait(self):
        """Wait until nothing runs any more."""
        while self._running:
            self._running.pop().join()

    def stop(self):
        self._ended.set()
        self.wait()


class Proxy:
    """A repository of a proxy cache.

    Args:
        harbor: that it is in.
        project: that it is in.
        name: of the repository, upstream's.
        count: called with the number of bytes of everything that came from upstream.
    """

    def __init__(self, harbor, project, name, count):
        self.harbor, self.project, self.name, self.count = harbor, project, name, count
        self.full_name = f"{project['name']}/{name}"
        self.registry = harbor.registries[project["registry_id"]]

    @property
    def there(self):
        return self.harbor.store.repository(self.project["project_id"], self.name)

    def manifest(self, method, reference):
        """The answer to GET or HEAD of a manifest."""
        try:
            return self._manifest(method, reference)
        except UpstreamError:
            return self._held_manifest(reference)

    def blob(self, method, digest, wanted):
        """The answer to GET or HEAD of a blob; `wanted` is the header Range."""
        if digest in self.there.blobs:
            return self._held_blob(digest, wanted)
        if method == "HEAD":
            raise not_found(f"blob {digest}")  # there is no proxy in front of it
        return self._cold_blob(digest)

    def tags(self):
        """Those that are stored, and those of the upstream."""
        tags = set(self.there.tags)
        with contextlib.suppress(UpstreamError), self._upstream("GET", "tags/list") as answer:
            if answer.status_code == httpx.codes.OK:
                tags |= set(json.loads(answer.read())["tags"])
        return sorted(tags)

    # Manifests ------------------------------------------------------------------------------

    def _manifest(self, method, reference):
        by_digest = reference.startswith("sha256:")
        held = self.there.find(reference)
        if held and by_digest:
            return self._held_manifest(reference)
        media_type, size, digest = self._head(reference)
        if remembered := self.harbor.store.remembered.get((self.full_name, digest)):
            return _manifest_answer(*remembered, digest)
        if held and held.digest == digest:
            return self._held_manifest(reference)
        if method == "HEAD":
            if not by_digest:
                self.harbor.background.start(self._ensure_tag, reference, digest)
            headers = _manifest_headers(media_type, size, digest)
            return Answer(200, headers)
        with self._upstream("GET", f"manifests/{reference}", ACCEPT) as answer:
            content = answer.read()
        self.count(len(content))
        self.harbor.background.start(self._cache, reference, media_type, content)
        return _manifest_answer(media_type, content, reference if by_digest else "")

    def _head(self, reference):
        """Media type, size and digest, as the upstream reports them."""
        with self._upstream("HEAD", f"manifests/{reference}", ACCEPT) as answer:
            if answer.status_code == httpx.codes.NOT_FOUND:
                raise not_found(f"repo {self.full_name}, tag {reference}")
            headers = answer.headers
        return headers["Content-Type"], headers["Content-Length"], headers["Docker-Content-Digest"]

    def _held_manifest(self, reference):
        held = self.there.find(reference)
        if held is None:
            between = "@" if reference.startswith("sha256:") else ":"
            raise not_found(f"artifact {self.full_name}{between}{reference}")
        answer = _manifest_answer(held.media_type, held.content, held.digest)
        answer.headers["Etag"] = f'"{held.digest}"'
        return answer

    def _ensure_tag(self, tag, digest):
        """Set a tag as soon as its manifest is stored."""
        for _ in range(TAG_LOOKS):
            self.harbor.background.sleep(TAG_SECONDS)
            found = self.harbor.store.trimmed.get(digest, digest)
            if found in self.there.manifests:
                self.there.tags[tag] = found
                return

    def _cache(self, reference, media_type, content):
        if media_type in INDEX_TYPES:
            self._cache_index(reference, media_type, content)
        else:
            self._cache_manifest(reference, media_type, content)

    def _cache_index(self, reference, media_type, content):
        store, entries = self.harbor.store, json.loads(content)["manifests"]
        store.remembered[self.full_name, digest_of(content)] = (media_type, content)
        for _ in range(INDEX_LOOKS):
            self.harbor.background.sleep(SLEEP_SECONDS)
            found = [one for one in entries if one["digest"] in self.there.manifests]
            if len(found) == len(entries):
                break
        if not found:
            return  # and it stays remembered
        stored = written_anew(found)
        # After a request by tag it is recorded under no digest at all, so that no tag is set to it.
        store.trimmed[reference if reference.startswith("sha256:") else ""] = digest_of(stored)
        self._put_manifest(json.loads(stored)["mediaType"], stored)

    def _cache_manifest(self, reference, media_type, content):
        parts = {part.digest for part in parse(content).refers_to}
        for _ in range(MANIFEST_LOOKS):
            self.harbor.background.sleep(SLEEP_SECONDS)
            if parts <= self.there.blobs:
                break
        for digest in parts - self.there.blobs:
            self._put_blob(digest)
        tag = "" if reference.startswith("sha256:") else reference
        self._put_manifest(media_type, content, tag)

    def _put_manifest(self, media_type, content, tag=""):
        self._refuse_without_project()
        self.harbor.store.put_manifest(self.there, media_type, content, tag)

    # Blobs ----------------------------------------------------------------------------------

    def _held_blob(self, digest, wanted):
        content = self.harbor.store.blob(digest).read_bytes()
        headers = _blob_headers(digest, len(content), "application/octet-stream")
        headers |= {"Etag": f'"{digest}"', "Accept-Ranges": "bytes"}
        if not wanted:
            return Answer(200, headers, [content])
        first, _, last = wanted.removeprefix("bytes=").partition("-")
        first, last = int(first), min(int(last or len(content)), len(content) - 1)
        headers["Content-Length"] = str(last + 1 - first)
        headers["Content-Range"] = f"bytes {first}-{last}/{len(content)}"
        return Answer(206, headers, [content[first : last + 1]])

    def _cold_blob(self, digest):
        """The upstream's answer, piece by piece; Harbor itself fetches another one meanwhile."""
        pieces = self._passed_on(digest)
        headers = next(pieces)
        self.harbor.background.start(self._put_blob, digest)
        return Answer(200, headers, pieces)

    def _passed_on(self, digest):
        with self._upstream("GET", f"blobs/{digest}") as answer:
            if answer.status_code != httpx.codes.OK:
                raise not_found(f"blob {digest}")
            headers = answer.headers
            yield _blob_headers(digest, headers["Content-Length"], headers["Content-Type"])
            for piece in answer.iter_raw(CHUNK):
                self.count(len(piece))
                yield piece

    def _put_blob(self, digest):
        with self.harbor.store.lock:
            if (self.full_name, digest) in self.harbor.under_way:
                return
            self.harbor.under_way.add((self.full_name, digest))
        try:
            with self._upstream("GET", f"blobs/{digest}") as answer:
                content = answer.read()
            self.count(len(content))
            self._take_blob(digest, content)
        finally:
            self.harbor.under_way.discard((self.full_name, digest))

    def _take_blob(self, digest, content):
        if digest_of(content) != digest:
            raise NotTakenError(digest)
        self._refuse_without_project()
        store, number = self.harbor.store, self.project["project_id"]
        limit = self.harbor.limit(number)
        if limit != -1 and store.used(number) + len(content) > limit:
            raise NotTakenError("the quota of the project is exceeded")
        store.blob(digest).write_bytes(content)
        self.there.blobs.add(digest)

    # ----------------------------------------------------------------------------------------

    def _refuse_without_project(self):
        if self.project["project_id"] not in self.harbor.projects:
            raise NotTakenError(f"the project {self.project['name']} is gone")

    @contextlib.contextmanager
    def _upstream(self, method, path, headers=None):
        real, auth = self.harbor.upstream(self.registry)
        url = f"{real}/v2/{self.name}/{path}"
        timeout = httpx.Timeout(60, connect=2)
        try:
            with (
                httpx.Client(auth=auth, trust_env=False, timeout=timeout) as client,
                client.stream(method, url, headers=headers) as answer,
            ):
                if answer.status_code == httpx.codes.TOO_MANY_REQUESTS:
                    raise TOO_MANY
                if answer.status_code not in (httpx.codes.OK, httpx.codes.NOT_FOUND):
                    raise UpstreamError(f"{url}: {answer.status_code}")
                yield answer
        except httpx.HTTPError as error:
            raise UpstreamError(f"{url}: {error}") from error


def written_anew(entries):
    """An index of these entries as Harbor writes one (`manifestlist` of distribution 2.8)."""
    is_oci = entries[0]["mediaType"] == MANIFEST_TYPES[0]
    index = {
        "schemaVersion": 2,
        "mediaType": INDEX_TYPES[0] if is_oci else INDEX_TYPES[1],
        "manifests": [_descriptor(one) for one in entries],
    }
    return json.dumps(index, indent=3, ensure_ascii=False).encode()


def _descriptor(entry):
    written = {name: entry[name] for name in DESCRIPTOR if name in entry}
    platform = {"architecture": "", "os": "", **entry.get("platform", {})}
    return {**written, "platform": {name: platform[name] for name in PLATFORM if name in platform}}


def _manifest_headers(media_type, size, digest):
    return {
        "Content-Type": media_type,
        "Content-Length": str(size),
        "Docker-Content-Digest": digest,
        "Etag": digest,
    }


def _manifest_answer(media_type, content, digest):
    return Answer(200, _manifest_headers(media_type, len(content), digest), [content])


def _blob_headers(digest, size, media_type):
    return {
        "Content-Type": media_type,
        "Content-Length": str(size),
        "Docker-Content-Digest": digest,
        "Etag": digest,
    }
