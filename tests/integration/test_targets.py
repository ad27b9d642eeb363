"""Each real counterpart of a transport runs Python by itself: if not, no test of its transport can pass.

Nothing here uses the library. A failure says that the machine or its set-up is broken, not the transport.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests import leaks
from tests.integration.targets import doas, docker, place, roots, sshd, standins, terminal
from tests.integration.targets import sudo as sudoers

if TYPE_CHECKING:
    from tests.integration.targets.accounts import Account
    from tests.integration.targets.containers import Container

#: Prints the answer and who ran it.
PROGRAM = "import getpass; print(6 * 7, getpass.getuser())"


def quoted(program: str) -> str:
    return "python3 -c '%s'" % program


def test_ssh_runs_python_by_key(ssh_server: sshd.Server, user: Account) -> None:
    assert place.run(*ssh_server.command("root", quoted(PROGRAM))) == "42 root\n"
    assert place.run(*ssh_server.command(user.name, quoted(PROGRAM))) == "42 %s\n" % user.name
    host = ("-o", "HostName=" + sshd.HOST6)
    assert place.run(*ssh_server.command("root", *host, "echo in")) == "in\n"


def ssh(server: sshd.Server, *words: str) -> list[str]:
    """Return the command line of a client that may ask."""
    known = server.known_hosts(server.path + "/known_hosts")
    options = ["-F", "/dev/null", "-p", str(server.port), "-o", "UserKnownHostsFile=" + known]
    return ["ssh", *options, *words]


def test_ssh_asks_for_a_password(ssh_server: sshd.Server, user: Account) -> None:
    for method, prompt in (("password", "'s password:"), ("keyboard-interactive", "Password:")):
        method = "PreferredAuthentications=" + method
        command = ssh(ssh_server, "-o", method, "%s@%s" % (user.name, sshd.HOST), "echo in")
        status, text = terminal.talk(command, [(prompt, user.wrong_password), (prompt, user.password)])
        assert (status, text.split()[-1]) == (0, "in")


def test_ssh_asks_for_a_passphrase(ssh_server: sshd.Server) -> None:
    command = ssh(ssh_server, "-i", ssh_server.encrypted_key, "root@" + sshd.HOST, "echo in")
    status, text = terminal.talk(command, [("Enter passphrase for key", sshd.PASSPHRASE)])
    assert (status, text.split()[-1]) == (0, "in")


def test_ssh_asks_for_a_second_factor(targets: None, user: Account) -> None:
    with sshd.serve(one_time=user.name) as server:
        for _ in range(2):
            answers = [("Password:", user.password), ("One-time password", server.next_code())]
            status, text = terminal.talk(
                ssh(server, "%s@%s" % (user.name, sshd.HOST), "echo in"), answers
            )
            assert (status, text.split()[-1]) == (0, "in")


def test_ssh_shows_a_banner_and_a_noisy_profile(targets: None) -> None:
    with sshd.serve(banner=True, noisy=True) as server:
        done = subprocess.run(
            server.command("root", "echo in"), capture_output=True, text=True, timeout=30
        )
        assert done.stdout == sshd.NOISE + "in\n"
        assert sshd.BANNER in done.stderr.replace("\r", "")


def test_ssh_refuses_a_changed_host_key(ssh_server: sshd.Server, tmp_path: Path) -> None:
    for state, words in (
        ("changed", "REMOTE HOST IDENTIFICATION HAS CHANGED"),
        ("unknown", "Host key verification failed"),
    ):
        known = ssh_server.known_hosts(str(tmp_path / state), state)
        command = ssh_server.command("root", "true")
        command[1:1] = ["-o", "UserKnownHostsFile=" + known, "-o", "StrictHostKeyChecking=yes"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30)
        assert done.returncode == 255
        assert words in done.stderr


def test_addresses_that_do_not_answer() -> None:
    def ssh_to(port: int) -> tuple[int, str, float]:
        command = ["ssh", "-F", "/dev/null", "-p", str(port), "-o", "ConnectTimeout=1", sshd.HOST, "true"]
        started = time.monotonic()
        done = subprocess.run(command, capture_output=True, text=True, timeout=30)
        return done.returncode, done.stderr, time.monotonic() - started

    with contextlib.ExitStack() as stack:
        refused = ssh_to(stack.enter_context(sshd.refusing())[1])
        dropped = [ssh_to(stack.enter_context(sshd.black_hole())[1])]
        hanging = ssh_to(stack.enter_context(sshd.silent())[1])
    assert refused[0] == 255
    assert "Connection refused" in refused[1]
    for status, text, seconds in dropped + [hanging]:
        assert status == 255
        assert "timed out" in text
        assert seconds >= 1


def sudo(user: Account, *words: str) -> list[str]:
    return user.command("sudo", *words)


def test_sudo_without_a_password(user: Account, other_user: Account) -> None:
    before = Path("/etc/sudoers").read_bytes()
    with sudoers.rule(user.name, password=False):
        assert place.run(*sudo(user, "-n", "python3", "-c", PROGRAM)) == "42 root\n"
        words = ("-n", "-u", other_user.name, "python3", "-c", PROGRAM)
        assert place.run(*sudo(user, *words)) == "42 %s\n" % other_user.name
        assert place.run("visudo", "--check")
    assert not place.succeeds(*sudo(user, "-n", "true"))
    assert Path("/etc/sudoers").read_bytes() == before


@pytest.mark.parametrize("variant", sudoers.VARIANTS)
def test_sudo_asks_for_a_password(user: Account, other_user: Account, variant: str) -> None:
    password = other_user.password if variant == "targetpw" else user.password
    prompt = "Secret word, " if variant == "passprompt" else "[sudo] password for "
    command = sudo(user, "-u", other_user.name, "python3", "-c", PROGRAM)
    with sudoers.rule(user.name, variant):
        status, text = terminal.talk(command, [(prompt, password)])
    assert (status, text.splitlines()[-1]) == (0, "42 " + other_user.name)
    assert ("***" in text) == (variant == "pwfeedback")
    assert ("Respect the privacy" in text) == (variant == "lecture")


def test_sudo_wants_a_terminal_if_told(user: Account) -> None:
    with sudoers.rule(user.name, "requiretty", password=False):
        done = subprocess.run(
            ["setsid", "--wait", *sudo(user, "-n", "true")], capture_output=True, text=True, timeout=30
        )
    assert done.returncode == 1
    assert "you must have a tty" in done.stderr


@pytest.mark.parametrize(
    ("locale", "prompt"),
    [("de_DE.UTF-8", "Passwort für"), ("fr_FR.UTF-8", "Mot de passe de"), ("zh_CN.UTF-8", "的密码")],
)
def test_sudo_asks_in_other_languages(user: Account, locale: str, prompt: str) -> None:
    with sudoers.rule(user.name):
        environ = {"LC_ALL": locale, "LANGUAGE": ""}
        assert terminal.talk(sudo(user, "true"), [(prompt, user.password)], environ)[0] == 0


def test_su_asks_for_a_password(user: Account, other_user: Account) -> None:
    command = user.command("su", other_user.name, "-c", quoted(PROGRAM))
    status, text = terminal.talk(command, [("Password:", other_user.password)])
    assert (status, text.splitlines()[-1]) == (0, "42 " + other_user.name)
    status, text = terminal.talk(user.command("su", place.TAG + "nobody"), [])
    assert "does not exist" in text


def test_doas_asks_for_a_password(user: Account, other_user: Account) -> None:
    command = user.command("doas", "-u", other_user.name, "python3", "-c", PROGRAM)
    with doas.rule(user.name):
        status, text = terminal.talk(command, [("password:", user.password)])
        assert (status, text.splitlines()[-1]) == (0, "42 " + other_user.name)
    with doas.rule(user.name, "nopass"):
        assert place.run(*command) == "42 %s\n" % other_user.name
    assert not place.succeeds(*user.command("doas", "-n", "true"))


#: Leaves a process behind that nobody waits for, in a session of its own.
LEAK = "setsid sleep 300 < /dev/null > /dev/null 2>&1 &"


def sees_the_leak(*command: str) -> None:
    """Check that what a command leaves behind is seen by the check after each test, which kills it."""
    before = leaks.Resources()
    place.run(*command)
    left = leaks.wait_for_none(before, 0.5)
    assert [line.partition(": ")[2] for line in left] == ["sleep 300"]
    assert leaks.wait_for_none(before) == []


def test_what_is_left_is_seen(ssh_server: sshd.Server, user: Account, other_user: Account) -> None:
    sees_the_leak(*ssh_server.command(user.name, LEAK))
    with sudoers.rule(user.name, password=False), doas.rule(user.name, "nopass"):
        sees_the_leak(*sudo(user, "-n", "sh", "-c", LEAK))
        sees_the_leak(*user.command("doas", "-u", other_user.name, "sh", "-c", LEAK))
    sees_the_leak("su", user.name, "-c", LEAK)


def test_what_is_left_in_a_container_is_seen(
    docker_container: Container,
    podman_container: Container,
    lxc_container: Container,
    lxd_container: Container,
) -> None:
    sees_the_leak("docker", "exec", docker_container.name, "sh", "-c", LEAK)
    sees_the_leak("podman", "exec", podman_container.name, "sh", "-c", LEAK)
    sees_the_leak("lxc-attach", "--name", lxc_container.name, "--", "sh", "-c", LEAK)
    sees_the_leak("lxc", "exec", lxd_container.name, "--", "sh", "-c", LEAK)


def answer(*command: str) -> None:
    """Check that the end of a command is a Python with pipes for standard input and output."""
    assert place.run(*command, stdin="print(6 * 7)").endswith("42\n")


def enter(container: Container) -> None:
    """Check that its first process leads into a container: setns needs no more."""
    root = ("--root=/proc/%d/root" % container.pid, "--wd=/")
    answer("nsenter", "--target", str(container.pid), "--all", *root, "python3", "-")


def test_docker(docker_container: Container) -> None:
    answer("docker", "exec", "--interactive", docker_container.name, "python3", "-")
    enter(docker_container)


def test_docker_starts_a_container_of_an_image(docker_server: None) -> None:
    answer("docker", "run", "--interactive", "--rm", "--network", "none", docker.IMAGE, "python3", "-")


def test_podman(podman_container: Container) -> None:
    answer("podman", "exec", "--interactive", podman_container.name, "python3", "-")
    enter(podman_container)


def test_buildah(buildah_container: Container) -> None:
    answer("buildah", "run", buildah_container.name, "--", "python3", "-")


def test_lxc(lxc_container: Container) -> None:
    answer("lxc-attach", "--name", lxc_container.name, "--", "python3", "-")
    enter(lxc_container)


def test_sudo_in_lxc(lxc_container: Container) -> None:
    become = ["setpriv", "--reuid", roots.USER, "--regid", roots.USER, "--init-groups", "--"]
    command = ["lxc-attach", "--name", lxc_container.name, "--", *become, "sudo", "id", "-un"]
    status, text = terminal.talk(command, [("password for", roots.PASSWORD)])
    assert (status, text.split()[-1]) == (0, "root"), text


def test_lxd(lxd_container: Container) -> None:
    answer("lxc", "exec", lxd_container.name, "--mode=non-interactive", "--", "python3", "-")
    enter(lxd_container)


def test_slurm(slurm_job: str) -> None:
    answer("srun", "--quiet", "--jobid", slurm_job, "--overlap", "--ntasks=1", "python3", "-")


def test_stand_ins_write_their_command_line_and_run_its_command_here(
    stand_ins: standins.StandIns,
) -> None:
    command = ("python3", "-")
    for words in (
        ("jexec", "-U", "someone", "the jail", *command),
        ("kubectl", "exec", "--stdin", "-c", "box", "a-pod", "--", *command),
        ("incus", "exec", "a-container", "--mode=non-interactive", "--", *command),
    ):
        answer(*words)
        assert stand_ins.calls[-1][1:] == list(words[1:])
    assert [os.path.basename(call[0]) for call in stand_ins.calls] == ["jexec", "kubectl", "incus"]
    assert subprocess.run(["kubectl", "exec", "a-pod"], capture_output=True, timeout=30).returncode == 64


def test_the_stand_in_of_machinectl_names_a_leader(stand_ins: standins.StandIns) -> None:
    stand_ins.lead("a-machine", 4711)
    assert "Leader: 4711 (" in place.run("machinectl", "status", "a-machine")
    assert place.run("machinectl", "show", "--property=Leader", "a-machine") == "Leader=4711\n"
    assert place.run("machinectl", "show", "-p", "Leader", "--value", "a-machine") == "4711\n"
    done = subprocess.run(["machinectl", "status", "other"], capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stderr) == (
        1,
        "Could not get path to machine: No machine 'other' known\n",
    )
    assert len(stand_ins.calls) == 4
