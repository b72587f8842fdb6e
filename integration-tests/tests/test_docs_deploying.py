"""`docs/deploying.md`: its files are what they are said to be."""

import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from documents import DOCS, PATIENCE, connected
from nginx_servers import NginxServer, nginx

import flash.cli
from flash.serving.drain import CANCEL_DELAY, SHUTDOWN_TIMEOUT
from flash.serving.options import ServeOptions

__all__ = ["nginx"]

pytest_plugins = ["flash.testing.plugin"]

TEXT = (DOCS / "deploying.md").read_text(encoding="utf-8")
# Seconds after the signal by which the supervisor has ended its workers.
LONGEST_END = ServeOptions().grace_period + CANCEL_DELAY + 2 * SHUTDOWN_TIMEOUT


def block(name: str) -> str:
    """The file whose first line is a comment with its name."""
    (found,) = re.findall(
        rf"^```\w+\n(# [^\n]*{re.escape(name)}\n.*?)^```$", TEXT, re.DOTALL | re.MULTILINE
    )
    return found


def parse(words: list[str]) -> dict[str, object]:
    """The options of a `flash run` command, which must be taken."""
    assert Path(words[0]).name == "flash"
    return vars(flash.cli._parser().parse_args(words[1:]))


def unit() -> dict[str, str]:
    return dict(line.split("=", 1) for line in block("lamps.service").splitlines() if "=" in line)


def test_the_unit_starts_the_app_and_gives_it_time_to_end():
    options = parse(shlex.split(unit()["ExecStart"]))
    assert options["target"] == "app:app"
    assert int(unit()["TimeoutStopSec"]) > LONGEST_END


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd here")
def test_systemd_takes_the_unit(tmp_path):
    text = block("lamps.service")
    program = Path(sys.executable).with_name("flash")
    text = re.sub(r"ExecStart=\S+", f"ExecStart={program}", text)
    # Who the service runs as, and what it starts after, is not on this machine.
    text = re.sub(r"^User=.*\n", "", text, flags=re.MULTILINE).replace(" redis-server.service", "")
    file = tmp_path / "lamps.service"
    file.write_text(text)
    verified = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", file], capture_output=True, text=True
    )
    said = [line for line in verified.stderr.splitlines() if "lamps" in line]
    assert not said
    file.write_text(text.replace("KillMode=mixed", "KillMode=mixt"))
    wrong = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", file], capture_output=True, text=True
    )
    assert "kill mode" in wrong.stderr


def dockerfile() -> list[tuple[str, str]]:
    lines = block("Dockerfile").replace("\\\n", " ").splitlines()
    return [
        (words[0], words[1]) for line in lines if line and (words := line.split(None, 1))[0] != "#"
    ]


def test_the_image_runs_as_nobody_special_and_is_asked_for_its_health():
    instructions = dockerfile()
    names = [name for name, _ in instructions]
    assert names[0] == "FROM"
    assert names.index("USER") < names.index("CMD")
    assert ("USER", "app") in instructions
    options = parse(json.loads(dict(instructions)["CMD"]))
    assert options["bind"] == f"0.0.0.0:{dict(instructions)['EXPOSE']}"
    health = dict(instructions)["HEALTHCHECK"]
    words = json.loads(health[health.index("[") :])
    assert words[0] == "python"
    compile(words[2], "HEALTHCHECK", "exec")
    assert f":{dict(instructions)['EXPOSE']}/_flash/health" in words[2]


def test_compose_brings_a_redis_that_keeps_what_it_has():
    services = yaml.safe_load(block("compose.yaml"))["services"]
    app, redis = services["app"], services["redis"]
    assert app["environment"]["FLASH_REDIS_URL"].startswith("redis://redis:")
    assert app["read_only"] is True
    assert app["depends_on"]["redis"]["condition"] == "service_healthy"
    assert redis["healthcheck"]
    assert "--maxmemory-policy noeviction" in redis["command"]
    assert int(app["stop_grace_period"].removesuffix("s")) > LONGEST_END


