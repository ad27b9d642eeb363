"""Many calls at once, in many contexts."""

import time
from typing import Any

import mitogen.core
import mitogen.master
from mitogen.select import Select


def work(number: int) -> int:
    """Take a time that depends on the number."""
    if number < 0:
        raise ValueError("negative")
    time.sleep(number / 4)
    return number * number


if __name__ == "__main__":
    with mitogen.master.Router() as router:
        contexts = [router.local() for _ in range(3)]

        # Everything at once; answers as they arrive.
        numbers: dict[Any, int] = {
            context.call_async(work, n): n for n, context in zip((3, 1, 2), contexts)
        }
        for msg in Select(numbers):
            print(numbers[msg.receiver], "squared is", msg.unpickle())

        # All values, in the order of arrival.
        print(Select.all(context.call_async(work, n) for n, context in enumerate(contexts)))

        # One failure does not hide the others: look at each message.
        for msg in Select(context.call_async(work, n) for n, context in zip((-1, 2, 4), contexts)):
            try:
                print(msg.unpickle())
            except mitogen.core.CallError as e:
                print(e.type_name, e.text)

        # Selects within selects: first those that matter more, then the rest.
        urgent = Select([contexts[0].call_async(work, 0)])
        later = Select([contexts[1].call_async(work, 1), contexts[2].call_async(work, 2)])
        print([msg.unpickle() for msg in Select([urgent, later])])

        # A select that keeps its receivers, for streams of messages: see messages.py.
        with Select(oneshot=False) as select:
            receiver = mitogen.core.Receiver(router)
            select.add(receiver)
            for value in ("a", "b"):
                receiver.to_sender().send(value)
            print(select.get().unpickle(), select.get(timeout=10).unpickle())
            select.remove(receiver)
        receiver.close()
