import gc
import subprocess
import sys

from flash.collector import paused_collector


def run(code: str) -> None:
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


IMPORT = """
import gc
begun = []

def note(phase, info):
    begun.append(info["generation"])

usual = gc.get_threshold()
gc.callbacks.append(note)
import flash
# Those of what is imported for the pause itself; without it there are over a hundred.
assert len(begun) < 20 and 2 not in begun, begun
assert gc.isenabled()
assert gc.get_threshold() == usual
assert gc.get_freeze_count() == 0
# What the import has made is old: the next collection of young objects does not visit it.
assert len(gc.get_objects(0)) + len(gc.get_objects(1)) < 1_000
assert len(gc.get_objects(2)) > 30_000
"""


def test_nothing_is_collected_while_flash_is_imported():
    run(IMPORT)


def test_a_collector_that_the_app_has_turned_off_stays_off():
    run("import gc; gc.disable(); import flash; assert not gc.isenabled()")


def test_objects_that_the_app_has_frozen_stay_frozen():
    run(
        "import gc; gc.freeze(); frozen = gc.get_freeze_count(); import flash\n"
        # Less by what has been freed since.
        "assert 0 < gc.get_freeze_count() <= frozen; assert gc.isenabled()"
    )


def test_an_import_that_fails_turns_the_collector_on_again():
    run(
        "import gc, sys; sys.modules['quart'] = None\n"
        "try: import flash\n"
        "except ImportError: pass\n"
        "else: raise AssertionError\n"
        "assert gc.isenabled()"
    )


def test_only_the_end_of_the_outermost_pause_turns_the_collector_on():
    with paused_collector():
        with paused_collector():
            assert not gc.isenabled()
        assert not gc.isenabled()
    assert gc.isenabled()


def test_garbage_of_a_pause_is_freed_by_a_full_collection():
    run(
        """
import gc, weakref
from flash.collector import paused_collector

class Part: pass

with paused_collector():
    part = Part()
    part.itself = part
    known = weakref.ref(part)
    del part
gc.collect(1)
assert known() is not None
gc.collect()
assert known() is None
"""
    )
