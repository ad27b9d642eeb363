"""The factories of this library's transports, as users, type checkers and the reference see them.

Nothing here runs: a router finds a transport by its name, see `mitogen.parent.registry`, and its options
have the same parameters, which a test compares. What all have in common is `Common`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import TypedDict

    from typing_extensions import Unpack

    from mitogen.parent.context import Context

    Text = str | bytes
    OnPrompt = Callable[[str], str | None]

    class Common(TypedDict, total=False):
        """What every transport takes: see `mitogen.parent.Router.local`."""

        remote_name: str | None
        python_path: str | Sequence[str] | None
        debug: bool
        connect_timeout: float | None
        profiling: bool
        unidirectional: bool | None
        name: str | None
        via: Context | None


class Transports:
    """Each returns the `Context` once it can be called, and may be called by any thread but the broker's.

    All take the parameters of `mitogen.parent.Router.local` besides their own. Without a `python_path`,
    the target is searched for one in the same connection: ``python3``, ``python3.N``, newest first,
    ``/usr/libexec/platform-python`` and ``python``. All raise `mitogen.core.StreamError` when
    the context does not come up, with what the program said.
    """

    def ssh(
        self,
        hostname: str,
        username: str | None = None,
        ssh_path: str | None = None,
        ssh_args: Sequence[str] | None = None,
        port: int | None = None,
        check_host_keys: str = "enforce",
        password: str | None = None,
        identity_file: str | None = None,
        identities_only: bool = True,
        compression: bool = True,
        ssh_debug_level: int | None = None,
        passphrase: str | None = None,
        on_prompt: OnPrompt | None = None,
        **common: Unpack[Common],
    ) -> Context:
        """Start a context on another machine, with OpenSSH's client.

        :param hostname: name or address, or what the client's configuration makes of it.
        :param username: account there; by default the client chooses.
        :param ssh_path: the client; by default ``ssh``.
        :param ssh_args: arguments for it, which take precedence over all that follow from the rest.
        :param port: by default the client chooses.
        :param check_host_keys: ``enforce``: refuse unknown and changed keys; ``accept``: refuse changed
            keys, and note unknown ones for the next time; ``ignore``: take any.
        :param password: typed when it is asked for, once.
        :param identity_file: path of a private key; with `identities_only` the only one that is tried.
        :param identities_only: try no key of an agent's and no default key where a password or an
            identity file is given.
        :param compression: have the client compress what it sends.
        :param ssh_debug_level: 0 to 3: how much the client explains, which errors then have.
        :param passphrase: of the private key; `password` by default.
        :param on_prompt: called with any other question, such as one for a second factor, and returns the
            answer, or None for none. It has a thread to itself, and may take as long as
            `connect_timeout`.
        :raises mitogen.ssh.PasswordError: a password was asked for and not given, or was wrong.
        :raises mitogen.ssh.HostKeyError: the key of the host has changed, or is unknown.
        """
        raise NotImplementedError

    def sudo(
        self,
        username: str | None = None,
        sudo_path: str | None = None,
        password: str | None = None,
        set_home: bool = False,
        preserve_env: bool = False,
        sudo_args: Sequence[str] | None = None,
        on_prompt: OnPrompt | None = None,
        **common: Unpack[Common],
    ) -> Context:
        """Start a context under another account, with sudo.

        :param username: the account; by default ``root``.
        :param sudo_path: the program; by default ``sudo``.
        :param password: typed when sudo asks, once.
        :param set_home: set HOME to that of the account.
        :param preserve_env: keep the environment, as far as sudo's configuration allows that.
        :param sudo_args: arguments as for sudo, which set the parameters that mean the same; of the
            others, ``-g``, ``-r``, ``-t``, ``-T``, ``-i`` and ``-k`` are known.
        :param on_prompt: as for `ssh`.
        :raises mitogen.sudo.PasswordError: a password was asked for and not given, or was wrong.
        """
        raise NotImplementedError

    def su(
        self,
        username: str | None = None,
        password: str | None = None,
        su_path: str | None = None,
        password_prompt: Text | None = None,
        incorrect_prompts: Sequence[Text] | None = None,
        on_prompt: OnPrompt | None = None,
        **common: Unpack[Common],
    ) -> Context:
        """Start a context under another account, with su.

        :param username: the account; by default ``root``.
        :param password: typed when su asks, once.
        :param su_path: the program; by default ``su``.
        :param password_prompt: how it asks; by default ``Password:``. Case does not matter.
        :param incorrect_prompts: what it says when the password is wrong.
        :param on_prompt: as for `ssh`.
        :raises mitogen.su.PasswordError: a password was asked for and not given, or was wrong.
        """
        raise NotImplementedError

    def doas(
        self,
        username: str | None = None,
        password: str | None = None,
        doas_path: str | None = None,
        password_prompt: Text | None = None,
        incorrect_prompts: Sequence[Text] | None = None,
        on_prompt: OnPrompt | None = None,
        **common: Unpack[Common],
    ) -> Context:
        """Start a context under another account, with doas. The parameters are those of `su`.

        :raises mitogen.doas.PasswordError: a password was asked for and not given, or was wrong; or there
            is no such account.
        """
        raise NotImplementedError

    def docker(
        self,
        container: str | None = None,
        image: str | None = None,
        docker_path: str | None = None,
        username: str | None = None,
        **common: Unpack[Common],
    ) -> Context:
        """Start a context in a Docker container: one that runs, or a new one that lasts as long as it.

        :param container: name or id of one that runs.
        :param image: of what to make one; either this or `container`.
        :param docker_path: the program; by default ``docker``.
        :param username: account in the container; by default the image's.
        """
        raise NotImplementedError

    def podman(
        self,
        container: str,
        podman_path: str | None = None,
        username: str | None = None,
        **common: Unpack[Common],
    ) -> Context:
        """Start a context in a Podman container that runs.

        :param container: its name or id.
        :param podman_path: the program; by default ``podman``.
        :param username: account in the container; by default the image's.
        """
        raise NotImplementedError

    def buildah(
        self,
        container: str,
        buildah_path: str | None = None,
        username: str | None = None,
        **common: Unpack[Common],
    ) -> Context:
        """Start a context in a working container of Buildah's.

        :param container: its name or id.
        :param buildah_path: the program; by default ``buildah``.
        :param username: account in the container.
        """
        raise NotImplementedError

    def lxc(
        self, container: str, lxc_attach_path: str | None = None, **common: Unpack[Common]
    ) -> Context:
        """Start a context in a classic LXC container that runs.

        :param container: its name.
        :param lxc_attach_path: the program; by default ``lxc-attach``.
        """
        raise NotImplementedError

    def lxd(self, container: str, lxc_path: str | None = None, **common: Unpack[Common]) -> Context:
        """Start a context in an LXD container that runs.

        :param container: its name.
        :param lxc_path: the program; by default ``lxc``.
        """
        raise NotImplementedError

    def incus(self, container: str, incus_path: str | None = None, **common: Unpack[Common]) -> Context:
        """Start a context in an Incus container that runs.

        :param container: its name.
        :param incus_path: the program; by default ``incus``.
        """
        raise NotImplementedError

    def jail(
        self,
        container: str,
        jexec_path: str | None = None,
        username: str | None = None,
        **common: Unpack[Common],
    ) -> Context:
        """Start a context in a FreeBSD jail.

        :param container: its name or number.
        :param jexec_path: the program; by default ``/usr/sbin/jexec``.
        :param username: account in the jail; by default ``root``.
        """
        raise NotImplementedError

    def kubectl(
        self,
        pod: str,
        kubectl_path: str | None = None,
        kubectl_args: Sequence[str] | None = None,
        **common: Unpack[Common],
    ) -> Context:
        """Start a context in a pod of a Kubernetes cluster.

        :param pod: its name.
        :param kubectl_path: the program; by default ``kubectl``.
        :param kubectl_args: options for it or for its ``exec``, such as ``["-n", "web", "-c", "app"]``.
        """
        raise NotImplementedError

    def setns(
        self,
        container: str,
        kind: str,
        username: str | None = None,
        docker_path: str | None = None,
        lxc_info_path: str | None = None,
        machinectl_path: str | None = None,
        lxc_path: str | None = None,
        **common: Unpack[Common],
    ) -> Context:
        """Start a context in the namespaces of a container, without its manager's help. Linux, as root.

        It begins as a login there would: with the account's HOME, USER, LOGNAME and SHELL, a usual PATH,
        and nothing else of the environment here. It has the rights of root here, but for what
        namespaces take from it: where the container has no user namespace of its own, its manager
        would have let it do less. Another account than root has none of them.

        :param container: its name.
        :param kind: ``docker``, ``lxc``, ``lxd`` or ``machinectl``: what is asked for its first process.
        :param username: account in the container, as its ``/etc/passwd`` has it; by default ``root``.
        :param docker_path: the program to ask; by default ``docker``. Podman's answers alike.
        :param lxc_info_path: the same for LXC; by default ``lxc-info``.
        :param machinectl_path: the same for systemd-nspawn; by default ``machinectl``.
        :param lxc_path: the same for LXD; by default ``lxc``.
        """
        raise NotImplementedError
