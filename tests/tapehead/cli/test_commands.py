"""The commands as a person runs them, against a scripted server."""

from __future__ import annotations

import json
from pathlib import Path

import grpc
import numpy as np
import pytest
from typer.testing import CliRunner, Result

import tapehead
from tapehead.cli.app import app
from tests.tapehead.fake_script import Script, Status
from tests.tapehead.fake_server import FakeServer

STORY = "Mary went to the kitchen\n\nJohn went home\n"


class Shell:
    def __init__(self, server: FakeServer) -> None:
        self.server = server

    def __call__(self, *arguments: str, stdin: str = "") -> Result:
        return CliRunner().invoke(app, list(arguments), input=stdin, env={"TAPEHEAD_SERVER": self.server.address})

    def json(self, *arguments: str, stdin: str = "") -> list[dict[str, object]]:
        """The values that a command printed, one or several."""
        result = self(*arguments, "--json", stdin=stdin)
        assert result.exit_code == 0, result.output
        decoder, text, values = json.JSONDecoder(), result.stdout.strip(), []
        while text:
            value, end = decoder.raw_decode(text)
            values.append(value)
            text = text[end:].strip()
        return values


@pytest.fixture
def shell(threaded_server: FakeServer) -> Shell:
    return Shell(threaded_server)


