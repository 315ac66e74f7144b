"""The fake's REST API: what this project uses of Harbor's, and not one operation more.

Behaviour as read in the handlers of goharbor/harbor; see openapi_subset.yaml for the source. Every
request and every answer is checked against that subset.
"""

import copy
import re
import secrets
from dataclasses import asdict
from urllib.parse import unquote

import httpx

from plan.images.manifests import INDEX_TYPES
from tests.fakes.harbor import description
from tests.fakes.harbor.proxy import Background
from tests.fakes.harbor.store import Store
from tests.real.private.harbor.failures import (
    FailedError,
    bad,
    conflict,
    forbidden,
    internal,
    not_found,
    not_implemented,
    precondition,
    unauthorized,
)

NAME = re.compile(r"[a-z0-9]+(?:[._-][a-z0-9]+)*")
SHOWN_SECRET = "*****"
# The default of the installer since v2.14; `quay` was among them before.
PROXY_TYPES = (
    "docker-hub",
    "harbor",
    "azure-acr",
    "ali-acr",
    "aws-ecr",
    "google-gcr",
    "docker-registry",
    "github-ghcr",
    "jfrog-artifactory",
)
# What there is an adapter for, beside these.
OTHER_TYPES = ("dtr", "gitlab", "huawei-SWR", "quay", "tencent-tcr", "volcengine-cr")
NOW = "2026-11-26T03:00:00.000Z"
PULL = {"resource": "repository", "action": "pull"}
READ = {"resource": "artifact", "action": "read"}
SAFE = ("GET", "HEAD", "OPTIONS")
# What users who are not administrators may ask for as well, as far as each says.
FOR_OTHERS = (
    "GET /projects",
    "POST /projects",
    "GET /projects/{project_name}/repositories",
    "GET /projects/{project_name}/repositories/{repository}/artifacts/{reference}",
)


