"""The environment of Python programs: forks, spawned processes, threads, servers, the end of the interpreter."""

import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
import urllib.request
from pathlib import Path

import pytest

import libkms


def run(program: str, *arguments, check: bool = True) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", textwrap.dedent(program), *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        check=check,
    )


def use(kms, key_id, blob, queue):
    try:
        queue.put((kms.decrypt(blob), kms.encrypt(key_id, b"child"), kms.rotate(key_id)))
        kms.close()
    except BaseException as error:
        queue.put(error)


def test_forked_children_go_on_with_the_handle(stored):
    key = stored.create_key()
    blob = stored.encrypt(key.id, b"parent")
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    children = [context.Process(target=use, args=(stored, key.id, blob, queue)) for _ in range(4)]
    for child in children:
        child.start()
    results = [queue.get(timeout=60) for _ in children]
    for child in children:
        child.join(60)
        assert child.exitcode == 0
    assert [text for text, _, _ in results] == [b"parent"] * 4
    assert len({sealed[40:64] for _, sealed, _ in results}) == 4, "two children made the same nonce"
    assert {stored.decrypt(sealed) for _, sealed, _ in results} == {b"child"}
    assert stored.describe_key(key.id).version_count == 5, "a child's rotation is not seen on the next call"


def test_children_forked_while_threads_work_never_hang(stored):
    key = stored.create_key()
    ended = threading.Event()

    def work():
        while not ended.is_set():
            stored.decrypt(stored.encrypt(key.id, bytes(2_000_000)))
            stored.rotate(key.id)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(20):
            pid = os.fork()
            if pid == 0:
                status = 1
                try:
                    status = 0 if stored.decrypt(stored.encrypt(key.id, b"child")) == b"child" else 2
                    stored.close()
                finally:
                    os._exit(status)
            deadline = time.monotonic() + 60
            done = 0
            while not done:
                done, status = os.waitpid(pid, os.WNOHANG)
                if time.monotonic() > deadline:
                    os.kill(pid, signal.SIGKILL)
                    os.waitpid(pid, 0)
                    pytest.fail("a forked child hangs")
                time.sleep(0.002)
            assert status == 0
    finally:
        ended.set()
        for thread in threads:
            thread.join()


def test_a_keystore_in_memory_says_that_it_was_forked():
    with libkms.open("memory:", root_key=bytes(range(32))) as kms:
        key = kms.create_key()
        pid = os.fork()
        if pid == 0:
            try:
                kms.encrypt(key.id, b"text")
            except libkms.Forked:
                os._exit(7)
            finally:
                os._exit(1)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7


def open_and_use(place, key_id, blob):
    with libkms.open(**place) as kms:
        return kms.decrypt(blob), kms.encrypt(key_id, b"child")


def test_spawned_processes_open_the_keystore_again(place, stored):
    key = stored.create_key()
    blob = stored.encrypt(key.id, b"parent")
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        results = [pool.apply_async(open_and_use, (place, key.id, blob)) for _ in range(2)]
        for result in results:
            text, sealed = result.get(60)
            assert text == b"parent" and stored.decrypt(sealed) == b"child"


def test_threads_share_a_handle(stored):
    keys = [stored.create_key().id for _ in range(4)]
    failures = []

    def work(number):
        try:
            for count in range(300):
                text = b"%d %d" % (number, count)
                blob = stored.encrypt(keys[count % 4], text, {"n": str(number)})
                assert stored.decrypt(blob, {"n": str(number)}) == text
                if count % 100 == 0:
                    stored.rotate(keys[number % 4])
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert not failures


def test_closing_lets_running_calls_end(stored):
    key = stored.create_key()
    started, results = threading.Barrier(5), []

    def work():
        started.wait()
        try:
            while True:
                results.append(len(stored.encrypt(key.id, bytes(3_000_000))))
        except libkms.InvalidArgument as error:
            results.append(str(error))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    started.wait()
    time.sleep(0.05)
    stored.close()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    assert all("closed" in result for result in results if isinstance(result, str))
    assert sum(isinstance(result, str) for result in results) == 4


