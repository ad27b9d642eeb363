"""The documented API: every name, its parameters and their defaults, in the order of the requirements.

`SIGNATURES` maps an address to the parameters that a caller may rely on, as in a ``def``; `VALUES` to a
value; `NAMES` holds addresses that must merely exist. What is there beyond it (further parameters that
have defaults) breaks no caller.
"""

from __future__ import annotations

#: Attributes with a documented value.
VALUES: dict[str, object] = {
    "mitogen.is_master": True,
    "mitogen.context_id": 0,
    "mitogen.parent_id": None,
    "mitogen.parent_ids": [],
    "mitogen.core.GET_MODULE": 100,
    "mitogen.core.CALL_FUNCTION": 101,
    "mitogen.core.FORWARD_LOG": 102,
    "mitogen.core.ADD_ROUTE": 103,
    "mitogen.core.DEL_ROUTE": 104,
    "mitogen.core.ALLOCATE_ID": 105,
    "mitogen.core.SHUTDOWN": 106,
    "mitogen.core.LOAD_MODULE": 107,
    "mitogen.core.IS_DEAD": 999,
    "mitogen.core.Broker.shutdown_timeout": 3.0,
    "mitogen.core.Receiver.notify": None,
    "mitogen.master.Broker.shutdown_timeout": 5.0,
    "mitogen.master.Router.profiling": False,
}

SIGNATURES: dict[str, str] = {
    "mitogen.main": "(log_level='INFO', profiling=False)",
    # -- mitogen.core
    "mitogen.core.takes_econtext": "(func)",
    "mitogen.core.takes_router": "(func)",
    "mitogen.core.has_parent_authority": "(msg, stream=None)",
    "mitogen.core.listen": "(obj, name, func)",
    "mitogen.core.unlisten": "(obj, name, func)",
    "mitogen.core.fire": "(obj, name, *args)",
    "mitogen.core.Error": "(fmt, *args)",
    "mitogen.core.Message": "(**kwargs)",
    "mitogen.core.Message.pickled": "(obj, **kwargs)",
    "mitogen.core.Message.dead": "(reason='', **kwargs)",
    "mitogen.core.Message.unpickle": "(self, throw=True)",
    "mitogen.core.Message.reply": "(self, obj, router=None, **kwargs)",
    "mitogen.core.Router.stream_by_id": "(self, dst_id)",
    "mitogen.core.Router.add_route": "(self, target_id, via_id)",
    "mitogen.core.Router.register": "(self, context, stream)",
    "mitogen.core.Router.add_handler": (
        "(self, fn, handle=None, persist=True, respondent=None, policy=None)"
    ),
    "mitogen.core.Router.del_handler": "(self, handle)",
    "mitogen.core.Router._async_route": "(self, msg, stream=None)",
    "mitogen.core.Router.route": "(self, msg)",
    "mitogen.core.Context.send": "(self, msg)",
    "mitogen.core.Context.send_async": "(self, msg, persist=False)",
    "mitogen.core.Context.send_await": "(self, msg, deadline=None)",
    "mitogen.core.Receiver": "(router, handle=None, persist=True, respondent=None)",
    "mitogen.core.Receiver.to_sender": "(self)",
    "mitogen.core.Receiver.empty": "(self)",
    "mitogen.core.Receiver.close": "(self)",
    "mitogen.core.Receiver.get": "(self, timeout=None, block=True, throw_dead=True)",
    "mitogen.core.Receiver.get_data": "(self, timeout=None)",
    "mitogen.core.Receiver.__iter__": "(self)",
    "mitogen.core.Sender": "(context, dst_handle)",
    "mitogen.core.Sender.send": "(self, data)",
    "mitogen.core.Sender.close": "(self)",
    "mitogen.core.Channel": "(router, context, dst_handle, handle=None)",
    "mitogen.core.Latch": "()",
    "mitogen.core.Latch.put": "(self, obj=None)",
    "mitogen.core.Latch.get": "(self, timeout=None, block=True)",
    "mitogen.core.Latch.empty": "(self)",
    "mitogen.core.Latch.close": "(self)",
    "mitogen.core.Broker": "()",
    "mitogen.core.Broker.defer": "(self, func, *args, **kwargs)",
    "mitogen.core.Broker.defer_sync": "(self, func)",
    "mitogen.core.Broker.start_receive": "(self, stream)",
    "mitogen.core.Broker.stop_receive": "(self, stream)",
    "mitogen.core.Broker._start_transmit": "(self, stream)",
    "mitogen.core.Broker.stop_transmit": "(self, stream)",
    "mitogen.core.Broker.shutdown": "(self)",
    "mitogen.core.Broker.join": "(self)",
    "mitogen.core.Broker.keep_alive": "(self)",
    "mitogen.core.Broker._broker_main": "(self)",
    "mitogen.core.BasicStream.on_receive": "(self, broker)",
    "mitogen.core.BasicStream.on_transmit": "(self, broker)",
    "mitogen.core.BasicStream.on_shutdown": "(self, broker)",
    "mitogen.core.BasicStream.on_disconnect": "(self, broker)",
    "mitogen.core.Importer.find_spec": "(self, fullname, path=None, target=None)",
    "mitogen.core.ExternalContext.main": "(self)",
    "mitogen.core.ExternalContext.detach": "(self)",
    # -- mitogen.parent
    "mitogen.parent.is_immediate_child": "(msg, stream)",
    "mitogen.parent.Context.shutdown": "(self, wait=False)",
    "mitogen.parent.Context.call": "(self, fn, *args, **kwargs)",
    "mitogen.parent.Context.call_async": "(self, fn, *args, **kwargs)",
    "mitogen.parent.Context.call_no_reply": "(self, fn, *args, **kwargs)",
    "mitogen.parent.CallChain": "(context, pipelined=False, timeout=None)",
    "mitogen.parent.CallChain.call": "(self, fn, *args, **kwargs)",
    "mitogen.parent.CallChain.call_async": "(self, fn, *args, **kwargs)",
    "mitogen.parent.CallChain.call_no_reply": "(self, fn, *args, **kwargs)",
    "mitogen.parent.CallChain.reset": "(self)",
    "mitogen.parent.CallChain.__enter__": "(self)",
    # -- mitogen.master
    "mitogen.master.Broker": "(install_watcher=True)",
    "mitogen.master.Router": "(broker=None, max_message_size=None)",
    "mitogen.master.Router.__enter__": "(self)",
    "mitogen.master.Router.enable_debug": "(self)",
    "mitogen.master.Router.allocate_id": "(self)",
    "mitogen.master.Router.context_by_id": "(self, context_id, via_id=None)",
    "mitogen.master.Router.local": (
        "(self, remote_name=None, python_path=None, debug=False, connect_timeout=None, profiling=False)"
    ),
    "mitogen.master.Router.fork": (
        "(self, on_fork=None, on_start=None, debug=False, profiling=False, via=None)"
    ),
    # -- mitogen.select
    "mitogen.select.Select": "(receivers=(), oneshot=True)",
    "mitogen.select.Select.all": "(it)",
    "mitogen.select.Select.get": "(self, timeout=None, block=True)",
    "mitogen.select.Select.__bool__": "(self)",
    "mitogen.select.Select.close": "(self)",
    "mitogen.select.Select.empty": "(self)",
    "mitogen.select.Select.__iter__": "(self)",
    "mitogen.select.Select.add": "(self, recv)",
    "mitogen.select.Select.remove": "(self, recv)",
    "mitogen.select.Select.__enter__": "(self)",
    # -- mitogen.fakessh
    "mitogen.fakessh.run": "(dest, router, args, deadline=None, econtext=None)",
    # -- mitogen.utils
    "mitogen.utils.cast": "(obj)",
    "mitogen.utils.disable_site_packages": "()",
    "mitogen.utils.log_to_file": "(path=None, io=False, level='INFO')",
    "mitogen.utils.run_with_router": "(func, *args, **kwargs)",
    "mitogen.utils.with_router": "(func)",
}

