import json
import os
import signal
import stat
import subprocess
import sys
import textwrap
import threading
import time
from datetime import timedelta

import pytest

from wabajobs.errors import InvalidRequest, NotReady
from wabajobs.machine import Happened, RedisServer, Service, Supervisor, find_server
from wabajobs.machine.processes import Running, birth_of

from .conftest import SLEEPER, STUBBORN, await_that, lives


def test_services_start_in_order_each_after_the_one_before_is_ready(desk):
    desk.supervisor(desk.service("redis"), desk.service("worker"), desk.service("flower")).start()

    assert [(each.happened, each.service) for each in desk.told] == [
        (happened, name)
        for name in ("redis", "worker", "flower")
        for happened in (Happened.STARTED, Happened.READY)
    ]


def test_services_stop_in_their_stop_order(desk):
    supervisor = desk.supervisor(
        desk.service("redis", stop_order=9),
        desk.service("worker", stop_order=1),
        desk.service("other", stop_order=1),
        desk.service("flower", stop_order=0),
    )
    supervisor.start()
    pids = [each.pid for each in desk.told.of(Happened.STARTED)]

    supervisor.stop()

    names = desk.told.names(Happened.STOPPED)
    assert (names[0], sorted(names[1:3]), names[3]) == ("flower", ["other", "worker"], "redis")
    ends = {
        (each.happened, each.service): position
        for position, each in enumerate(desk.told)
        if each.happened in (Happened.STOPPING, Happened.STOPPED)
    }
    assert ends[Happened.STOPPED, "flower"] < ends[Happened.STOPPING, "worker"]
    assert ends[Happened.STOPPED, "worker"] < ends[Happened.STOPPING, "redis"]
    assert not any(lives(pid) for pid in pids)
    assert not (desk.folder / "pids.json").exists()


def test_stopping_twice_or_before_the_start_does_nothing(desk):
    supervisor = desk.supervisor(desk.service("worker"))
    other = Supervisor(desk.folder, [])
    other.stop()
    supervisor.start()

    supervisor.stop()
    supervisor.stop()

    assert desk.told.names(Happened.STOPPED) == ["worker"]


def test_what_ignores_sigterm_is_killed_after_the_grace_with_all_it_started(desk):
    script = f"import subprocess, sys; print(subprocess.Popen(['sleep', '600']).pid, flush=True); {STUBBORN}"
    supervisor = desk.supervisor(desk.service("worker", script), grace=timedelta(seconds=0.3))
    supervisor.start()
    (started,) = desk.told.of(Happened.STARTED)
    grandchild = int((desk.folder / "logs" / "worker.log").read_text().split()[0])
    assert lives(grandchild)

    supervisor.stop()

    (stopped,) = desk.told.of(Happened.STOPPED)
    assert stopped.exit_code == -signal.SIGKILL
    assert not lives(started.pid)
    await_that(lambda: not lives(grandchild))


def test_a_service_that_was_killed_is_started_again_and_tells_what_it_said_last(desk):
    desk.supervisor(
        desk.service("worker", "import time; print('up\\nbusy with 7', flush=True); time.sleep(600)")
    ).start()
    (first,) = desk.told.of(Happened.READY)

    os.kill(first.pid, signal.SIGKILL)

    await_that(lambda: len(desk.told.of(Happened.READY)) == 2)
    (died,) = desk.told.of(Happened.DIED)
    assert str(died) == "worker has died (by SIGKILL): busy with 7"
    assert desk.told.of(Happened.READY)[1].pid != first.pid
    assert [each.happened for each in desk.told[2:]] == [
        Happened.DIED,
        Happened.RESTARTING,
        Happened.STARTED,
        Happened.READY,
    ]


def test_what_a_dead_service_left_behind_dies_with_it(desk):
    script = (
        "import subprocess, time; child = subprocess.Popen(['sleep', '600']);"
        "print(child.pid, 'up', flush=True); time.sleep(600)"
    )
    desk.supervisor(desk.service("worker", script, restart=False)).start()
    grandchild = int((desk.folder / "logs" / "worker.log").read_text().split()[0])

    os.kill(desk.told[0].pid, signal.SIGKILL)

    await_that(lambda: not lives(grandchild))


def test_the_backoff_doubles_to_its_bound_and_begins_anew_after_a_sound_life(desk):
    script = "import os, time; print('up', flush=True); time.sleep(0.1); os._exit(3)"
    supervisor = desk.supervisor(desk.service("worker", script), sound_after=timedelta(seconds=60))
    supervisor.start()
    await_that(lambda: len(desk.told.of(Happened.RESTARTING)) >= 5)
    supervisor.stop()

    delays = [each.delay.total_seconds() for each in desk.told.of(Happened.RESTARTING)]
    assert delays[:5] == [0.05, 0.1, 0.2, 0.2, 0.2]
    assert {each.exit_code for each in desk.told.of(Happened.DIED)} == {3}

    sound = desk.supervisor(desk.service("worker", script), sound_after=timedelta(seconds=0.01))
    desk.told.clear()
    sound.start()
    await_that(lambda: len(desk.told.of(Happened.RESTARTING)) >= 3)
    assert {each.delay.total_seconds() for each in desk.told.of(Happened.RESTARTING)} == {0.05}


