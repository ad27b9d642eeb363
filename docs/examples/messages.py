"""Values that come and go while a function runs."""

import mitogen.core
import mitogen.master


def count(number: int, progress: mitogen.core.Sender) -> str:
    """Send to whoever holds the other end."""
    for i in range(number):
        progress.send(i)
    progress.close()
    return "done"


@mitogen.core.takes_router
def add_up(ready: mitogen.core.Sender, router: mitogen.core.Router) -> int:
    """Say where values are received, and add them up until there are no more."""
    receiver = mitogen.core.Receiver(router)
    ready.send(receiver.to_sender())
    return sum(msg.unpickle() for msg in receiver)


if __name__ == "__main__":
    with mitogen.master.Router() as router:
        context = router.local()

        receiver = mitogen.core.Receiver(router, respondent=context)
        answer = context.call_async(count, 3, receiver.to_sender())
        for msg in receiver:
            print("progress:", msg.unpickle())
        print(answer.get().unpickle())

        channel = mitogen.core.Channel(router, context, dst_handle=0)
        answer = context.call_async(add_up, channel.to_sender())
        msg, there = channel.get()
        channel.dst_handle = there.dst_handle
        for value in (1, 2, 3):
            channel.send(value)
        channel.close()
        print("sum:", answer.get_data())