#: Parameters that may also be given by name, though the method's first ones are swallowed by *args.
KEYWORDS: dict[str, list[str]] = {
    "mitogen.master.Router.local": ["unidirectional", "name"],
}

#: Attributes of instances, by the class.
ATTRIBUTES: dict[str, list[str]] = {
    "Message": [
        *("router", "receiver", "dst_id", "src_id", "auth_id", "handle", "reply_to", "data", "is_dead"),
    ],
    "core.Context": ["context_id", "name", "router"],
    "Router": ["broker", "max_message_size", "unidirectional", "profiling"],
    "Context": ["context_id", "name", "router", "default_call_chain"],
    "Receiver": ["handle", "notify"],
    "Sender": ["context", "dst_handle"],
    "CallError": ["type_name", "text", "traceback", "cause"],
}

#: Errors, and what each of them is.
ERRORS: dict[str, str] = {
    "mitogen.core.CallError": "mitogen.core.Error",
    "mitogen.core.ChannelError": "mitogen.core.Error",
    "mitogen.core.LatchError": "mitogen.core.Error",
    "mitogen.core.StreamError": "mitogen.core.Error",
    "mitogen.core.TimeoutError": "mitogen.core.Error",
    "mitogen.select.Error": "mitogen.core.Error",
}

#: One object under two addresses, or a class and its base.
SAME: dict[str, str] = {"mitogen.master.Select": "mitogen.select.Select"}
BASES: dict[str, list[str]] = {
    "mitogen.core.Channel": ["mitogen.core.Sender", "mitogen.core.Receiver"],
    "mitogen.master.Router": ["mitogen.parent.Router", "mitogen.core.Router"],
    "mitogen.master.Broker": ["mitogen.core.Broker"],
    "mitogen.parent.Context": ["mitogen.core.Context"],
    "mitogen.core.Stream": ["mitogen.core.BasicStream"],
    "mitogen.fork.Stream": ["mitogen.core.Stream"],
}
