"""A private CA and a certificate for 127.0.0.1, created with openssl."""

import subprocess

# A CA as in Harbor's own documentation: without a key usage.
CA = """\
[req]
distinguished_name=dn
x509_extensions=v3
[dn]
[v3]
basicConstraints=critical,CA:TRUE
"""
NAMES = "subjectAltName=IP:127.0.0.1\n"


def certificates(folder):
    """Paths of (CA, certificate, key) in a folder of their own."""
    folder.mkdir()
    (folder / "ca.cnf").write_text(CA)
    (folder / "names").write_text(NAMES)
    ca, key, request = folder / "ca.pem", folder / "key.pem", folder / "request.pem"
    ca_key, certificate = folder / "ca-key.pem", folder / "certificate.pem"
    new_key = ["-newkey", "rsa:2048", "-nodes"]
    named = ["-subj", "/CN=a private CA", "-config", str(folder / "ca.cnf")]
    _openssl("req", "-x509", *new_key, *named, "-keyout", str(ca_key), "-out", str(ca))
    named = ["-subj", "/CN=harbor.test"]
    _openssl("req", "-new", *new_key, *named, "-keyout", str(key), "-out", str(request))
    signing = ["-CA", str(ca), "-CAkey", str(ca_key), "-CAcreateserial"]
    signing += ["-extfile", str(folder / "names")]
    _openssl("x509", "-req", "-in", str(request), *signing, "-out", str(certificate))
    return ca, certificate, key


def _openssl(*arguments):
    done = subprocess.run(["openssl", *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