class TestQuestions:
    def test_ask_about_a_story_shows_answers_and_where_the_model_looked(self, shell: Shell):
        result = shell("ask", "--story", "-", "Where is xJohn?", stdin=STORY)

        assert result.exit_code == 0
        assert " 75.0%  ███████▌    home" in result.stdout
        assert "Unknown to the model: xJohn?." in result.stdout
        assert "Mary went to the kitchen              ██████████" in result.stdout
        assert "John went home            ██████████" in result.stdout

    def test_ask_about_a_story_in_a_file(self, shell: Shell, tmp_path: Path):
        story = tmp_path / "story.txt"
        story.write_text(STORY)

        [answer] = shell.json("ask", "--story", str(story), "Where is John?")

        assert answer["ranked"][0] == {"text": "home", "probability": 0.75}
        assert answer["hops"] == [[0.0, 1.0], [1.0, 0.0]]

    def test_slots_of_a_memory_are_not_passed_off_as_sentences(self, shell: Shell):
        question = ("ask", "--story", "-", "--model", "slot-qa", "Where is John?")
        shown = shell(*question, stdin=STORY).stdout

        assert "slot 1" in shown
        assert "slot 2" in shown
        assert "Mary went" not in shown
        assert shell.json(*question, stdin=STORY)[0]["has_slots"] is True

    def test_tell_and_ask_a_session(self, shell: Shell):
        told = shell("tell", "--session", "tale", "--model", "echo-qa", "Mary went home", "John went xyzzy")
        assert "'tale' was told 2 and has 2 sentences." in told.stdout
        assert "Unknown to the model: xyzzy." in told.stdout
        [again] = shell.json("tell", "--session", "tale", "-", stdin="Mary went out\n")
        assert (again["told"], again["sentences"]) == (1, 3)

        result = shell("ask", "--session", "tale", "Where is Mary?")

        assert "out" in result.stdout
        assert "sentence 3" in result.stdout

    def test_asking_creates_no_session(self, shell: Shell, threaded_server: FakeServer):
        with pytest.raises(tapehead.errors.SessionNotFound):
            raise shell("ask", "--session", "nowhere", "Where?").exception
        assert threaded_server.sessions == {}

    def test_a_story_that_is_no_text_is_named(self, shell: Shell, tmp_path: Path):
        story = tmp_path / "story.txt"
        story.write_bytes(b"Mary went home\nJohn went \xe9\n")

        said = str(shell("ask", "--story", str(story), "Where is John?").exception)

        assert said == f"{story}, line 2: expected text in UTF-8, got the byte 0xe9"

    def test_a_refused_first_sentence_leaves_no_session_behind(self, shell: Shell, threaded_server: FakeServer):
        threaded_server.refuse_tell = Status(grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD")

        assert isinstance(shell("tell", "", "--session", "tale").exception, tapehead.errors.InvalidField)
        assert threaded_server.sessions == {}

    def test_a_refused_sentence_leaves_a_session_of_before(self, shell: Shell, threaded_server: FakeServer):
        shell("tell", "Mary went home", "--session", "tale")
        threaded_server.make("empty", "babi-qa", 64)
        threaded_server.refuse_tell = Status(grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD")

        for session in ("tale", "empty"):
            assert isinstance(shell("tell", "", "--session", session).exception, tapehead.errors.InvalidField)
        assert set(threaded_server.sessions) == {"tale", "empty"}

    def test_a_sentence_whose_fate_is_unknown_leaves_its_session(self, shell: Shell, threaded_server: FakeServer):
        threaded_server.refuse_tell = Status(grpc.StatusCode.CANCELLED, "OUTCOME_UNKNOWN")

        assert isinstance(shell("tell", "a", "--session", "tale").exception, tapehead.errors.OutcomeUnknown)
        assert set(threaded_server.sessions) == {"tale"}

    def test_nothing_to_tell_is_refused(self, shell: Shell, threaded_server: FakeServer):
        said = str(shell("tell", "-", "--session", "tale", stdin="\n").exception)

        assert said == "standard input: expected at least one sentence, got none"
        assert threaded_server.sessions == {}

    @pytest.mark.parametrize("command", ["tell", "ask"])
    def test_a_session_of_another_model_is_not_taken_for_it(self, shell: Shell, command: str):
        shell("tell", "Mary went home", "--session", "tale", "--model", "echo-qa")

        said = str(shell(command, "Where is Mary?", "--session", "tale", "--model", "adder").exception)

        assert said == "--model: expected 'echo-qa', the model of the session 'tale', got 'adder'"
        assert shell(command, "Where is Mary?", "--session", "tale", "--model", "echo-qa").exit_code == 0
        assert shell(command, "Where is Mary?", "--session", "tale").exit_code == 0

    @pytest.mark.parametrize("command", [("ask", "Where?"), ("tell", "a"), ("stream", "adder", "-")])
    def test_an_empty_session_id_is_named(self, shell: Shell, threaded_server: FakeServer, command: tuple[str, ...]):
        result = shell(*command, "--session", "", stdin="1,2\n")

        assert result.exit_code == 2
        assert "'--session': expected the id of a session, got an empty one" in result.stderr
        assert threaded_server.sessions == {}

    @pytest.mark.parametrize("arguments", [[], ["--story", "-", "--session", "tale"]])
    def test_ask_wants_either_a_story_or_a_session(self, shell: Shell, arguments: list[str]):
        result = shell("ask", "Where?", *arguments)

        assert result.exit_code == 2
        assert "expected either --story or --session" in result.stderr


class TestStream:
    def test_lines_of_the_standard_input(self, shell: Shell):
        result = shell("stream", "adder", "-", "--session", "s", stdin="# x, y\n1,2\n3, 4\n\n")

        assert result.exit_code == 0
        assert result.stdout.splitlines() == ["Session 's' at step 0, durability disk.", "1 1 2", "2 4 6"]

    def test_a_later_stream_goes_on_where_the_first_ended(self, shell: Shell):
        shell("stream", "adder", "-", "--session", "s", stdin="1,2\n")

        [answer] = shell.json("stream", "adder", "-", "--session", "s", stdin="1,1\n")

        assert (answer["step"], answer["outputs"]) == (2, {"y": [2.0, 3.0]})

    @pytest.mark.parametrize("chunk", ["1", "3", "1000"])
    def test_an_array_in_and_out(self, shell: Shell, tmp_path: Path, chunk: str):
        rows = np.random.default_rng(1).normal(size=(100, 2)).astype(np.float32)
        np.save(tmp_path / "rows.npy", rows)

        result = shell(
            "stream", "adder", str(tmp_path / "rows.npy"), "--chunk", chunk, "--save", str(tmp_path / "out.npy")
        )

        assert result.exit_code == 0, result.output
        assert len(result.stdout.splitlines()) == 101
        np.testing.assert_array_equal(np.load(tmp_path / "out.npy"), np.cumsum(rows, axis=0))

    def test_several_outputs_are_named(self, shell: Shell):
        result = shell("stream", "adder", "-", "--output", "y", "--output", "tape", stdin="1,2\n")

        assert result.stdout.splitlines()[1:] == ["1 y 1 2", "1 tape 0 0 1 2 2 4"]

    def test_a_broken_stream_prints_every_output_once(self, shell: Shell, threaded_server: FakeServer):
        threaded_server.scripts += [Script(cut_after_commit_of=3), Script(cut_before_commit_of=5)]

        result = shell("stream", "adder", "-", stdin="1,1\n" * 8)

        assert [line.split()[0] for line in result.stdout.splitlines()[1:]] == list("12345678")

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("1,2\n3,four\n", "standard input, line 2, column 2: expected a number, got 'four'"),
            ("1,2\n3\n", "standard input, line 2: expected 2 numbers, as above, got 1"),
        ],
    )
    def test_a_malformed_row_is_named(self, shell: Shell, text: str, message: str):
        assert str(shell("stream", "adder", "-", stdin=text).exception) == message

    @pytest.mark.parametrize("text", ["1,two\n", "1,2,3\n"])
    @pytest.mark.parametrize("source", ["-", "rows.csv"])
    def test_a_malformed_first_row_creates_no_session(
        self, shell: Shell, threaded_server: FakeServer, tmp_path: Path, text: str, source: str
    ):
        (tmp_path / "rows.csv").write_text(text)
        source = source if source == "-" else str(tmp_path / source)

        result = shell("stream", "adder", source, "--session", "s", stdin=text)

        assert isinstance(result.exception, ValueError)
        assert str(result.exception).startswith("standard input" if source == "-" else source)
        assert threaded_server.sessions == {}

    def test_a_model_without_steps_gets_no_session(self, shell: Shell, threaded_server: FakeServer):
        result = shell("stream", "echo-qa", "-", "--session", "s", stdin="1,2\n")

        assert isinstance(result.exception, tapehead.errors.NotSupported)
        assert threaded_server.sessions == {}

    @pytest.mark.parametrize("target", [".", "nowhere/out.npy"])
    def test_where_outputs_cannot_be_saved_nothing_is_streamed(
        self, shell: Shell, threaded_server: FakeServer, tmp_path: Path, target: str
    ):
        result = shell("stream", "adder", "-", "--save", str(tmp_path / target), stdin="1,2\n")

        assert str(result.exception).startswith("--save: expected a file that can be written, got ")
        assert str(tmp_path / target) in str(result.exception)
        assert threaded_server.sessions == {}
        assert list(tmp_path.iterdir()) == []

    def test_outputs_are_saved_under_the_name_given(self, shell: Shell, tmp_path: Path):
        shell("stream", "adder", "-", "--save", str(tmp_path / "out"), stdin="1,2\n")

        np.testing.assert_array_equal(np.load(tmp_path / "out"), [[1, 2]])

    @pytest.mark.parametrize("arguments", [[], ["rows.npy", "--copy", "3"]])
    def test_wants_either_a_file_or_a_generated_sequence(self, shell: Shell, arguments: list[str]):
        result = shell("stream", "adder", *arguments)

        assert result.exit_code == 2
        assert "expected either a FILE or --copy LENGTH" in result.stderr

    def test_states_are_kept_where_the_session_is_created(self, shell: Shell, threaded_server: FakeServer):
        result = shell("stream", "adder", "-", "--keep-every", "4", "--keep-most", "2", stdin="1,2\n")

        assert result.exit_code == 0
        creation = threaded_server.opens[0].create
        assert (creation.keep_every, creation.keep_most) == (4, 2)
        assert shell("stream", "adder", "-", "--keep-most", "2", stdin="1,2\n").exit_code == 2


