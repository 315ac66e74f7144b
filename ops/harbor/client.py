"""Harbor's REST API, v2.0, by plain requests with basic authentication.

Source: `api/v2.0/swagger.yaml` of goharbor/harbor. The environment's proxies and its netrc are
ignored on purpose: Harbor is a server in the user's own network, and its administrator's password
must go nowhere else.
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

# Between two bytes, and to connect. Harbor tries an upstream itself before it accepts its endpoint.
TIMEOUT = httpx.Timeout(90, connect=5)
# Harbor's maximum.
PAGE_SIZE = 100
# Of an answer; a full page has about 200 kB.
ANSWER_BYTES = 8 * 1024 * 1024
SHOWN_CHARACTERS = 200
API = "/api/v2.0"


class HarborError(OpsError):
    """A request to Harbor failed; the text includes Harbor's message.

    The engine replaces every secret of the stack by "[secret]", even inside words. The user name is
    one, and usually "admin": so no text here contains that.

    Attributes:
        status: of the answer; 0 if there was none.
    """

    def __init__(self, text: str, status: int = 0) -> None:
        super().__init__(text)
        self.status = status


class Client:
    """One Harbor.

    Args:
        url: of it, without a path.
        username: whom to log in as; empty for no login.
        password: of that user.
        ca_pem: certificates to trust besides the machine's own.
        secrets: what must not be in any message, besides the password.
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
        # With a session cookie Harbor also requires a token against forged requests.
        no_cookies = http.cookiejar.DefaultCookiePolicy(allowed_domains=[])
        self._http.cookies.jar.set_policy(no_cookies)

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
        """The content at a path.

        Raises:
            HarborError: there is none, or it can't be read.
        """
        return self._json(self._answer("GET", path, query=query), path)

    def find(self, path: str, nothing: Collection[int] = (httpx.codes.NOT_FOUND,)) -> Any | None:
        """The content at a path; None if there is none, which one of these statuses says."""
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
            paged = {**query, "page": page, "page_size": PAGE_SIZE}
            answer = self._answer("GET", path, query=paged)
            of_page = self._list(answer, path)
            # By id: when an item is removed meanwhile, those behind it move up a page.
            items |= {_key(item): item for item in of_page}
            count = answer.headers.get("X-Total-Count", "")
            total = int(count) if count.isdecimal() else len(items)
            if not of_page or page * PAGE_SIZE >= total:
                return tuple(items.values())
            page += 1

    def do(self, step: Step) -> int | None:
        """Run one step; returns the id of what it has created, if anything."""
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
        message = self._message(answer) or self._masked(answer.reason_phrase)
        text = f"Harbor at {self.url}: {method} {path}: {answer.status_code} {message}"
        if advice := self._advice(answer):
            text = f"{text}\n{advice}"
        raise HarborError(text, answer.status_code)

    def _list(self, answer: httpx.Response, path: str) -> list[dict[str, Any]]:
        items = self._json(answer, path)
        if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
            raise self._not_harbor(path)
        return items

    def _json(self, answer: httpx.Response, path: str) -> Any:
        try:
            return foreign_json.read(answer.content)
        except ValueError:
            raise self._not_harbor(path) from None

    def _not_harbor(self, path: str) -> HarborError:
        return HarborError(
            f"{self.url}{API}{path} is not Harbor's API: something else answers. Is harbor.url the "
            "URL of Harbor itself, without a path?"
        )

    def _advice(self, answer: httpx.Response) -> str | None:
        match answer.status_code:
            case httpx.codes.UNAUTHORIZED if not self._username:
                return f"Harbor shows that only after a login: set {HARBOR_LOGIN}"
            case httpx.codes.UNAUTHORIZED:
                return (
                    f"Harbor does not accept the user {self._username} with this password: set "
                    f"both again, as {HARBOR_ADMIN} or {HARBOR_LOGIN} (Harbor's user name is not "
                    "an e-mail address; with OIDC, use the CLI secret, or a user of Harbor's own)"
                )
            case httpx.codes.FORBIDDEN if "/artifacts/" in answer.request.url.path:
                return (
                    f"the user {self._username} may not see that project's artifacts: a robot "
                    "account needs artifact:read for it, besides repository:pull"
                )
            case httpx.codes.FORBIDDEN:
                return (
                    f"the user {self._username} may not do that: only a user whom Harbor's list of "
                    "users calls Administrator may create registry endpoints and proxy-cache "
                    f"projects. Set the login of one as {HARBOR_ADMIN}"
                )
            case httpx.codes.CONFLICT:
                return "another user created it at the same time: run make up again"
            case httpx.codes.PRECONDITION_FAILED:
                return (
                    "something still uses it: a pull may have filled a project again (then run "
                    "this again), or a replication rule names the endpoint"
                )
            case status if 300 <= status < 400:
                target = self._masked(str(answer.headers.get("Location")))
                return f"it redirects to {target}: set harbor.url to that URL instead"
        return None

    def _message(self, answer: httpx.Response) -> str:
        """Harbor's message, on one line; masked before it is cut. Our own text is not masked."""
        message = self._masked(error_text.error_message(answer.text))
        return cut(" ".join(message.split()), SHOWN_CHARACTERS)

    def _masked(self, text: str) -> str:
        # The longest first: one secret may be a part of another.
        for secret in sorted(self._secrets, key=len, reverse=True):
            text = text.replace(secret, MASK)
        return text


def trusting(ca_pem: str) -> ssl.SSLContext:
    """Trust what this machine trusts, and these certificates.

    Raises:
        OpsError: they are not certificates.
    """
    try:
        return contexts.machine_trust(ca_pem)
    except (ssl.SSLError, ValueError, TypeError) as error:
        raise OpsError(
            f"Harbor's CA is not a certificate in PEM form ({error}): set harbor.ca to the file "
            "that starts with -----BEGIN CERTIFICATE-----"
        ) from None


def unreachable(url: str, error: BaseException) -> str:
    """Why a server did not answer, and what to do; by the causes of the error, if it has any."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return (
                f"Harbor at {url}: its certificate is not trusted ({cause.verify_message}): set "
                "harbor.ca to the certificate of its CA, and use a name in harbor.url that the "
                "certificate is for"
            )
        cause = cause.__cause__ or cause.__context__
    return (
        f"Harbor at {url} does not answer ({error or type(error).__name__}): is harbor.url right, "
        "and is Harbor up? The environment's proxies are not used for it"
    )


def _key(item: Mapping[str, Any]) -> Any:
    return item.get("id", item.get("project_id"))
