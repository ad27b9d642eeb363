"""Channels, receivers that hold their senders back, and who may talk to whom: between real contexts."""

from __future__ import annotations

import os
import resource
import signal
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from mitogen.core import (
    GET_MODULE,
    CallError,
    ChannelError,
    Error,
    Receiver,
    SerializationError,
    TimeoutError,
)
from mitogen.parent import CallChain
from mitogen.select import Select
from tests.integration import flows

if TYPE_CHECKING:
    from pathlib import Path

    from mitogen.core import Message
    from mitogen.master import Router
    from mitogen.parent import Context

PATIENCE = 20.0


def peak() -> float:
    """Return the peak memory of this process in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024.0


def wait_for(condition: Any) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


# -- Channels to a function -------------------------------------------------------------------------


def test_both_ends_of_an_opened_channel_send_and_receive_at_once(local: Context) -> None:
    channel = local.open_channel(flows.echo_twice, 2)
    channel.send(21)
    channel.send("ab")
    assert channel.get_data(PATIENCE) == 42
    assert channel.get_data(PATIENCE) == "abab"
    assert channel.result(PATIENCE) == 2
    assert channel.result(PATIENCE) == 2
    with pytest.raises(ChannelError, match="returned"):
        channel.get(PATIENCE)
    with pytest.raises(ChannelError, match="returned"):
        channel.send(1)


def test_a_function_that_fails_ends_its_channel_with_the_reason(local: Context) -> None:
    channel = local.open_channel(flows.fail, "oh no")
    with pytest.raises(ChannelError, match="ValueError: oh no"):
        channel.get(PATIENCE)
    with pytest.raises(CallError, match="oh no") as caught:
        channel.result(PATIENCE)
    assert caught.value.type_name == "ValueError"


def test_a_function_that_is_not_there_ends_the_channel_with_the_reason(
    local: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(channel: object) -> None: ...

    gone.__qualname__ = "gone"
    with pytest.raises(ChannelError, match="AttributeError"):
        local.open_channel(gone).get(PATIENCE)


def test_what_cannot_be_named_or_sent_opens_no_channel(local: Context, router: Router) -> None:
    before = len(router._handlers)
    with pytest.raises(TypeError, match="lambda"):
        local.open_channel(lambda channel: None)
    with pytest.raises(SerializationError):
        local.open_channel(flows.echo_twice, object())
    assert len(router._handlers) == before


def test_closing_the_caller_s_end_ends_the_function_s_waits(local: Context) -> None:
    channel = local.open_channel(flows.listen_until_closed)
    channel.send("a")
    channel.close()
    found, why = channel.result(PATIENCE)
    assert found == ["a"]
    assert "closed" in why


def test_a_channel_may_be_closed_before_the_function_had_it(local: Context, router: Router) -> None:
    before = set(router._handlers)
    channel = local.open_channel(flows.listen_until_closed)
    channel.close("changed my mind")
    with pytest.raises(ChannelError, match="closed"):
        channel.get(PATIENCE)
    assert channel.result(PATIENCE) == ([], "changed my mind")
    failed = local.open_channel(flows.fail, "oh no")
    failed.close()
    with pytest.raises(CallError, match="oh no"):
        failed.result(PATIENCE)
    wait_for(lambda: set(router._handlers) == before)


def test_methods_and_keywords_work_and_channels_fit_into_a_select(router: Router) -> None:
    contexts = [router.local() for _ in range(2)]
    channels = [context.open_channel(flows.Plain.static, word=context.name) for context in contexts]
    with Select(channels) as select:
        words = [msg.unpickle() for msg in select]
    assert sorted(words) == sorted(context.name for context in contexts)


def test_the_end_of_the_context_ends_the_channel_and_the_call(local: Context) -> None:
    pid = local.call(os.getpid)
    channel = local.open_channel(flows.hang)
    assert channel.get_data(PATIENCE) == "began"
    os.kill(pid, signal.SIGKILL)
    for wait in (channel.get, channel.result):
        with pytest.raises(ChannelError, match="signal 9"):
            wait(PATIENCE)


def test_what_is_sent_to_a_function_that_has_not_begun_waits_for_it(local: Context) -> None:
    blocker = local.call_async(flows.sleep, 0.3)
    channel = local.open_channel(flows.echo_twice, 1)
    with pytest.raises(TimeoutError, match="did not begin"):
        channel.send(1, timeout=0.05)
    channel.send(2)
    assert channel.get_data(PATIENCE) == 4
    blocker.get()


# -- Receivers that hold their senders back ---------------------------------------------------------


def test_a_sender_waits_while_as_much_is_unread_as_its_receiver_takes(
    local: Context, router: Router
) -> None:
    receiver = Receiver(router, maxsize=4)
    call = local.call_async(flows.send_with_timeout, receiver.to_sender(), 100, 0.2)
    count, why = call.get_data(PATIENCE)
    assert count == 4
    assert "unread" in why
    assert [receiver.get_data(PATIENCE) for _ in range(4)] == [0, 1, 2, 3]


def test_all_of_it_arrives_in_order_when_it_is_read(local: Context, router: Router) -> None:
    for maxsize in (1, 3, 50):
        receiver = Receiver(router, maxsize=maxsize)
        call = local.call_async(flows.send_many, receiver.to_sender(), 200, 10)
        got = [receiver.get_data(PATIENCE) for _ in range(200)]
        assert got == [(b"%d" % i).ljust(10, b"x") for i in range(200)]
        call.get_data(PATIENCE)


def test_each_sender_has_credit_of_its_own(router: Router) -> None:
    receiver = Receiver(router, maxsize=3)
    sender = receiver.to_sender()
    contexts = [router.local() for _ in range(3)]
    calls = [context.call_async(flows.send_many, sender, 30, 10) for context in contexts]
    assert len([receiver.get_data(PATIENCE) for _ in range(90)]) == 90
    for call in calls:
        call.get_data(PATIENCE)
    assert receiver.empty()


def test_closing_the_receiver_frees_a_sender_that_waits(local: Context, router: Router) -> None:
    receiver = Receiver(router, maxsize=2)
    call = local.call_async(flows.send_until_refused, receiver.to_sender())
    receiver.get(PATIENCE)
    receiver.close()
    count, why = call.get_data(PATIENCE)
    assert count < 6
    # It depends on whether a message was on its way.
    assert "closed" in why or "no handle" in why


def test_a_sender_learns_of_the_end_of_the_receiver_s_context(router: Router, local: Context) -> None:
    other = router.local()
    channel = other.open_channel(serve_receiver)
    sender = channel.get_data(PATIENCE)
    call = local.call_async(flows.send_until_refused, sender)
    assert channel.get_data(PATIENCE) == "something arrived"
    os.kill(other.call_aside(os.getpid), signal.SIGKILL)
    _, why = call.get_data(PATIENCE)
    assert other.name in why


def serve_receiver(channel: Any) -> None:
    """Give away the sender of a receiver that nobody reads."""
    receiver = Receiver(channel.router, maxsize=2)
    channel.send(receiver.to_sender())
    while receiver.empty():
        time.sleep(0.01)
    channel.send("something arrived")
    channel.get()


def test_a_size_that_lets_nothing_through_is_refused(router: Router) -> None:
    with pytest.raises(Error, match="at least 1"):
        Receiver(router, maxsize=0)


def test_an_unread_receiver_costs_no_process_memory_and_hurts_no_sibling(router: Router) -> None:
    """400 MB through a relay: each of the three processes grows by little, and others are served."""
    relay = router.local()
    source, sibling = router.local(via=relay), router.local(via=relay)
    source.call(flows.peak)
    relay_before, here_before = relay.call(flows.peak), peak()
    receiver = Receiver(router, maxsize=8)
    call = source.call_async(flows.send_many, receiver.to_sender(), 400, 1 << 20)
    wait_for(lambda: not receiver.empty())
    times = []
    for _ in range(300):
        began = time.monotonic()
        sibling.call(flows.identity, 1)
        times.append(time.monotonic() - began)
    # A median: a slow machine stops everything for a while now and then. Without credit, each call
    # would wait behind megabytes.
    assert sorted(times)[150] < 0.05
    assert call.empty()
    assert relay.call(flows.peak) - relay_before < 32
    for _ in range(400):
        receiver.get_data(PATIENCE)
    assert call.get_data(PATIENCE) < 32
    assert relay.call(flows.peak) - relay_before < 32
    assert peak() - here_before < 64


# -- Receivers that know nobody ---------------------------------------------------------------------


def test_a_wait_ends_when_all_are_gone_who_were_given_a_sender(router: Router) -> None:
    contexts = [router.local() for _ in range(2)]
    receiver = Receiver(router)
    sender = receiver.to_sender()
    for context in contexts:
        context.call(flows.give, sender, context.name)
    assert {receiver.get_data(PATIENCE) for _ in contexts} == {context.name for context in contexts}
    contexts[0].shutdown(wait=True)
    with pytest.raises(TimeoutError):
        receiver.get(0.1)
    contexts[1].shutdown(wait=True)
    with pytest.raises(ChannelError, match="last context that this receiver's sender was given to"):
        receiver.get(PATIENCE)
    contexts.append(router.local())
    contexts[2].call(flows.give, sender, "again")
    assert receiver.get_data(PATIENCE) == "again"


def test_a_wait_in_a_child_ends_when_the_child_that_it_gave_a_sender_is_gone(local: Context) -> None:
    assert "last context that this receiver's sender" in local.call(flows.give_to_own_child)


def test_a_child_ends_contexts_that_others_started_and_waits_for_that(local: Context) -> None:
    chain = CallChain(local, timeout=PATIENCE * 2)
    assert chain.call(flows.shut_down_what_others_started) == (2, [True, True])


def test_a_wait_goes_on_while_anybody_may_have_a_sender(router: Router) -> None:
    one, other = router.local(), router.local()
    hidden, local = Receiver(router), Receiver(router)
    one.call(flows.keep, hidden.to_sender())
    other.call(flows.identity, [hidden.to_sender()])
    one.call(flows.keep, local.to_sender())
    sender = local.to_sender()
    one.shutdown(wait=True)
    for receiver in (hidden, local):
        with pytest.raises(TimeoutError):
            receiver.get(0.1)
    sender.send("from here")
    assert local.get_data(PATIENCE) == "from here"


# -- Who may talk to whom ---------------------------------------------------------------------------


def test_siblings_call_one_another_once_that_is_allowed(router: Router) -> None:
    relay = router.local()
    pairs = [
        (router.local(), router.local()),
        (router.local(via=relay), router.local(via=relay)),
        (router.local(via=relay), router.local()),
        (router.local(via=relay), relay),
    ]
    for caller, called in pairs:
        with pytest.raises(CallError, match="refused"):
            caller.call(flows.call, called, 5)
        called.allow_calls_from(caller)
        assert caller.call(flows.call, called, 5) == (5, caller.call(os.getpid))
        with pytest.raises(CallError, match="refused"):
            pairs[1][1].call(flows.call, caller, 5)


def test_a_policy_decides_about_siblings_wherever_they_are(router: Router) -> None:
    asked = []
    groups: dict[int, str] = {}

    def policy(src_id: int, dst_id: int) -> bool:
        asked.append((src_id, dst_id))
        return groups[src_id] == groups[dst_id]

    router.routing_policy = policy
    assert router.routing_policy is policy
    relay = router.local()
    a, b = router.local(via=relay), router.local(via=relay)
    c = router.local()
    groups.update({relay.context_id: "x", a.context_id: "x", b.context_id: "y", c.context_id: "x"})
    for src, dst in ((a, c), (c, a), (c, relay)):
        assert src.call(flows.ask, dst) == "context %d has no handle 77" % dst.context_id
    for src, dst in ((a, b), (b, a), (b, c), (c, b)):
        why = src.call(flows.ask, dst)
        assert "policy" in why
        assert "context %d may not talk to context %d" % (src.context_id, dst.context_id) in why
    groups[b.context_id] = "x"
    assert a.call(flows.ask, b) == "context %d has no handle 77" % b.context_id
    groups.clear()
    assert "policy" in a.call(flows.ask, c)  # It raises.
    # Those who started one another are never asked about.
    assert relay.call(flows.ask, a) == "context %d has no handle 77" % a.context_id
    assert a.call(flows.ask, relay) == "context %d has no handle 77" % relay.context_id
    assert (relay.context_id, a.context_id) not in asked


def test_a_question_that_may_pass_but_not_be_answered_is_refused(router: Router) -> None:
    router.routing_policy = lambda src_id, dst_id: src_id < dst_id
    relay = router.local()
    low, high = router.local(via=relay), router.local()
    low, high = sorted([low, high], key=lambda context: context.context_id)
    why = low.call(flows.ask, high)
    assert "context %d may not answer context %d" % (high.context_id, low.context_id) in why
    channel = high.open_channel(serve_one)
    sender = channel.get_data(PATIENCE)
    low.call(flows.give, sender, "one way")
    assert channel.get_data(PATIENCE) == "one way"


def serve_one(channel: Any) -> None:
    """Give away the sender of a receiver, and pass on what comes."""
    receiver = Receiver(channel.router)
    channel.send(receiver.to_sender())
    channel.send(receiver.get_data(PATIENCE))


def test_a_policy_may_be_lifted(router: Router) -> None:
    router.routing_policy = lambda src_id, dst_id: False
    relay = router.local()
    a, b = router.local(via=relay), router.local(via=relay)
    assert "policy" in a.call(flows.ask, b)
    router.routing_policy = None
    assert a.call(flows.ask, b) == "context %d has no handle 77" % b.context_id
    assert router.routing_policy is None


# -- Heartbeats, and figures ------------------------------------------------------------------------


def test_a_context_that_says_nothing_any_more_is_given_up(router: Router) -> None:
    router.keepalive_interval = 0.3
    relay = router.local()
    silent, other = router.local(via=relay), router.local(via=relay)
    pid = silent.call(os.getpid)
    waiting = silent.call_async(flows.sleep, 60)
    os.kill(pid, signal.SIGSTOP)
    with pytest.raises(ChannelError, match=r"nothing was heard of context .* for 0\.9"):
        waiting.get(PATIENCE)
    # Neither idle nor busy contexts are given up.
    assert other.call(flows.sleep, 1.5) is None
    assert other.call(flows.identity, 1) == 1


def test_figures_can_be_had_of_any_context_also_of_one_that_is_busy(router: Router) -> None:
    relay = router.local()
    leaf = router.local(via=relay)
    leaf.call(flows.identity, b"x" * 100_000)
    busy = threading.Thread(target=relay.call, args=(flows.sleep, 1.0))
    busy.start()
    for context, links, routes in ((leaf, 1, 0), (relay, 2, 1)):
        figures = context.stats()
        assert figures["context_id"] == context.context_id
        assert figures["routes"] == routes
        assert figures["handles"] > 3
        assert len(figures["links"]) == links
        for link in figures["links"]:
            assert link["bytes_received"] > 1000
            assert link["messages_sent"] > 1
            assert link["messages_received"] > 1
            assert link["queued"] == 0
            assert link["age"] > 0
    mine = router.stats()
    assert (mine["context_id"], mine["routes"], len(mine["links"])) == (0, 2, 1)
    assert mine["links"][0]["name"] == relay.name
    assert mine["links"][0]["bytes_sent"] > 100_000
    busy.join()


# -- Modules ahead of need --------------------------------------------------------------------------


def test_modules_can_be_sent_ahead_each_once_over_each_connection(
    router: Router, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "ahead"
    package.mkdir()
    (package / "__init__.py").write_text("")
    for i in range(5):
        (package / ("part%d.py" % i)).write_text("def value():\n    return %d\n" % i)
    monkeypatch.syspath_prepend(str(tmp_path))
    relay = router.local()
    inner = router.local(via=relay)
    inner.call(flows.identity, 1)
    names = ["ahead", "no_such_module", *("ahead.part%d" % i for i in range(5))]
    asked: list[bytes] = []
    entry = router._handlers[GET_MODULE]

    def notice(msg: Message) -> None:
        asked.append(msg.data)
        entry[0](msg)

    router._handlers[GET_MODULE] = (notice, *entry[1:])
    for _ in range(2):
        router.responder.forward_modules(inner, names)
    for context in (inner, relay):
        for i in range(5):
            __import__("ahead.part%d" % i)
            assert context.call(sys.modules["ahead.part%d" % i].value) == i
    assert asked == []
    sent = [link["messages_sent"] for link in relay.stats()["links"] if link["context_id"] != 0]
    router.responder.forward_modules(inner, names)
    assert inner.call(flows.identity, 1) == 1
    again = [link["messages_sent"] for link in relay.stats()["links"] if link["context_id"] != 0]
    assert again[0] - sent[0] == 1
