"""A live node's machine config for the tests, and what Talos makes of patches of registries."""

import base64
import copy

import yaml

from plan.settings.credentials import Credentials
from plan.talos.mirror_updates import patches

HOST = "docker.io"
# Two endpoints of the stack, and one of others.
HERE, THERE, FOREIGN = "172.17.0.1:5000", "172.17.0.1:6000", "10.0.0.9:5000"
LOGIN = Credentials(username="nodes", password="hunter2")
MIRROR, TLS, AUTH = "RegistryMirrorConfig", "RegistryTLSConfig", "RegistryAuthConfig"
# The rest of a node's config, which no patch touches.
MACHINE = {"version": "v1alpha1", "machine": {"type": "worker", "registries": {"config": {"a": 1}}}}
AUTH_OF_OTHERS = {"apiVersion": "v1alpha1", "kind": AUTH, "name": HOST, "username": "u"}


def entry(urls, **flags):
    """An entry as both formats can say it: its endpoints, and flags of the whole."""
    return {"urls": list(urls), **flags}


def legacy_form(known):
    """What a `machine.registries.config` entry holds for a CA and a login, as a mirror has them."""
    form = {}
    if "ca" in known:
        form["tls"] = {"ca": base64.b64encode(known["ca"].encode()).decode()}
    if "login" in known:
        form["auth"] = {"username": known["login"].username, "password": known["login"].password}
    return form


def urls_of(held):
    return [end["url"] if isinstance(end, dict) else end for end in held["endpoints"]]


class Node:
    """A node that reads documents, or `machine.registries`."""

    def __init__(self, entries, configs=None, *, documents):
        """Its mirrors: host -> entry; what it knows of endpoints: name -> ca and login."""
        self.documents = documents
        self.config = copy.deepcopy([MACHINE, AUTH_OF_OTHERS] if documents else [MACHINE])
        for host, held in entries.items():
            flags = {key: value for key, value in held.items() if key != "urls"}
            self.add_mirror(host, held["urls"], **flags)
        for name, known in (configs or {}).items():
            form = legacy_form(known)
            if not documents:
                self.registries["config"][name] = form
            if documents and "ca" in known:
                self.add_document(TLS, name, ca=known["ca"])
            if documents and "login" in known:
                self.add_document(AUTH, name, **form["auth"])

    @property
    def registries(self):
        return self.config[0]["machine"]["registries"]

    def add_document(self, kind, name, **values):
        self.config.append({"apiVersion": "v1alpha1", "kind": kind, "name": name, **values})

    def add_mirror(self, host, urls, **flags):
        """With None for URLs, an entry whose endpoints are null."""
        if self.documents:
            endpoints = None if urls is None else [{"url": url} for url in urls]
            self.add_document(MIRROR, host, endpoints=endpoints, **flags)
        else:
            self.registries.setdefault("mirrors", {})[host] = {"endpoints": urls, **flags}

    def named(self, kind):
        """Name -> a document of this kind, without what only says which one it is."""
        head = ("apiVersion", "kind", "name")
        return {
            doc["name"]: {key: value for key, value in doc.items() if key not in head}
            for doc in self.config
            if doc.get("kind") == kind and doc != AUTH_OF_OTHERS
        }

    @property
    def mirrors(self):
        """Host -> its entry."""
        if self.documents:
            return self.named(MIRROR)
        return copy.deepcopy(self.registries.get("mirrors", {}))

    @property
    def urls(self):
        """Host -> its endpoints' URLs."""
        return {host: urls_of(held) for host, held in self.mirrors.items()}

    @property
    def configs(self):
        """Endpoint -> what the config knows of it, in one form for both formats."""
        if not self.documents:
            held = copy.deepcopy(self.registries["config"])
            return {name: known for name, known in held.items() if name != "a"}
        found = {name: legacy_form(tls) for name, tls in self.named(TLS).items()}
        for name, auth in self.named(AUTH).items():
            found.setdefault(name, {})["auth"] = auth
        return found

    @property
    def rest(self):
        """All of the config but mirrors, and TLS and logins of endpoints."""
        kinds = (MIRROR, TLS, AUTH)
        others = [doc for doc in self.config[1:] if doc.get("kind") not in kinds]
        others += [doc for doc in self.config if doc == AUTH_OF_OTHERS]
        main = copy.deepcopy(self.config[0])
        main["machine"]["registries"] = {"a": self.registries["config"].get("a")}
        return [main, *others]

    def update(self, wanted, applied):
        """Apply the patches for these mirrors, and return them.

        Args:
            applied: host -> URLs, as for `patches`.
        """
        before = self.rest
        made = patches(self.config, wanted, applied, documents=self.documents)
        for patch in made:
            self.apply(patch)
        assert self.rest == before
        again = patches(self.config, wanted, applied, documents=self.documents)
        assert again == (), "it can be run again"
        return made

    def apply(self, patch):
        """Talos's strategic merge, as far as registries go (machinery/config/configpatcher).

        An entry of the same name is merged: its endpoints are appended, the rest is set. A deletion
        of what is not there is no patch that any release takes without harm.
        """
        for change in yaml.safe_load_all(patch):
            if self.documents:
                self.merge_document(change)
                continue
            assert list(change) == ["machine"]
            for part, entries in change["machine"]["registries"].items():
                held = self.registries.setdefault(part, {})
                for name, new in entries.items():
                    if new.get("$patch") == "delete":
                        assert name in held, "an absent entry is deleted"
                        del held[name]
                    elif name in held:
                        merge_into(held[name], new)
                    else:
                        held[name] = new

    def merge_document(self, change):
        key = (change["kind"], change["name"])
        same = [doc for doc in self.config if (doc.get("kind"), doc.get("name")) == key]
        if change.get("$patch") == "delete":
            assert same, "an absent document is deleted"
            self.config.remove(same[0])
        elif same:
            merge_into(same[0], change)
        else:
            self.config.append(change)


def merge_into(held, new):
    """Lists are appended, mappings merged, the rest is set."""
    for key, value in new.items():
        if isinstance(value, list):
            held[key] = [*held.get(key, []), *value]
        elif isinstance(value, dict):
            merge_into(held.setdefault(key, {}), value)
        else:
            held[key] = value