def test_kubernetes_drains_a_pod_before_it_kills_it():
    deployment, service, budget = yaml.safe_load_all(block("app.yaml"))
    kinds = [each["kind"] for each in (deployment, service, budget)]
    assert kinds == ["Deployment", "Service", "PodDisruptionBudget"]
    template = deployment["spec"]["template"]
    labels = template["metadata"]["labels"]
    assert deployment["spec"]["selector"]["matchLabels"] == labels
    assert service["spec"]["selector"] == budget["spec"]["selector"]["matchLabels"] == labels
    assert deployment["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
    (container,) = template["spec"]["containers"]
    parse(container["command"])
    port = container["ports"][0]["containerPort"]
    assert service["spec"]["ports"][0]["targetPort"] == port
    for probe, path in {
        "startupProbe": "/_flash/health",
        "livenessProbe": "/_flash/health",
        "readinessProbe": "/_flash/ready",
    }.items():
        assert container[probe]["httpGet"] == {"path": path, "port": port}
    pause = int(container["lifecycle"]["preStop"]["exec"]["command"][1])
    assert template["spec"]["terminationGracePeriodSeconds"] > pause + LONGEST_END
    assert container["securityContext"]["readOnlyRootFilesystem"] is True


@pytest.fixture
def lamps(tmp_path):
    """The app of the page."""
    (app,) = re.findall(r"^```python\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE)
    file = tmp_path / "app.py"
    file.write_text(app, encoding="utf-8")
    return file


@pytest.fixture
def certificate(tmp_path):
    """A certificate of its own, and its key."""
    pem, key = tmp_path / "lamps.pem", tmp_path / "lamps.key"
    subject = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"),
            *(*subject, "-keyout", key, "-out", pem),
        ],
        check=True,
        capture_output=True,
    )
    return pem, key


@pytest.mark.parametrize("path", ["", "stripped", "kept"])
def test_nginx_serves_the_app_as_the_page_says(flash_browser, lamps, certificate, tmp_path, path):
    flash_browser.timeout = PATIENCE
    # The proxy ends before the page does.
    flash_browser.expect_lost_connections()
    arguments = ["--trusted-proxies", "127.0.0.1", *(["--root-path", "/lamps"] if path else [])]
    served = flash_browser.serve(
        lamps, path=None, arguments=arguments, env={"SECRET_KEY": "one of sufficient length"}
    )
    pem, key = certificate
    written = block("lamps.conf")
    for stated, here in {
        "127.0.0.1:8000": served.url.removeprefix("http://"),
        "listen 443 ssl": "listen 127.0.0.1:PORT ssl",
        "lamps.example.org": "127.0.0.1",
        "/etc/ssl/lamps.pem": str(pem),
        "/etc/ssl/lamps.key": str(key),
        **({"location / {": "location /lamps/ {"} if path else {}),
        **({"proxy_pass http://lamps;": "proxy_pass http://lamps/;"} if path == "stripped" else {}),
    }.items():
        assert stated in written, stated
        written = written.replace(stated, here)
    directory = tmp_path / "nginx"
    directory.mkdir()
    # The directive is newer than the nginx of some distributions, for which it stands in `listen`.
    written = written.replace("    http2 on;\n", "")
    with NginxServer(directory, http=written) as proxy:
        flash_browser.driver.execute_cdp_cmd(
            "Security.setIgnoreCertificateErrors", {"ignore": True}
        )
        flash_browser.address = proxy.url.replace("http://", "https://")
        flash_browser.open("/lamps/" if path else "/")
        connected(flash_browser)
        assert flash_browser.run_js("return flash.statistics().transport") == "websocket"
        flash_browser.run_js("dash_clientside.set_props('brightness', {value: 70})")
        flash_browser.wait_for(
            lambda: flash_browser.find("#lamp").get_attribute("style") == "opacity: 0.7;"
        )
        assert " 404 " not in proxy.accesses