class TestStates:
    @pytest.fixture(autouse=True)
    def session(self, shell: Shell):
        shell("stream", "adder", "-", "--session", "s", stdin="1,2\n3,4\n5,6\n")

    def test_a_state_is_a_table(self, shell: Shell):
        lines = shell("sessions", "state", "s").stdout.splitlines()

        assert lines[0] == "State of 's' after step 3:"
        assert [line.split() for line in lines[1:]] == [
            ["tensor", "dtype", "shape", "min", "max"],
            ["total", "float32", "[2]", "9", "12"],
        ]

    def test_a_state_of_an_earlier_step_as_json(self, shell: Shell):
        [read] = shell.json("sessions", "state", "s", "--step", "2", "--tensor", "total")

        facts = {"name": "total", "dtype": "float32", "shape": [2], "min": 4.0, "max": 6.0}
        assert read == {"session_id": "s", "step": 2, "tensors": [{**facts, "values": [4.0, 6.0]}]}

    def test_matrices_are_drawn_where_that_is_asked_for(self, shell: Shell, threaded_server: FakeServer):
        threaded_server.state["tape"] = np.array([[0, 1], [1, 0]], np.float32)

        drawn = shell("sessions", "state", "s", "--draw").stdout
        plain = shell("sessions", "state", "s").stdout

        assert drawn == plain + "\ntape\n █\n█ \n"

    def test_a_state_is_saved_whatever_its_tensors_are_called(
        self, shell: Shell, threaded_server: FakeServer, tmp_path: Path
    ):
        threaded_server.state["file"] = np.arange(6, dtype=np.int64).reshape(2, 3)
        threaded_server.state["empty"] = np.zeros((0, 3), np.float32)

        result = shell("sessions", "state", "s", "--save", str(tmp_path / "state.npz"))

        assert result.exit_code == 0, result.output
        assert "got the folder" in str(shell("sessions", "state", "s", "--save", str(tmp_path)).exception)
        with np.load(tmp_path / "state.npz") as saved:
            assert {name: saved[name].tolist() for name in saved} == {
                "total": [9, 12],
                "file": [[0, 1, 2], [3, 4, 5]],
                "empty": [],
            }

    def test_a_fork_goes_on_from_a_step(self, shell: Shell):
        forked = shell("sessions", "fork", "s", "--step", "1", "--as", "f", "--label", "try=2")

        assert forked.stdout == "Forked 's' at step 1 into 'f'.\n"
        [info] = shell.json("sessions", "show", "f")
        assert (info["committed_step"], info["labels"]) == (1, {"try": "2"})
        [answer] = shell.json("stream", "adder", "-", "--session", "f", stdin="1,1\n")
        assert (answer["step"], answer["outputs"]) == (2, {"y": [2.0, 3.0]})

    def test_a_fork_without_a_name_gets_one(self, shell: Shell):
        [info] = shell.json("sessions", "fork", "s")

        assert info["session_id"].startswith("drawn-")

    def test_going_back_is_the_next_step(self, shell: Shell):
        assert shell("sessions", "rewind", "s", "--to", "1").stdout == "'s' went back to step 1; that was step 4.\n"
        assert shell.json("sessions", "rewind", "s", "--to", "0") == [
            {"session_id": "s", "to_step": 0, "committed_step": 5}
        ]
        [answer] = shell.json("stream", "adder", "-", "--session", "s", stdin="1,1\n")
        assert (answer["step"], answer["outputs"]) == (6, {"y": [1.0, 1.0]})

    def test_kept_steps_are_shown(self, shell: Shell, threaded_server: FakeServer):
        threaded_server.sessions["s"].kept_steps = [0, 2, 3]

        assert "kept steps          0, 2, 3" in shell("sessions", "show", "s").stdout


