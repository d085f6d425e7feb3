"""What opens the embedded server to other hosts: address, passwords only, TLS, the URL file."""

from __future__ import annotations

import ipaddress
import shutil
import socket
import subprocess
from dataclasses import dataclass
from pathlib import Path

from hpsearch.database.account import Account
from hpsearch.database.binaries import Binaries
from hpsearch.database.folder import Folder, Record
from hpsearch.exceptions import EmbeddedFailed, InvalidValue

LOCAL_HBA = """\
# Written before each start; a change here is lost.
host all all 127.0.0.1/32 scram-sha-256
"""


@dataclass(frozen=True)
class Address:
    """An address of this host, and who may come there.

    Attributes:
      text: as it was given.
      ip: the address.
      network: the clients' network, in the words of pg_hba.conf.
    """

    text: str
    ip: str
    network: str

    @classmethod
    def parse(cls, text: str) -> Address:
        """Returns the address for ADDRESS or ADDRESS/BITS.

        Raises:
          InvalidValue: it is not an address of this host.
        """
        try:
            interface = ipaddress.ip_interface(text)
        except ValueError:
            raise _invalid(text) from None
        ip = str(interface.ip)
        if not is_free(ip, 0):
            raise _invalid(text)
        return cls(text, ip, str(interface.network) if "/" in text else "samenet")

    @property
    def is_everywhere(self) -> bool:
        """Whether it stands for every address of this host."""
        return ipaddress.ip_address(self.ip).is_unspecified

    @property
    def host(self) -> str:
        """What clients connect to."""
        return socket.gethostname() if self.is_everywhere else self.ip


@dataclass(frozen=True)
class Access:
    """What the server's files say about other hosts.

    Attributes:
      hba: lines of pg_hba.conf.
      config: lines of postgresql.conf.
    """

    hba: str = ""
    config: str = ""


def open_to(
    address: Address | None, folder: Folder, account: Account, binaries: Binaries, record: Record
) -> Access:
    """Returns what the server needs to serve `address`, and writes the URL for its clients.

    With TLS where the binaries have it and `openssl` can make a certificate; else the URL says
    `sslmode=disable`, which its clients have to accept.
    """
    file = folder.access / "url"
    if address is None:
        file.unlink(missing_ok=True)
        return Access()
    if not folder.access.exists():
        folder.access.mkdir()
        folder.access.chmod(0o711)
    url = folder.url(record).set(host=address.host)
    if not _has_tls(folder, account, binaries):
        url = url.update_query_dict({"sslmode": "disable"})
        access = Access(hba=f"host all all {address.network} scram-sha-256\n")
    else:
        certificate, key = _certificate(address, folder, account)
        names = {"sslmode": "verify-full", "sslrootcert": certificate.name}
        url = url.update_query_dict(names)
        access = Access(
            hba=f"hostssl all all {address.network} scram-sha-256\n",
            config="ssl = on\n"
            f"ssl_cert_file = '{_quoted(certificate)}'\nssl_key_file = '{_quoted(key)}'\n",
        )
    plain = url.set(drivername="postgresql").render_as_string(hide_password=False)
    folder.write(file, plain + "\n", 0o600)
    return access


def url_file(folder: Folder) -> Path | None:
    """Returns the file with the URL for other hosts; None if this host only is served.

    Its `sslrootcert` lies beside it: copy both to where the clients read them.
    """
    file = folder.access / "url"
    return file if file.exists() else None


def is_free(ip: str, port: int) -> bool:
    """Returns whether a server could listen there; at port 0, whether the address is ours."""
    family = socket.AF_INET6 if ":" in ip else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            trial.bind((ip, port))
    except OSError:
        return False
    return True


def _has_tls(folder: Folder, account: Account, binaries: Binaries) -> bool:
    asked = account.run(binaries / "postgres", "-D", folder.cluster, "-C", "ssl_library")
    return asked.stdout.strip() == "OpenSSL" and shutil.which("openssl") is not None


def _certificate(address: Address, folder: Folder, account: Account) -> tuple[Path, Path]:
    """Returns a certificate for the address and its key, made once."""
    name = address.host.replace(":", "-")
    certificate, key = folder.access / f"{name}.crt", folder.access / f"{name}.key"
    if certificate.exists():
        return certificate, key
    kind = "DNS" if address.is_everywhere else "IP"
    half = folder.access / f"{name}.half"
    subject = ("-subj", "/CN=hpsearch", "-addext", f"subjectAltName={kind}:{address.host}")
    command = ("openssl", "req", "-x509", "-newkey", "rsa:3072", "-nodes", "-days", "3650")
    made = subprocess.run(
        (*command, *subject, "-keyout", key, "-out", half),
        capture_output=True,
        text=True,
        check=False,
    )
    if made.returncode:
        cause = (made.stderr.strip().splitlines() or ["openssl failed"])[-1]
        raise EmbeddedFailed(step="get a certificate", cause=cause, logs=folder.logs)
    key.chmod(0o600)
    account.own(key)
    half.chmod(0o644)
    half.rename(certificate)
    return certificate, key


def _quoted(path: Path) -> str:
    return str(path).replace("'", "''")


def _invalid(text: str) -> InvalidValue:
    allowed = "an IP address of this host, or ADDRESS/BITS to let in that network"
    return InvalidValue(name="--listen", value=text, allowed=allowed)