class Harbor:
    """One Harbor.

    Args:
        folder: for blobs.
        upstreams: URL of a registry endpoint -> where that upstream really is.
        users: name -> password, of users that are not administrators.
        pace: what one of Harbor's seconds lasts, in seconds: it stores 20 to 600 of them later.
    """

    def __init__(self, folder, upstreams=None, users=None, pace=1.0):
        self.admin = ("admin", "Harbor12345")
        self.users = dict(users or {})
        self.upstreams = dict(upstreams or {})
        self.robot_prefix = "robot$"
        self.quota_per_project = True
        self.registries = {}
        self.projects = {}
        self.retentions = {}
        self.quotas = {}
        self.robots = {}
        self.store = Store(folder)
        self.background = Background(pace)
        self.under_way = set()  # (repository, digest) of blobs that it fetches right now
        self.meanwhile = None  # called with (method, path) before a request is looked at
        self.requests = []  # (method, path) of all of them
        self._next = 0

    # Who asks -------------------------------------------------------------------------------

    def user(self, basic):
        """The name behind a user name and a password; empty if they do not match."""
        if basic is None:
            return ""
        name, password = basic
        if (name, password) == self.admin or self.users.get(name, "") == password != "":
            return name
        robot = next((one for one in self.robots.values() if self._full(one) == name), None)
        if robot and not robot["disable"] and robot["secret"] == password:
            return name
        return ""

    def may_pull(self, user, project):
        """Whether a user, or an anonymous client, may pull from a project."""
        if project["metadata"]["public"] == "true" or user == self.admin[0]:
            return True
        return any(
            self._full(robot) == user and project["project_id"] in self._projects_of(robot)
            for robot in self.robots.values()
        )

    def _admin_only(self, user, message=""):
        if not user:
            raise unauthorized()
        if user != self.admin[0]:
            raise forbidden(message or user)

    def _reader(self, user, name):
        """The project of this name, for a user who may read it, as pull-only robots may not."""
        project = self.project(name)
        if not self._may_read(user, project):
            raise forbidden("forbidden") if user else unauthorized()
        if project is None:
            raise not_found(f"project {name}")
        return project

    def _may_read(self, user, project):
        if user == self.admin[0] or (project and project["metadata"]["public"] == "true"):
            return True
        return project is not None and any(
            READ in robot["access"]
            for robot in self.robots.values()
            if self._full(robot) == user and project["project_id"] in self._projects_of(robot)
        )

    # One request ----------------------------------------------------------------------------

    def answer(self, method, path, query, body, user, cookie):
        """(status, headers, body) of a request below the API."""
        self.requests.append((method, path))
        if self.meanwhile:
            self.meanwhile(method, path)
        if "sid=" in cookie and method not in SAFE:
            raise forbidden("CSRF token not found in request")
        found = description.operation(method, path)
        if found is None:
            raise not_implemented(f"{method} {path}")
        operation, parameters = found
        try:
            operation.check_request(query, body)
        except description.WrongError as error:
            raise FailedError(422, "UNPROCESSABLE_ENTITY", str(error)) from error
        if operation.key not in FOR_OTHERS:
            self._admin_only(user)
        work = getattr(self, OPERATIONS[operation.key])
        done = work(user=user, body=body, query=query, **parameters)
        headers = {}
        if operation.is_list:
            done, headers = _page(done, path, query)
        status, given, location = _parts(method, done)
        if location is not None:
            headers["Location"] = f"{description.SUBSET['base']}{path}/{location}"
        operation.check_answer(status, given)
        return status, headers, given

    def get_configurations(self, **_):
        return {
            "robot_name_prefix": {"value": self.robot_prefix, "editable": True},
            "quota_per_project_enable": {"value": self.quota_per_project, "editable": True},
        }

    # Registry endpoints ---------------------------------------------------------------------

    def list_registries(self, **_):
        return [_shown_registry(one) for one in self.registries.values()]

    def create_registry(self, body, **_):
        if not body["name"] or len(body["name"]) > 64:
            raise bad("the max length of name is 64" if body["name"] else "name cannot be empty")
        made = {"credential": {}, "insecure": False, "description": "", **copy.deepcopy(body)}
        made["url"] = _normal(made["url"])
        if made["type"] not in (*PROXY_TYPES, *OTHER_TYPES):
            raise internal()
        self._healthy(made)
        self._refuse_taken(made)
        made |= {"id": self._id(), "status": "healthy", "creation_time": NOW, "update_time": NOW}
        self.registries[made["id"]] = made
        return Created(made["id"])

    def update_registry(self, body, id, **_):
        there = self._one(self.registries, id, "registry")
        new = copy.deepcopy(there)
        new |= {key: body[key] for key in ("name", "description", "url", "insecure") if key in body}
        new["url"] = _normal(new["url"])
        names = {
            "credential_type": "type",
            "access_key": "access_key",
            "access_secret": "access_secret",
        }
        new["credential"] |= {name: body[key] for key, name in names.items() if key in body}
        if new["url"] != there["url"] and "access_secret" not in body:
            new["credential"]["access_secret"] = ""
        if not new["credential"].get("access_key"):
            new["credential"] = {}
        self._healthy(new)
        self._refuse_taken(new)
        self.registries[there["id"]] = new

    def delete_registry(self, id, **_):
        there = self._one(self.registries, id, "registry")
        if any(one.get("registry_id") == there["id"] for one in self.projects.values()):
            raise precondition(
                f"the registry {there['id']} is referenced by proxy cache project, cannot delete it"
            )
        del self.registries[there["id"]]

    def upstream(self, registry):
        """Where the upstream of an endpoint really is, and the login for it; None if nowhere."""
        real = self.upstreams.get(registry["url"])
        credential = registry["credential"]
        auth = None
        if credential.get("access_key"):
            auth = (credential["access_key"], credential["access_secret"])
        return real, auth

    def _refuse_taken(self, registry):
        """The name of an endpoint that another has."""
        name, number = registry["name"], registry.get("id")
        if any(one["name"] == name and one["id"] != number for one in self.registries.values()):
            raise conflict(f"registry {name} already exists")

    def _healthy(self, registry):
        real, auth = self.upstream(registry)
        if registry["type"] == "google-gcr" and auth is None:
            raise bad("the registry is unhealthy")
        try:
            status = httpx.get(f"{real}/v2/", auth=auth, trust_env=False).status_code if real else 0
        except httpx.HTTPError:
            status = 0
        # Without credentials it is enough that the upstream requires some.
        if status != 200 and not (auth is None and status in (401, 403)):
            raise bad("the registry is unhealthy")

    # Projects -------------------------------------------------------------------------------

    def project(self, name):
        return next((one for one in self.projects.values() if one["name"] == name), None)

    def list_projects(self, user, **_):
        every = user == self.admin[0]
        return [
            self._shown_project(one)
            for one in self.projects.values()
            if every or one["metadata"]["public"] == "true"
        ]

    def create_project(self, user, body, **_):
        self._admin_only(user, "Only system admin can create proxy cache project")
        name = body["project_name"]
        if "registry_id" in body:
            registry = self.registries.get(body["registry_id"])
            if registry is None:
                raise internal()
            if registry["type"] not in PROXY_TYPES:
                raise bad(f"unsupported registry type {registry['type']}")
        if not NAME.fullmatch(name):
            raise bad("project name is not in lower case or contains illegal characters")
        if self.project(name):
            raise conflict(f"The project named {name} already exists")
        number = self._id()
        public = body.get("metadata", {}).get("public", "false")
        made = {"project_id": number, "owner_id": 1, "name": name, "metadata": {"public": public}}
        if "registry_id" in body:
            made["registry_id"] = body["registry_id"]
            made["metadata"]["retention_id"] = str(self._retention(_seven_days(number)))
        self.projects[number] = made
        if self.quota_per_project:
            hard = body.get("storage_limit") or -1
            quota = self._id()
            self.quotas[quota] = {"id": quota, "project": number, "storage": hard}
        return Created(number)

    def update_project(self, body, project, **_):
        there = self._project(project)
        if "retention_id" in body.get("metadata", {}):
            raise not_implemented("another retention_id")
        there["metadata"] |= body.get("metadata", {})

    def delete_metadata(self, project, name, **_):
        self._project(project)["metadata"].pop(name, None)

    def delete_project(self, project, **_):
        there = self._project(project)
        if self.store.listed(there["project_id"]):
            raise precondition("the project contains repositories, can not be deleted")
        del self.projects[there["project_id"]]
        self.quotas = {
            number: one
            for number, one in self.quotas.items()
            if one["project"] != there["project_id"]
        }

    def _project(self, name_or_id):
        """As Harbor has it without X-Is-Resource-Name: what looks like a number is an id."""
        if name_or_id.isdigit():
            return self._one(self.projects, name_or_id, "project")
        if (found := self.project(name_or_id)) is None:
            raise not_found(f"project {name_or_id}")
        return found

    def _shown_project(self, project):
        count = len(self.store.listed(project["project_id"]))
        return {**project, "repo_count": count, "deleted": False, "owner_name": "admin"}

    # What they hold -------------------------------------------------------------------------

    def list_repositories(self, user, project_name, **_):
        project = self._reader(user, project_name)
        return [
            {
                "id": repository.id,
                "project_id": project["project_id"],
                "name": f"{project_name}/{name}",
                "artifact_count": len(repository.artifacts()),
                "pull_count": 0,
            }
            for name, repository in self.store.listed(project["project_id"])
        ]

    def delete_repository(self, user, project_name, repository, **_):
        name, _ = self._repository(self._reader(user, project_name), repository)
        self.store.remove(self.project(project_name)["project_id"], name)

    def get_artifact(self, user, project_name, repository, reference, **_):
        project = self._reader(user, project_name)
        name, there = self._repository(project, repository)
        held = there.find(reference)
        if held is None:
            raise not_found(f"artifact {project_name}/{name}:{reference}")
        tags = [
            {"id": 1, "repository_id": there.id, "name": tag, "immutable": False}
            for tag in sorted(there.tags)
            if there.find(tag) == held
        ]
        return {
            "id": 1,
            "type": "IMAGE",
            "manifest_media_type": held.media_type,
            "project_id": project["project_id"],
            "repository_id": there.id,
            "repository_name": f"{project_name}/{name}",
            "digest": held.digest,
            "size": held.size,
            "tags": tags,
            "references": [
                {
                    "child_digest": digest,
                    # Fields that are absent or empty in an index are left out.
                    "platform": {name: text for name, text in asdict(platform).items() if text},
                }
                for digest, platform in held.references
            ]
            if held.media_type in INDEX_TYPES
            else [],
        }

    def _repository(self, project, encoded):
        """Its name, decoded the second time, and what there is of it."""
        if "/" in encoded:
            # Encoded only once, it is other segments of the path to Harbor's router.
            raise not_found(f"path {encoded}")
        name = unquote(encoded)
        listed = dict(self.store.listed(project["project_id"]))
        if name not in listed:
            raise not_found(f"repository {project['name']}/{name}")
        return name, listed[name]

    # Quotas and retention -------------------------------------------------------------------

    def list_quotas(self, query, **_):
        if query.get("reference") != "project":
            raise not_implemented("quotas of anything but projects")
        number = query.get("reference_id")
        return [
            {
                "id": one["id"],
                "ref": {"id": one["project"], "name": self.projects[one["project"]]["name"]},
                "hard": {"storage": one["storage"]},
                "used": {"storage": self.store.used(one["project"])},
            }
            for one in self.quotas.values()
            if str(one["project"]) == number
        ]

    def limit(self, project):
        """Bytes that a project may store; -1 for any number."""
        mine = (one["storage"] for one in self.quotas.values() if one["project"] == project)
        return next(mine, -1)

    def update_quota(self, body, id, **_):
        there = self._one(self.quotas, id, "quota")
        storage = body["hard"].get("storage", 0)
        if storage != -1 and storage <= 0:
            raise bad("invalid resource storage value")
        there["storage"] = storage

    def create_retention(self, body, **_):
        project = self.projects.get(body["scope"]["ref"])
        if project is None:
            raise bad(f"invalid Project id {body['scope']['ref']}")
        if number := project["metadata"].get("retention_id"):
            named = f"project {project['project_id']} already has retention policy {number}"
            raise bad(named)
        number = self._retention(body)
        project["metadata"]["retention_id"] = str(number)
        return Created(number)

    def get_retention(self, id, **_):
        return self._policy(id, internal())

    def update_retention(self, body, id, **_):
        there = self._policy(id, internal())
        self.retentions[there["id"]] = {**_numbered(body), "id": there["id"]}

    def delete_retention(self, id, **_):
        there = self._policy(id, bad(f"no such Retention policy with id {id}"))
        del self.retentions[there["id"]]
        for project in self.projects.values():
            if project["metadata"].get("retention_id") == id:
                del project["metadata"]["retention_id"]

    def _policy(self, id, error):
        """One retention policy; Harbor reports in many ways that there is none, never with 404."""
        if id.isdigit() and int(id) not in self.retentions:
            raise error
        return self._one(self.retentions, id, "retention policy")

    def _retention(self, body):
        number = self._id()
        self.retentions[number] = {**_numbered(body), "id": number}
        return number

    # Robots ---------------------------------------------------------------------------------

    def list_robots(self, **_):
        return [self._shown_robot(one) for one in self.robots.values()]

    def create_robot(self, body, **_):
        if not NAME.fullmatch(body["name"]):
            raise bad("robot name is not in lower case or contains illegal characters")
        made = {"id": self._id(), "disable": False, "description": "", **self._robot(body)}
        if any(one["name"] == made["name"] for one in self.robots.values()):
            raise conflict(f"robot account 0:{made['name']} already exists")
        made["secret"] = f"aA1{secrets.token_hex(16)}"
        self.robots[made["id"]] = made
        shown = {"id": made["id"], "name": self._full(made), "secret": made["secret"]}
        return Created(made["id"], {**shown, "creation_time": NOW, "expires_at": -1})

    def update_robot(self, body, id, **_):
        there = self._one(self.robots, id, "robot")
        if body["name"] != self._full(there) or body["level"] != there["level"]:
            raise bad("cannot update the level or name of robot")
        new = self._robot({**there, **body})
        changed = ("description", "disable", "duration", "permissions", "access")
        there |= {key: new[key] for key in changed}

    def refresh_secret(self, body, id, **_):
        there = self._one(self.robots, id, "robot")
        secret = body.get("secret", "")
        if not secret:
            raise not_implemented("a secret of Harbor's own")
        kinds = ("[a-z]", "[A-Z]", "[0-9]")
        if not 8 <= len(secret) <= 128 or not all(re.search(kind, secret) for kind in kinds):
            raise bad(
                "the secret must be 8-128, inclusively, characters long with at least 1 uppercase "
                "letter, 1 lowercase letter and 1 number"
            )
        there["secret"] = secret
        return {}

    def delete_robot(self, id, **_):
        del self.robots[self._one(self.robots, id, "robot")["id"]]

    def _robot(self, body):
        """The robot in a request, with its projects by id."""
        if body["level"] != "system":
            raise not_implemented("robots of one project")
        duration = body["duration"]
        if duration != -1 and duration <= 0:
            raise bad(f"bad request error duration input: {duration}")
        if not body["permissions"]:
            raise bad("bad request empty permission")
        allowed = []
        for one in body["permissions"]:
            if one["kind"] != "project" or one["access"] not in ([PULL], [PULL, READ]):
                raise not_implemented("permissions but to pull from projects, and read them")
            allowed.append(self._project(one["namespace"])["project_id"])
        known = ("name", "description", "level", "duration", "disable")
        fields = {key: body[key] for key in known if key in body}
        return {**fields, "permissions": allowed, "access": body["permissions"][0]["access"]}

    def _projects_of(self, robot):
        return [number for number in robot["permissions"] if number in self.projects]

    def _full(self, robot):
        return f"{self.robot_prefix}{robot['name']}"

    def _shown_robot(self, robot):
        shown = {key: robot[key] for key in robot if key not in ("secret", "access")}
        permissions = [
            {
                "kind": "project",
                "namespace": self.projects[number]["name"],
                "access": robot["access"],
            }
            for number in reversed(self._projects_of(robot))
        ]
        more = {"name": self._full(robot), "editable": True, "permissions": permissions}
        return {**shown, **more}

    # ----------------------------------------------------------------------------------------

    def _id(self):
        self._next += 1
        return self._next

    def _one(self, things, number, what):
        if not number.isdigit():
            raise FailedError(
                422, "UNPROCESSABLE_ENTITY", f"id in path must be of type int64: {number}"
            )
        if int(number) not in things:
            raise not_found(f"{what} {number}")
        return things[int(number)]


