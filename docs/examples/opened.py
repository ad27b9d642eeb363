"""A function that talks with its caller while it runs."""

import mitogen.core
import mitogen.master


def running_total(channel: mitogen.core.Channel, start: int) -> str:
    """Answer each number with the sum so far, until there are no more."""
    total = start
    for msg in channel:
        total += msg.unpickle()
        channel.send(total)
    return "the total was %d" % total


def produce(sender: mitogen.core.Sender, count: int) -> int:
    """Send as fast as the other end reads."""
    for number in range(count):
        sender.send(b"x" * 65536 + b"%d" % number)
    return count


if __name__ == "__main__":
    with mitogen.master.Router() as router:
        context = router.local()
        channel = context.open_channel(running_total, 100)
        for number in (1, 2, 3):
            channel.send(number)
            print(channel.get_data())
        channel.close()
        print(channel.result())

        receiver = mitogen.core.Receiver(router, maxsize=10)
        answer = context.call_async(produce, receiver.to_sender(), 1000)
        print("first:", receiver.get_data()[65536:], "while at most ten wait here")
        for _ in range(999):
            last = receiver.get_data()
        print("last:", last[65536:], "of", answer.get_data())