def test_a_service_that_is_not_to_be_restarted_stays_dead(desk):
    supervisor = desk.supervisor(
        desk.service("once", "print('done')", ready=None, restart=False),
        desk.service("other"),
    )
    supervisor.start()

    await_that(lambda: desk.told.of(Happened.DIED))
    supervisor.stop()

    assert desk.told.of(Happened.DIED)[0].exit_code == 0
    assert desk.told.names(Happened.STARTED) == ["once", "other"]


@pytest.mark.parametrize(
    ("argv", "told"),
    [
        (
            [sys.executable, "-c", "import sys; sys.exit('no such table: operations')"],
            "no such table: operations",
        ),
        (["/no/such/program"], "/no/such/program: No such file or directory"),
    ],
)
def test_a_service_that_does_not_start_is_told_and_leaves_nothing_running(desk, argv, told):
    supervisor = desk.supervisor(desk.service("redis"), Service(name="worker", argv=argv, ready=lambda: False))

    with pytest.raises(NotReady, match="worker did not start") as caught:
        supervisor.start()

    assert told in str(caught.value)
    assert str(desk.folder / "logs" / "worker.log") in str(caught.value)
    assert not any(lives(each.pid) for each in desk.told.of(Happened.STARTED))
    desk.supervisor(desk.service("redis")).start()  # and the folder is free again


def test_a_service_that_never_gets_ready_is_told(desk):
    def ready():
        raise ConnectionRefusedError

    supervisor = desk.supervisor(desk.service("worker", ready=ready), ready_within=timedelta(seconds=0.2))

    with pytest.raises(NotReady, match=r"worker was not ready after 0.2 s"):
        supervisor.start()

    assert not lives(desk.told.of(Happened.STARTED)[0].pid)


def test_a_second_supervisor_of_the_folder_is_refused_and_told_by_whom(desk):
    desk.supervisor(desk.service("worker")).start()

    with pytest.raises(NotReady, match=rf"already runs in .*: process {os.getpid()}"):
        desk.supervisor(desk.service("worker")).start()

    assert desk.told.names(Happened.STARTED) == ["worker"]


def test_logs_are_ours_alone_and_are_kept_from_run_to_run(desk):
    log = desk.folder / "logs" / "worker.log"
    for words in ("up\n", "up\nup\n"):
        desk.supervisor(desk.service("worker", ready=lambda words=words: log.read_text() == words)).start()
        desk.made[-1].stop()

    assert stat.S_IMODE(log.stat().st_mode) == 0o600
    assert stat.S_IMODE(desk.folder.stat().st_mode) == 0o700


def test_a_service_gets_our_environment_and_its_own_on_top(desk, monkeypatch):
    monkeypatch.setenv("OURS", "1")
    script = "import os, time; print('up', os.environ['OURS'], os.environ['ITS'], flush=True); time.sleep(600)"
    service = desk.service("worker", script, env={"ITS": "2"})

    desk.supervisor(service).start()

    assert (desk.folder / "logs" / "worker.log").read_text() == "up 1 2\n"
    assert "{'ITS'" not in repr(service)


def test_a_listener_that_fails_does_not_end_the_services(desk):
    def listener(event):
        desk.told.append(event)
        raise ValueError("the listener's own fault")

    desk.supervisor(desk.service("worker"), on_event=listener).start()
    os.kill(desk.told[0].pid, signal.SIGKILL)

    await_that(lambda: len(desk.told.of(Happened.READY)) == 2)


@pytest.mark.parametrize("names", [["a/b"], [""], ["../x"], ["two", "two"]])
def test_names_that_cannot_be_are_refused(desk, names):
    with pytest.raises(InvalidRequest):
        desk.supervisor(*(Service(name=name, argv=["true"]) for name in names))


UP = """
    import sys
    from datetime import timedelta
    from pathlib import Path
    from wabajobs.machine import Service, Supervisor

    folder = Path(sys.argv[1])
    def service(name, script, order):
        log = folder / "logs" / f"{name}.log"
        ready = lambda: "up" in log.read_text()
        return Service(name=name, argv=[sys.executable, "-c", script], stop_order=order, ready=ready)

    services = [service(f"s{number}", script, -number) for number, script in enumerate(sys.argv[2:])]
    Supervisor(folder, services, on_event=lambda event: print(event, flush=True)).run_until_stopped()
    print("over", flush=True)
"""


