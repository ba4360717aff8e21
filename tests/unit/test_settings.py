"""Settings: a file, the environment above it, and a sentence for what is wrong."""

from pathlib import Path

import pytest

from wabajobs.errors import ConfigurationError
from wabajobs.secret import Secret
from wabajobs.settings import META, RUNNING_FILE, VAULT_KEYS, Settings

PASSWORD = "s3cret-pass"


@pytest.fixture(autouse=True)
def an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def written(text: str, name: str = "wabajobs.toml") -> dict[str, str]:
    Path(name).write_text(text)
    return {"WABAJOBS_CONFIG": name}


def test_without_anything_there_are_defaults() -> None:
    settings = Settings.load({})

    assert settings.database == "sqlite:///wabajobs.sqlite3"
    assert settings.redis == settings.broker == "redis://127.0.0.1:6379/0"
    assert settings.graph_url == META
    assert settings.apps == {}


def test_a_file_is_read() -> None:
    environ = written(
        """
        database_url = "postgresql://db/ledger"
        [apps.10001]
        token = { env = "TOKEN" }
        calls_per_window = 500
        [dispatch]
        retry_seconds = 0.5
        """
    )

    settings = Settings.load(environ)

    assert settings.database == "postgresql://db/ledger"
    assert settings.apps["10001"].calls_per_window == 500
    assert settings.dispatch.retry_seconds == 0.5
    assert settings.dispatch.max_attempts == 6, "what is not said keeps its default"


def test_the_environment_is_above_the_file() -> None:
    environ = written('redis_url = "redis://file"\ndatabase_url = "sqlite:///file"\ngraph_version = "v23.0"')

    settings = Settings.load(environ | {"WABAJOBS_REDIS_URL": "redis://env", "WABAJOBS_DATABASE_URL": ""})

    assert settings.redis == "redis://env"
    assert settings.database == "sqlite:///file", "an empty variable says nothing"
    assert settings.graph_version == "v23.0"


def test_the_broker_is_the_redis_unless_it_is_said() -> None:
    assert Settings.load({"WABAJOBS_REDIS_URL": "redis://a"}).broker == "redis://a"
    assert (
        Settings.load({"WABAJOBS_REDIS_URL": "redis://a", "WABAJOBS_BROKER_URL": "redis://b"}).broker
        == "redis://b"
    )


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("databse_url = 'x'", "configuration: databse_url: Extra inputs are not permitted"),
        (
            "[dispatch]\nretry = 1\npoll = 2",
            "configuration: dispatch.retry: Extra inputs are not permitted (and 1 more)",
        ),
        (
            "[dispatch]\nretry_seconds = 0",
            "configuration: dispatch.retry_seconds: Input should be greater than 0",
        ),
        ("graph_version = '24'", "configuration: graph_version: String should match pattern"),
        ("[apps.mine]\ntoken = {env='T'}", "configuration: apps.mine.[key]: String should match pattern"),
        ("[apps.10001]\ncalls_per_window = 7", "configuration: apps.10001.token: Field required"),
        (f"[apps.10001]\ntoken = '{PASSWORD}'", "configuration: apps.10001.token: Input should be a valid dict"),
        (
            f"[apps.10001]\ntoken = {{value = '{PASSWORD}'}}",
            "configuration: apps.10001.token.value: Extra inputs are not permitted",
        ),
    ],
)
def test_what_is_wrong_in_the_file_is_said_with_its_field(text: str, sentence: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        Settings.load(written(text))

    assert str(refused.value).startswith(sentence)
    assert PASSWORD not in str(refused.value)


def test_a_file_that_is_not_there_is_named() -> None:
    with pytest.raises(ConfigurationError, match=r"^no\.toml cannot be read \(No such file.*WABAJOBS_CONFIG"):
        Settings.load({"WABAJOBS_CONFIG": "no.toml"})


def test_a_file_that_is_no_toml_is_named() -> None:
    with pytest.raises(ConfigurationError, match=r"^wabajobs\.toml is not TOML: "):
        Settings.load(written("this is = = not"))


class TestTheFileOfARunningDemo:
    """What `wabajobs up` leaves in its folder is found by a second terminal, unless something else is said."""

    @pytest.fixture(autouse=True)
    def running(self) -> None:
        RUNNING_FILE.parent.mkdir()
        RUNNING_FILE.write_text('redis_url = "redis://running"')

    def test_it_is_read_when_no_variable_says_otherwise(self) -> None:
        assert Settings.load({"HOME": "/root", "WABAJOBS_REDIS_URL": ""}).redis == "redis://running"
        assert Settings.load({VAULT_KEYS: "a-key"}).redis == "redis://running", "it names no site"

    @pytest.mark.parametrize("variable", ["WABAJOBS_DATABASE_URL", "WABAJOBS_GRAPH_URL"])
    def test_it_is_left_alone_when_a_variable_does(self, variable: str) -> None:
        assert Settings.load({variable: "x://y"}).redis == "redis://127.0.0.1:6379/0"

    def test_it_is_left_alone_when_another_file_is_named(self) -> None:
        assert Settings.load(written('redis_url = "redis://file"')).redis == "redis://file"


def an_app(source: str) -> Settings:
    return Settings.load(written(f"[apps.10001]\ntoken = {source}\nsecret = {source}"))


def the_token(settings: Settings, environ: dict[str, str]) -> Secret:
    return settings.app("10001").token.read(environ, what="token of app 10001")


def test_a_secret_is_read_from_the_environment() -> None:
    settings = an_app('{ env = "TOKEN" }')

    assert the_token(settings, {"TOKEN": "abc"}) == Secret("abc")


def test_a_secret_is_read_from_a_file() -> None:
    Path("token").write_text("abc\n")

    assert the_token(an_app('{ file = "token" }'), {}) == Secret("abc")


def test_an_app_may_have_no_secret() -> None:
    settings = Settings.load(written('[apps.10001]\ntoken = { env = "T" }'))

    assert settings.app("10001").secret is None


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        ('{ env = "TOKEN" }', "token of app 10001: the environment variable TOKEN is not set"),
        ('{ file = "no" }', "token of app 10001: no cannot be read (No such file or directory)"),
        ('{ file = "binary" }', "token of app 10001: binary cannot be read (it is not UTF-8 text)"),
        ('{ vault = "app" }', "token of app 10001: it cannot lie in the vault"),
        ("{}", 'token of app 10001: say where it is, { env = "NAME" } or { file = "PATH" }'),
    ],
)
def test_a_secret_that_is_missing_is_named(source: str, sentence: str) -> None:
    Path("binary").write_bytes(b"\xff\xfe" + PASSWORD.encode())

    with pytest.raises(ConfigurationError) as refused:
        the_token(an_app(source), {"TOKEN": ""})

    assert str(refused.value) == sentence


def test_an_app_that_is_not_there_names_those_that_are() -> None:
    with pytest.raises(ConfigurationError, match=r"app '7' is not configured \(configured: 10001\)"):
        an_app('{ env = "TOKEN" }').app("7")


def test_settings_do_not_print_passwords() -> None:
    url = f"x://user:{PASSWORD}@host"
    names = ("WABAJOBS_DATABASE_URL", "WABAJOBS_REDIS_URL", "WABAJOBS_BROKER_URL")

    settings = Settings.load(dict.fromkeys(names, url))

    assert settings.broker == url
    assert PASSWORD not in repr(settings)
    assert PASSWORD not in str(settings)
