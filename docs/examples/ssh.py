"""A local program that starts ssh, which takes the connection that there is."""

import os
import sys
import tempfile

import mitogen.fakessh
import mitogen.master

if __name__ == "__main__":
    with mitogen.master.Router() as router, tempfile.TemporaryDirectory() as folder:
        context = router.local()

        script = "tar -C {} -c . | ssh any-host tar -C {} -x"
        source = os.path.dirname(os.path.abspath(__file__))
        status = mitogen.fakessh.run(context, router, ["sh", "-c", script.format(source, folder)])
        print("exit status", status)
        print(os.path.basename(__file__) in os.listdir(folder))

        sys.stdout.flush()
        print(mitogen.fakessh.run(context, router, ["ssh", "any-host", "echo from afar; exit 3"]))