@pytest.fixture
def up(desk):
    """Runs a supervisor in a process of its own; returns it and its children's pids."""
    processes, pids = [], []

    def start(*scripts):
        argv = [sys.executable, "-c", textwrap.dedent(UP), str(desk.folder), *scripts]
        process = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
        processes.append(process)
        for _ in scripts:
            pids.append(int(process.stdout.readline().partition("(process ")[2].rstrip(")\n")))
            assert "is ready" in process.stdout.readline()
        return process, list(pids)

    yield start
    for process in processes:
        process.kill()
        process.wait()
        process.stdout.close()
    for pid in pids:
        if lives(pid):
            os.kill(pid, signal.SIGKILL)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child that its parent has died")
def test_nothing_outlives_a_supervisor_that_was_killed(up):
    process, pids = up(SLEEPER, SLEEPER)

    process.kill()
    process.wait()

    await_that(lambda: not any(lives(pid) for pid in pids))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_stops_everything_in_order(up, number):
    process, pids = up(SLEEPER, SLEEPER)

    process.send_signal(number)

    said, _ = process.communicate(timeout=20)
    assert [line.split()[0] for line in said.splitlines() if "has stopped" in line] == ["s1", "s0"]
    assert said.endswith("over\n")
    assert process.returncode == 0
    assert not any(lives(pid) for pid in pids)


def test_a_signal_that_is_ignored_stays_ignored(desk):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        supervisor = desk.supervisor(desk.service("worker"))
        supervisor.start()
        threading.Timer(0.3, supervisor.ask_to_stop).start()
        os.kill(os.getpid(), signal.SIGHUP)

        supervisor.run_until_stopped()
    finally:
        signal.signal(signal.SIGHUP, before)

    assert desk.told.names(Happened.STOPPED) == ["worker"]


def test_a_second_signal_kills(up):
    process, (pid,) = up(STUBBORN)
    begun = time.monotonic()

    process.send_signal(signal.SIGINT)
    assert "is stopping" in process.stdout.readline()
    assert lives(pid)
    process.send_signal(signal.SIGINT)

    process.wait(timeout=10)
    assert time.monotonic() - begun < 10  # the grace is 20 s
    assert not lives(pid)


def test_what_an_earlier_run_left_behind_is_stopped_first(desk, up):
    process, (pid,) = up(STUBBORN)
    process.kill()
    process.wait()
    assert lives(pid)

    desk.supervisor(desk.service("s0"), grace=timedelta(seconds=0.2)).start()

    assert not lives(pid)
    assert str(desk.told[0]) == f"s0 of an earlier run (process {pid}) has been stopped"
    assert desk.told[1].happened is Happened.STARTED


def test_a_process_that_got_the_number_of_an_old_one_is_left_alone(desk):
    with subprocess.Popen(["sleep", "600"]) as bystander:
        try:
            desk.folder.mkdir()
            recycled = {"name": "s0", "pid": bystander.pid, "birth": "another boot:1", "stop_order": 0}
            (desk.folder / "pids.json").write_text(json.dumps([recycled]))

            desk.supervisor(desk.service("s0")).start()

            assert lives(bystander.pid)
            assert desk.told.of(Happened.LEFTOVER) == []
        finally:
            bystander.kill()


@pytest.mark.parametrize("text", ["", "{", "null", "[5]", '[{"pid": 1}]'])
def test_a_pid_file_that_cannot_be_read_stops_nobody(desk, text):
    desk.folder.mkdir()
    (desk.folder / "pids.json").write_text(text)

    desk.supervisor(desk.service("s0")).start()

    assert desk.told.of(Happened.LEFTOVER) == []


def test_the_pid_file_says_what_runs(desk):
    desk.supervisor(desk.service("s0", stop_order=3)).start()

    (entry,) = json.loads((desk.folder / "pids.json").read_text())
    pid = desk.told[0].pid
    assert entry == {"name": "s0", "pid": pid, "birth": birth_of(pid), "stop_order": 3}
    assert Running(**entry).lives


def test_a_real_redis_is_kept_running_with_its_data(desk):
    redis = pytest.importorskip("redis")
    try:
        server = RedisServer(find_server(), folder=desk.folder / "redis")
    except NotReady as nothing:
        pytest.skip(str(nothing))
    with server:
        desk.supervisor(Service(name="redis", argv=server.command(), ready=server.is_ready)).start()
        redis.Redis.from_url(server.redis_url).set("key", "value")

        os.kill(desk.told[0].pid, signal.SIGKILL)
        await_that(lambda: len(desk.told.of(Happened.READY)) == 2)

        assert redis.Redis.from_url(server.redis_url).get("key") == b"value"
        desk.made[-1].stop()
        assert desk.told.of(Happened.STOPPED)[0].exit_code == 0
