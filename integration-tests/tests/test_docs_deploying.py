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
from documents import DOCS

import flash.cli
from flash.serving.drain import CANCEL_DELAY, SHUTDOWN_TIMEOUT
from flash.serving.options import ServeOptions

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
