"""Programs that run in a context."""

import subprocess

import mitogen.master
import mitogen.utils

if __name__ == "__main__":
    with mitogen.master.Router() as router:
        context = router.local()

        result = mitogen.utils.run(context, ["wc", "-l"], input=b"one\ntwo\n", check=True)
        print(result.returncode, result.stdout.strip())

        try:
            mitogen.utils.run(context, "echo started; sleep 60", shell=True, timeout=0.5)
        except subprocess.TimeoutExpired as e:
            print("timed out; until then:", e.output)

        count = "for i in 1 2 3; do echo line $i; done"
        mitogen.utils.run(
            context, count, shell=True, text=True, on_stdout=lambda line: print(line, end="")
        )

        with mitogen.utils.popen(context, ["tr", "a-z", "A-Z"]) as program:
            program.write(b"written while it runs\n")
            program.close_stdin()
            for name, line in program.lines():
                print(name, line)
        print(program.returncode)
