"""Harbor's REST API, v2.0, by plain requests with basic authentication.

Source: `api/v2.0/swagger.yaml` of goharbor/harbor. The environment's proxies, and its netrc, are
left out on purpose: a Harbor is a server of one's own network, and the password of its
administrator goes nowhere else.
"""

import functools
import http.cookiejar
import ssl
from collections.abc import Collection, Iterable, Mapping
from types import TracebackType
from typing import Any

import httpx

from ops.errors import OpsError
from ops.registry import answers, error_text
from ops.tls import contexts
from plan import foreign_json
from plan.harbor.reconcile import Step
from plan.problems import MASK, cut
from plan.settings.credentials import HARBOR_ADMIN, HARBOR_LOGIN

# To connect; between two bytes. Harbor asks an upstream itself before it takes its endpoint.
TIMEOUT = httpx.Timeout(90, connect=5)
# The most that Harbor gives at once.
PAGE_SIZE = 100
# Of an answer; such a page has some 200 kB.
ANSWER_BYTES = 8 * 1024 * 1024
SHOWN_CHARACTERS = 200
API = "/api/v2.0"


class HarborError(OpsError):
    """Harbor did not do what was asked; the text has its own words.

    The engine shows "[secret]" in the place of every secret of the stack's, in the middle of words
    too, and the user name is one: as a rule it is "admin", which no text here has in it.

    Attributes:
        status: of its answer; 0 where there was none.
    """

    def __init__(self, text: str, status: int = 0) -> None:
        super().__init__(text)
        self.status = status