class Created:
    """The answer to a POST."""

    def __init__(self, number, body=None):
        self.number = number
        self.body = body


OPERATIONS = {
    "GET /configurations": "get_configurations",
    "GET /registries": "list_registries",
    "POST /registries": "create_registry",
    "PUT /registries/{id}": "update_registry",
    "DELETE /registries/{id}": "delete_registry",
    "GET /projects": "list_projects",
    "POST /projects": "create_project",
    "PUT /projects/{project}": "update_project",
    "DELETE /projects/{project}": "delete_project",
    "DELETE /projects/{project}/metadatas/{name}": "delete_metadata",
    "GET /projects/{project_name}/repositories": "list_repositories",
    "DELETE /projects/{project_name}/repositories/{repository}": "delete_repository",
    "GET /projects/{project_name}/repositories/{repository}/artifacts/{reference}": "get_artifact",
    "GET /quotas": "list_quotas",
    "PUT /quotas/{id}": "update_quota",
    "POST /retentions": "create_retention",
    "GET /retentions/{id}": "get_retention",
    "PUT /retentions/{id}": "update_retention",
    "DELETE /retentions/{id}": "delete_retention",
    "GET /robots": "list_robots",
    "POST /robots": "create_robot",
    "PUT /robots/{id}": "update_robot",
    "PATCH /robots/{id}": "refresh_secret",
    "DELETE /robots/{id}": "delete_robot",
}


