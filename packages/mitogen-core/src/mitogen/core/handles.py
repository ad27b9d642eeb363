"""The standard handles: numbers below 1,000 that mean the same in every context.

Part of the wire protocol, so a number is never reused for something else. Pure data: no imports.
"""

from __future__ import annotations

#: Says that the sender waits for the receiving context, so that all on the way note it; ignored there.
NOTICE = 0

(
    # Ask the parent for a module; data is its name. Answered on LOAD_MODULE.
    GET_MODULE,
    # Call a function; see `mitogen.core.calls`.
    CALL_FUNCTION,
    # A log record of a child: logger name, level and text, separated by NUL bytes.
    FORWARD_LOG,
    # A descendant exists behind the sending link; data is its id, a colon, and its name.
    ADD_ROUTE,
    # Contexts are gone; data is their ids with commas between, a colon, and the reason.
    DEL_ROUTE,
    # Ask the parent, and so the master, for a batch of context ids.
    ALLOCATE_ID,
    # Finish and go; see `mitogen.core.child`.
    SHUTDOWN,
    # A module, or the answer that there is none.
    LOAD_MODULE,
    # Preload a module, already sent here, toward a descendant.
    FORWARD_MODULE,
    # The sending child drops its connection on purpose, and lives on.
    DETACHING,
    # Call a method of a service.
    CALL_SERVICE,
    # The caller waits for a call no longer; data is the reply handle the call was made with.
    CANCEL_CALL,
    # As CALL_FUNCTION, in a thread of its own: other calls that run or wait do not delay it.
    CALL_ASIDE,
) = range(100, 113)
# 113 is GET_DATA, of `mitogen.core.datafile`: few children need it.

#: In `Message.reply_to`: the sender considers the channel dead; data is the reason as UTF-8 text.
IS_DEAD = 999

#: Handles below this are reserved; `Router.add_handler` allocates from here on.
FIRST_DYNAMIC_HANDLE = 1000
