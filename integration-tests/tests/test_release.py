"""What surrounds the packages: their metadata, the workflows, the scripts of a release."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path
from shutil import copytree, ignore_patterns

import pytest
import yaml

ROOT = Path(__file__).parents[2]
PACKAGES = sorted(ROOT.glob("packages/*/pyproject.toml"))
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
PYTHON = "Programming Language :: Python :: 3."


def project(file: Path) -> dict:
    return tomllib.loads(file.read_text())["project"]


def pythons(file: Path) -> list[str]:
    return [
        f"3.{each.removeprefix(PYTHON)}" for each in project(file)["classifiers"] if PYTHON in each
    ]


@pytest.mark.parametrize("file", PACKAGES, ids=lambda file: file.parent.name)
def test_a_package_says_who_where_and_for_which_python(file):
    metadata = project(file)
    assert metadata["authors"] == [{"name": "The Flash authors"}]
    assert metadata["keywords"] == sorted(metadata["keywords"])
    assert metadata["classifiers"] == sorted(metadata["classifiers"])
    assert set(metadata["urls"]) == {
        "Changelog",
        "Documentation",
        "Homepage",
        "Issues",
        "Repository",
    }
    address = metadata["urls"]["Repository"]
    assert all(url.startswith(address) for url in metadata["urls"].values())
    lowest = metadata["requires-python"].removeprefix(">=")
    assert pythons(file)[0] == lowest


def repository(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, ROOT / "scripts" / "repository.py", *arguments]
    return subprocess.run(command, cwd=root, capture_output=True, text=True)


def test_the_address_of_the_repository_is_one_and_is_changed_by_one_command(tmp_path):
    old = repository(ROOT).stdout.strip()
    assert old == project(PACKAGES[0])["urls"]["Repository"]
    copy = tmp_path / "copy"
    for part in ("packages", ".github"):
        copytree(ROOT / part, copy / part, ignore=ignore_patterns("src", "tests"))
    assert repository(copy, "https://code.example/ada/flash").returncode == 0
    assert repository(copy).stdout == "https://code.example/ada/flash\n"
    assert not [
        file
        for file in copy.rglob("*")
        if file.is_file() and old in file.read_text(encoding="utf-8")
    ]
    assert repository(copy, "nowhere").returncode == 2
    (copy / "packages" / "flash-ws" / "pyproject.toml").write_text(
        'Repository = "https://elsewhere.example/flash"\n'
    )
    assert repository(copy).returncode == 1


# -- workflows


def steps(workflow: Path) -> list[dict]:
    jobs = yaml.safe_load(workflow.read_text())["jobs"].values()
    return [step for job in jobs for step in job["steps"]]


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda file: file.stem)
def test_a_workflow_pins_what_it_uses_and_asks_for_little(workflow):
    text = workflow.read_text()
    used = re.findall(r"uses: (.*)", text)
    assert used
    for each in used:
        assert re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", each), each
    parsed = yaml.safe_load(text)
    assert parsed["permissions"] == {"contents": "read"}
    assert all("timeout-minutes" in job for job in parsed["jobs"].values())


def test_workflows_run_what_the_makefile_has():
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    run = {
        step["run"].split()[1]
        for workflow in WORKFLOWS
        for step in steps(workflow)
        if step.get("run", "").startswith("make ")
    }
    assert {"check", "test", "docs", "release-check", "test-matrix"} <= run <= targets


def test_every_python_of_the_metadata_is_tested():
    jobs = yaml.safe_load((ROOT / ".github" / "workflows" / "checks.yml").read_text())["jobs"]
    for file in PACKAGES:
        assert pythons(file) == jobs["test"]["strategy"]["matrix"]["python"]


def test_only_files_with_an_attestation_are_published():
    jobs = yaml.safe_load((ROOT / ".github" / "workflows" / "release.yml").read_text())["jobs"]
    assert set(jobs["publish"]["needs"]) == {"build", "test"}
    attested = [step for step in jobs["build"]["steps"] if "attest" in step.get("uses", "")]
    assert attested
    assert jobs["build"]["permissions"]["attestations"] == "write"
    assert "${{ secrets" not in (ROOT / ".github" / "workflows" / "release.yml").read_text()


@pytest.mark.parametrize("form", ["fault.yml", "wish.yml"])
def test_a_form_for_issues_has_labels_and_ids(form):
    parsed = yaml.safe_load((ROOT / ".github" / "ISSUE_TEMPLATE" / form).read_text())
    assert parsed["name"]
    ids = [part.get("id") for part in parsed["body"] if part["type"] != "markdown"]
    assert all(ids)
    assert len(ids) == len(set(ids))


def test_the_hooks_before_a_commit_are_programs_of_the_environment():
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"][0]["hooks"]
    for hook in hooks:
        program = hook["entry"].split()[0]
        assert (ROOT / program).exists(), program