def _parts(method, done):
    """Status, content and the id for Location."""
    if isinstance(done, Created):
        return 201, done.body, done.number
    return 200, done, None


def _page(items, path, query):
    """One page of a list, and the headers that link to the others."""
    number = int(query.get("page", 1))
    size = int(query.get("page_size", description.SUBSET["page_size_default"]))
    links = []
    others = [("prev", number - 1, number > 1), ("next", number + 1, number * size < len(items))]
    for rel, other, there in others:
        if there:
            url = f"{description.SUBSET['base']}{path}?page={other}&page_size={size}"
            links.append(f'<{url}>; rel="{rel}"')
    headers = {"X-Total-Count": str(len(items)), "Link": " , ".join(links)}
    return items[(number - 1) * size : number * size], headers


def _normal(url):
    return url.strip().rstrip("/")


def _shown_registry(registry):
    shown = copy.deepcopy(registry)
    if not shown["credential"].get("access_key"):
        del shown["credential"]
    elif shown["credential"].get("access_secret"):
        shown["credential"]["access_secret"] = SHOWN_SECRET
    return shown


def _numbered(policy):
    """A retention policy as Harbor returns it: its rules have numbers."""
    rules = [{"id": number, "priority": 0, **one} for number, one in enumerate(policy["rules"])]
    return {**copy.deepcopy(policy), "rules": rules}


def _seven_days(project):
    """The policy that Harbor gives every new proxy cache."""
    everything = {"kind": "doublestar", "pattern": "**", "extras": ""}
    return {
        "algorithm": "or",
        "rules": [
            {
                "priority": 1,
                "action": "retain",
                "template": "nDaysSinceLastPull",
                "params": {"nDaysSinceLastPull": 7},
                "tag_selectors": [{**everything, "decoration": "matches"}],
                "scope_selectors": {"repository": [{**everything, "decoration": "repoMatches"}]},
            }
        ],
        "trigger": {"kind": "Schedule", "settings": {"cron": "0 0 0 * * *"}},
        "scope": {"level": "project", "ref": project},
    }
