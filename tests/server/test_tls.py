"""TLS: a server with a certificate of its own, three clients, and what is said about files that do not work."""

from __future__ import annotations

import http.client
import os
import shutil
import socket
import ssl
import stat
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests
from tagoio_sdk import Device

from tests.server.server_process import TIMEOUT_S, Made, Server
from tsengine.errors import InputError
from tsengine.server.run import check_tls
from tsengine.server.settings import Settings

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl, which makes the certificate, is not installed")


def certificate(folder: Path, name: str) -> tuple[str, str]:
    """Make a certificate for 127.0.0.1 and return its file and its key's."""
    cert, key = folder / f"{name}.pem", folder / f"{name}.key"
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-days",
        "2",
        "-subj",
        "/CN=tsengine",
    ]
    subprocess.run([*command, "-addext", "subjectAltName=IP:127.0.0.1", "-out", cert, "-keyout", key], check=True, capture_output=True)
    return str(cert), str(key)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    return certificate(tmp_path_factory.mktemp("tls"), "own")


class TlsServer(Server):
    """A server whose clients trust its certificate and no other."""

    def connect(self) -> http.client.HTTPConnection:
        place = urlsplit(self.url)
        assert place.scheme == "https" and place.hostname is not None
        context = ssl.create_default_context(cafile=self._options["tls_cert"])
        return http.client.HTTPSConnection(place.hostname, place.port, timeout=TIMEOUT_S, context=context)


