import socket

import pytest

from wabajobs.errors import InvalidRequest, PortTaken
from wabajobs.machine import free_port, require_free


def test_a_free_port_can_be_listened_on():
    port = free_port()

    require_free(port, "Flower")
    socket.create_server(("127.0.0.1", port)).close()


@pytest.mark.parametrize("address", ["127.0.0.1", ""])
def test_a_taken_port_is_told_with_the_option_that_helps(address):
    with socket.create_server((address, 0)) as other:
        port = other.getsockname()[1]

        with pytest.raises(PortTaken) as caught:
            require_free(port, "Flower")

    assert str(caught.value) == (
        f"port {port} is taken by another program; give Flower another one: --flower-port N"
    )


@pytest.mark.parametrize("port", [0, -1, 65536])
def test_what_is_no_port_is_refused(port):
    with pytest.raises(InvalidRequest, match="from 1 to 65535"):
        require_free(port, "Flower", option="--port")
