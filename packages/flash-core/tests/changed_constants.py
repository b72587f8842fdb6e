"""Constants of Flash with other values in the processes that a test starts."""

import os


def environment_with(directory, **constants):
    """Return the environment for processes in which constants have other values.

    Each is named by its module and its own name, the dots of the module doubled underscores:
    ``flash__serving__watch__MAX_SILENCE=5.0``. Python itself imports what is written to
    ``directory`` at the start of each process, before the modules that use the constant.
    """
    lines = []
    for name, value in constants.items():
        module, _, constant = name.rpartition("__")
        module = module.replace("__", ".")
        lines += [f"import {module}", f"assert hasattr({module}, {constant!r})"]
        lines += [f"{module}.{constant} = {value!r}"]
    (directory / "sitecustomize.py").write_text("\n".join(lines))
    path = [str(directory), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {"PYTHONPATH": os.pathsep.join(path)}