@pytest.fixture(scope="module")
def secure(files: tuple[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[TlsServer]:
    running = TlsServer(tmp_path_factory.mktemp("server") / "data", tls_cert=files[0], tls_key=files[1])
    yield running
    assert running.stop() == 0


@pytest.fixture(scope="module")
def made(secure: TlsServer) -> Made:
    return secure.make("immutable")


def test_https_works(secure: TlsServer, made: Made) -> None:
    secure.send(made, {"variable": "a", "value": 1})
    assert secure.read(made)[0]["value"] == 1
    with pytest.raises(ssl.SSLCertVerificationError):
        http.client.HTTPSConnection(urlsplit(secure.url).netloc, timeout=TIMEOUT_S).request("GET", "/health")


def test_plain_http_is_not_answered(secure: TlsServer) -> None:
    with pytest.raises((http.client.HTTPException, ConnectionError)):
        plain = http.client.HTTPConnection(urlsplit(secure.url).netloc, timeout=TIMEOUT_S)
        plain.request("GET", "/health")
        plain.getresponse()
    assert secure.call("GET", "/health").result == "ok"


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
def test_old_versions_of_tls_are_refused(secure: TlsServer, files: tuple[str, str]) -> None:
    context = ssl.create_default_context(cafile=files[0])
    context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.raises(ssl.SSLError):
        http.client.HTTPSConnection(urlsplit(secure.url).netloc, timeout=TIMEOUT_S, context=context).connect()


def test_the_official_client(secure: TlsServer, made: Made, files: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", files[0])
    device = Device({"token": made.token, "region": {"api": secure.url, "sse": secure.url + "/events"}})
    assert device.sendData({"variable": "sdk", "value": 7}) == "1 Data Added"
    assert device.getData({"variables": "sdk"})[0]["value"] == 7


def test_requests_trusts_the_certificate(secure: TlsServer, made: Made, files: tuple[str, str]) -> None:
    reply = requests.get(secure.url + "/data", headers={"token": made.token}, verify=files[0], timeout=TIMEOUT_S)
    assert reply.json()["status"] is True


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_curl_trusts_the_certificate(secure: TlsServer, made: Made, files: tuple[str, str]) -> None:
    command = ["curl", "-sS", "--cacert", files[0], "-H", f"token: {made.token}", "-H", "content-type: application/json"]
    done = subprocess.run(
        [*command, "-d", '{"variable":"curl","value":1}', secure.url + "/data"],
        check=True,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
    )
    assert done.stdout == '{"status":true,"result":"1 Data Added"}'


def settings(cert: str, key: str) -> Settings:
    return Settings(tls_cert=cert, tls_key=key)


def test_files_that_do_not_work_are_named(files: tuple[str, str], tmp_path: Path) -> None:
    cert, key = files
    other_cert, other_key = certificate(tmp_path, "other")
    missing, text = str(tmp_path / "missing.pem"), str(tmp_path / "text.pem")
    Path(text).write_text("no certificate")
    locked = str(tmp_path / "locked.key")
    subprocess.run(["openssl", "ec", "-aes128", "-passout", "pass:secret", "-in", key, "-out", locked], check=True, capture_output=True)
    check_tls(settings(cert, key))
    check_tls(settings(other_cert, other_key))
    check_tls(Settings())
    for given, problem in [
        (settings(cert, ""), "the key is not given"),
        (settings("", key), "the certificate is not given"),
        (settings(missing, key), f"cannot read the TLS certificate {missing}: No such file or directory"),
        (settings(cert, missing), f"cannot read the TLS key {missing}: No such file or directory"),
        (settings(cert, str(tmp_path)), "Is a directory"),
        (settings(cert, other_key), f"the TLS key {other_key} does not belong to the certificate {cert}"),
        (settings(text, key), "are not a PEM certificate and its key without a password"),
        (settings(cert, text), "are not a PEM certificate and its key without a password"),
        (settings(cert, locked), "are not a PEM certificate and its key without a password"),
    ]:
        with pytest.raises(InputError) as caught:
            check_tls(given)
        assert problem in str(caught.value), (given, str(caught.value))


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads every file")
def test_a_key_that_may_not_be_read_is_named(files: tuple[str, str], tmp_path: Path) -> None:
    hidden = tmp_path / "hidden.key"
    shutil.copy(files[1], hidden)
    hidden.chmod(0)
    with pytest.raises(InputError, match="Permission denied"):
        check_tls(settings(files[0], str(hidden)))


def test_the_command_line_says_what_is_wrong_before_it_opens_the_store(files: tuple[str, str], tmp_path: Path) -> None:
    data = tmp_path / "data"
    command = ["python", "-m", "tsengine", "serve", "--data", str(data), "--port", "0", "--tls-cert", files[0], "--tls-key", files[0] + "x"]
    import sys

    done = subprocess.run([sys.executable, *command[1:]], capture_output=True, text=True, timeout=TIMEOUT_S)
    assert done.returncode != 0
    assert "cannot read the TLS key" in done.stderr
    assert not data.exists()


@pytest.mark.parametrize(("host", "warns"), [("0.0.0.0", True), ("127.0.0.1", False)])
def test_an_open_address_without_tls_is_warned_about(tmp_path: Path, host: str, warns: bool) -> None:
    errors = tmp_path / "stderr"
    with errors.open("w") as stderr:
        server = Server(tmp_path / "data", host=host, stderr=stderr)
        assert server.stop() == 0
    assert ("is open to the network without TLS" in errors.read_text()) is warns


def test_what_the_server_writes_is_readable_by_its_owner_only(secure: TlsServer, made: Made) -> None:
    secure.send(made, {"variable": "a", "value": 1})
    found = [secure.folder, *secure.folder.rglob("*")]
    assert len(found) > 10
    assert any(path.name == "account-token" for path in found)
    for path in found:
        mode = stat.S_IMODE(path.lstat().st_mode)
        assert mode & 0o077 == 0, (path, oct(mode))


def test_a_handshake_that_stalls_is_cut_off(files: tuple[str, str], tmp_path: Path) -> None:
    """On both ports, after the time that a slow head has; what is half a handshake does not help."""
    running = TlsServer(tmp_path / "data", tls_cert=files[0], tls_key=files[1], header_timeout=0.5, mqtts_port=0)
    try:
        urls = [line.split()[-1] for line in running.lines if "mqtts://" in line]
        ports = [urlsplit(url).port for url in (running.url, *urls)]
        assert len(ports) == 2
        for port in ports:
            for sent in (b"", b"\x16\x03\x01\x02\x00\x01\x00"):
                began_s = time.monotonic()
                with socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT_S) as client:
                    client.sendall(sent)
                    assert client.recv(100) == b""
                assert 0.4 < time.monotonic() - began_s < TIMEOUT_S / 2
        assert running.call("GET", "/health").result == "ok"
    finally:
        assert running.stop() == 0