EXIT = """
    import sys, threading, libkms
    kms = libkms.open(sys.argv[1], root_key_file=sys.argv[2], create=True, on_event=lambda event: None)
    key = kms.create_key(rotate_every=__import__("datetime").timedelta(seconds=1))
    def work():
        while True:
            kms.decrypt(kms.encrypt(key.id, bytes(int(sys.argv[3]))))
    for _ in range(int(sys.argv[4])):
        threading.Thread(target=work, daemon=True).start()
    __import__("time").sleep(0.2)
    print("end")
"""


@pytest.mark.parametrize("size, threads", [(0, 0), (64, 2), (2_000_000, 3)])
def test_the_interpreter_ends_with_an_open_handle(tmp_path, size, threads):
    for count in range(5):
        done = run(EXIT, tmp_path / f"{count}.db", tmp_path / f"{count}.key", size, threads)
        assert done.stdout == "end\n"
        assert "Fatal" not in done.stderr and "panicked" not in done.stderr, done.stderr


def test_a_handle_kept_in_a_module_or_a_cycle_ends_with_the_interpreter(tmp_path):
    done = run(
        """
        import sys, libkms
        kms = libkms.open(sys.argv[1], root_key_file=sys.argv[2], create=True, on_event=lambda event: kms.health())
        sys.kms = kms
        class Late:
            def __del__(self):
                try:
                    kms.encrypt("alias/none", b"")
                except libkms.InvalidArgument as error:
                    print("closed" in str(error))
        late = Late()
        late.itself = late
        """,
        tmp_path / "keys.db",
        tmp_path / "root.key",
    )
    assert done.stderr == "", done.stderr


def test_a_subinterpreter_is_refused_with_a_clear_error():
    done = run(
        """
        try:
            import _xxsubinterpreters as interpreters
        except ImportError:
            import _interpreters as interpreters
        import libkms
        try:
            name = interpreters.create("legacy")
        except (TypeError, ValueError):
            name = interpreters.create(isolated=False)
        program = '''
        try:
            import libkms
        except ImportError as error:
            print(error)
        else:
            print("imported")
        '''
        import textwrap
        failed = interpreters.run_string(name, textwrap.dedent(program))
        print(failed or "", end="")
        """
    )
    assert "libkms works in the main interpreter only" in done.stdout, done.stdout


APPLICATION = """
import os, libkms
kms = libkms.open(os.environ["KEYS"], root_key_file=os.environ["ROOT"], create=True)
key = kms.create_key().id
blob = kms.encrypt(key, b"made before the fork")

def application(environ, start_response):
    version = kms.rotate(key) if environ["PATH_INFO"] == "/rotate" else ""
    text = kms.decrypt(blob)
    sealed = kms.encrypt(key, text)
    body = f"{os.getpid()} {sealed[40:64].hex()} {kms.inspect(sealed).version_id} {version} {text.decode()}".encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
"""


def test_a_preforking_server_uses_the_handle_of_its_master(tmp_path: Path):
    (tmp_path / "application.py").write_text(APPLICATION)
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        port = held.getsockname()[1]
    environment = os.environ | {"KEYS": str(tmp_path / "keys.db"), "ROOT": str(tmp_path / "root.key")}
    server = subprocess.Popen(
        [sys.executable, "-m", "gunicorn", "--preload", "--workers=3", f"--bind=127.0.0.1:{port}", "application"],
        cwd=tmp_path,
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
    )

    def get(path: str) -> list[str]:
        deadline = time.monotonic() + 60
        while True:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=30) as answer:
                    return answer.read().decode().split(" ", 4)
            except (ConnectionError, urllib.error.URLError):
                if server.poll() is not None or time.monotonic() > deadline:
                    raise
                time.sleep(0.1)

    try:
        answers = [get("/") for _ in range(60)]
        assert {answer[4] for answer in answers} == {"made before the fork"}
        assert len({answer[1] for answer in answers}) == len(answers), "two workers made the same nonce"
        version = get("/rotate")[3]
        assert {get("/")[2] for _ in range(30)} == {version}, "a worker did not see another's rotation on its next call"
    finally:
        server.terminate()
        try:
            errors = server.communicate(timeout=60)[1]
        except subprocess.TimeoutExpired:
            server.kill()
            raise
    assert server.returncode == 0 and "Traceback" not in errors, errors