class Client:
    """One Harbor.

    Args:
        url: of it, without a path.
        username: whom to ask as; empty for nobody.
        password: of that user.
        ca_pem: certificates to trust beside the machine's own.
        secrets: what must be in no message, beside the password.
        timeout: to connect, and between two bytes.
    """

    def __init__(
        self,
        url: str,
        username: str,
        password: str,
        ca_pem: str = "",
        secrets: Iterable[str] = (),
        timeout: httpx.Timeout = TIMEOUT,
    ) -> None:
        self.url = url.rstrip("/")
        self._username = username
        self._secrets = {password, *secrets} - {""}
        self._http = httpx.Client(
            auth=(username, password) if username else None,
            verify=trusting(ca_pem),
            timeout=timeout,
            trust_env=False,
            headers={"Accept": "application/json", **answers.IDENTITY},
            event_hooks={"response": [functools.partial(answers.cut, most=ANSWER_BYTES)]},
        )
        # With the session's cookie Harbor wants a token against forged requests, too.
        nobody = http.cookiejar.DefaultCookiePolicy(allowed_domains=[])
        self._http.cookies.jar.set_policy(nobody)

    def __enter__(self) -> "Client":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._http.close()

    def get(self, path: str, **query: str | int) -> Any:
        """What is at a path.

        Raises:
            HarborError: nothing is, or it can't be had.
        """
        return self._json(self._answer("GET", path, query=query), path)

    def found(self, path: str, nothing: Collection[int] = (httpx.codes.NOT_FOUND,)) -> Any | None:
        """What is at a path; None where nothing is, which one of these statuses says."""
        try:
            return self.get(path)
        except HarborError as error:
            if error.status not in nothing:
                raise
            return None

    def all(self, path: str, **query: str | int) -> tuple[dict[str, Any], ...]:
        """Every item of a list, however many pages it has."""
        items: dict[Any, dict[str, Any]] = {}
        page = 1
        while True:
            asked = {**query, "page": page, "page_size": PAGE_SIZE}
            answer = self._answer("GET", path, query=asked)
            some = self._list(answer, path)
            # By id: what is removed meanwhile moves the rest to the page before.
            items |= {_key(item): item for item in some}
            counted = answer.headers.get("X-Total-Count", "")
            total = int(counted) if counted.isdecimal() else len(items)
            if not some or page * PAGE_SIZE >= total:
                return tuple(items.values())
            page += 1

    def do(self, step: Step) -> int | None:
        """Run one step; the id of what it has made, if it has made something."""
        answer = self._answer(step.method, step.path, body=step.body)
        number = answer.headers.get("Location", "").rstrip("/").rpartition("/")[2]
        return int(number) if step.does == "create" and number.isdigit() else None

    def _answer(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str | int] | None = None,
        body: Mapping[str, Any] | None = None,
    ) -> httpx.Response:
        try:
            answer = self._http.request(method, f"{self.url}{API}{path}", params=query, json=body)
        except httpx.HTTPError as error:
            raise HarborError(unreachable(self.url, error)) from None
        if answer.is_success:
            return answer
        words = self._words(answer) or self._masked(answer.reason_phrase)
        said = f"Harbor at {self.url}: {method} {path}: {answer.status_code} {words}"
        if advice := self._advice(answer):
            said = f"{said}\n{advice}"
        raise HarborError(said, answer.status_code)

    def _list(self, answer: httpx.Response, path: str) -> list[dict[str, Any]]:
        some = self._json(answer, path)
        if not isinstance(some, list) or not all(isinstance(item, dict) for item in some):
            raise self._no_harbor(path)
        return some

    def _json(self, answer: httpx.Response, path: str) -> Any:
        try:
            return foreign_json.read(answer.content)
        except ValueError:
            raise self._no_harbor(path) from None

    def _no_harbor(self, path: str) -> HarborError:
        return HarborError(
            f"{self.url}{API}{path} is no API of Harbor: something else answers. Is this the URL "
            "of the Harbor itself, without a path (harbor.url)?"
        )

    def _advice(self, answer: httpx.Response) -> str | None:
        match answer.status_code:
            case httpx.codes.UNAUTHORIZED if not self._username:
                return f"Harbor tells that to nobody who does not log in: set {HARBOR_LOGIN}"
            case httpx.codes.UNAUTHORIZED:
                return (
                    f"Harbor does not know the user {self._username} by this password: set both "
                    f"again, as {HARBOR_ADMIN} or {HARBOR_LOGIN} (Harbor's user name is no e-mail "
                    "address; with OIDC it takes the CLI secret, or a user of Harbor's own)"
                )
            case httpx.codes.FORBIDDEN if "/artifacts/" in answer.request.url.path:
                return (
                    f"the user {self._username} may not see what that project holds: a robot needs "
                    "artifact:read for it, beside repository:pull"
                )
            case httpx.codes.FORBIDDEN:
                return (
                    f"the user {self._username} may not do that: only a user whom Harbor's list of "
                    "users calls Administrator may make registry endpoints and proxy-cache "
                    f"projects. Set the login of one as {HARBOR_ADMIN}"
                )
            case httpx.codes.CONFLICT:
                return "somebody made it at the same time: make up again"
            case httpx.codes.PRECONDITION_FAILED:
                return (
                    "something still uses it: a pull may have filled a project again (then run it "
                    "once more), or a replication rule names the endpoint"
                )
            case status if 300 <= status < 400:
                there = self._masked(str(answer.headers.get("Location")))
                return f"it sends on to {there}: write that URL as harbor.url instead"
        return None

    def _words(self, answer: httpx.Response) -> str:
        """What it says, on one line; masked before it is cut, and nothing of ours is masked."""
        said = self._masked(error_text.error_message(answer.text))
        return cut(" ".join(said.split()), SHOWN_CHARACTERS)

    def _masked(self, text: str) -> str:
        # The longest first: one secret may be a part of another.
        for secret in sorted(self._secrets, key=len, reverse=True):
            text = text.replace(secret, MASK)
        return text


def trusting(ca_pem: str) -> ssl.SSLContext:
    """Trust what this machine trusts, and these certificates.

    Raises:
        OpsError: they are none.
    """
    try:
        return contexts.machine_trust(ca_pem)
    except (ssl.SSLError, ValueError, TypeError) as error:
        raise OpsError(
            f"Harbor's CA is no certificate in PEM form ({error}): give the file that starts "
            "with -----BEGIN CERTIFICATE----- as harbor.ca"
        ) from None


def unreachable(url: str, error: BaseException) -> str:
    """Why a server did not answer, and what to do; the cause is looked for behind the error."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return (
                f"Harbor at {url}: its certificate is not trusted ({cause.verify_message}): give "
                "the certificate of its CA as harbor.ca, and write its name in harbor.url as the "
                "certificate has it"
            )
        cause = cause.__cause__ or cause.__context__
    return (
        f"Harbor at {url} does not answer ({error or type(error).__name__}): is harbor.url right, "
        "and is Harbor up? Proxies of the environment are not used for it"
    )


def _key(item: Mapping[str, Any]) -> Any:
    return item.get("id", item.get("project_id"))