class TestCatalogs:
    def test_sessions(self, shell: Shell):
        for name in ("a", "b", "c"):
            shell("stream", "adder", "-", "--session", name, stdin="1,2\n")

        listed = shell("sessions", "ls")
        assert [line.split()[:3] for line in listed.stdout.splitlines()[1:]] == [[n, "adder/1", "1"] for n in "abc"]
        assert [info["session_id"] for info in shell.json("sessions", "ls")[0]] == ["a", "b", "c"]
        assert "committed step      1" in shell("sessions", "show", "a").stdout
        assert shell.json("sessions", "show", "a")[0]["model_id"] == "adder"
        assert shell("sessions", "rm", "a", "b").stdout == "Removed 'a' at step 1.\nRemoved 'b' at step 1.\n"
        assert shell.json("sessions", "rm", "c") == [{"session_id": "c", "committed_step": 1}]
        assert shell("sessions", "ls").stdout == "There are no sessions.\n"

    def test_a_label_is_a_pair(self, shell: Shell):
        assert shell("sessions", "ls", "--label", "colour").exit_code == 2

    def test_models(self, shell: Shell):
        assert "question answering" in shell("models", "ls").stdout
        assert [info["model_id"] for info in shell.json("models", "ls")[0]] == ["adder", "echo-qa"]
        shown = shell("models", "show", "adder").stdout
        assert "inspection" in shown
        assert "float32" in shown
        assert shell.json("models", "show", "adder")[0]["manifest"]["entries"][0]["name"] == "step"

    def test_server(self, shell: Shell):
        assert "memory:" in shell("server").stdout
        assert shell.json("server")[0]["version"] == "0.0.0"

    def test_statistics_of_the_server(self, shell: Shell):
        shell("stream", "adder", "-", stdin="1,2\n" * 3)

        shown = dict(line.rsplit(maxsplit=1) for line in shell("server", "--statistics").stdout.splitlines())

        assert (shown["committed step count"], shown["batch count"]) == ("3", "0")
        assert shell.json("server", "--statistics")[0]["committed_step_count"] == 3


def test_every_command_explains_itself(shell: Shell):
    sessions = ("sessions ls", "sessions show", "sessions rm", "sessions state", "sessions fork", "sessions rewind")
    for command in ("ask", "tell", "stream", "server", *sessions, "models ls"):
        result = shell(*command.split(), "--help")
        assert result.exit_code == 0
        assert "--server" in result.stdout
        assert "--json" in result.stdout
    assert shell("--version").stdout.startswith("tapehead ")


@pytest.mark.parametrize("before", [True, False])
def test_the_server_may_be_named_before_the_command_or_behind_it(threaded_server: FakeServer, before: bool):
    named, command = ["--server", threaded_server.address], ["sessions", "ls"]
    arguments = [*named, *command] if before else [*command, *named]

    result = CliRunner().invoke(app, arguments, env={"TAPEHEAD_SERVER": "127.0.0.1:1"})

    assert result.exit_code == 0, result.output
