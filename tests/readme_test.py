#!/usr/bin/env python3
"""Runs the commands of the README's console blocks and compares what they print with what the README says.

    readme_test.py README BUILD [--quick]      exit status: 0 all as printed, 1 not, 2 usage

A block is fenced by ```console; a line `$ COMMAND` runs in a folder that holds tests/ and build/, which is BUILD, alone; the lines below it
must come out in this order, `...` standing for any others. `inspect` is arithmetic and must match letter for letter;
of what is measured only the numbers may differ, and how many samples there were. Commands on a file that is not there
(a trained model: tests/fetch_model.sh) are skipped, and counted. --quick: `inspect` alone.
"""

import os
import pathlib
import re
import subprocess
import sys
import tempfile


def blocks(text):
    """[(command, lines)] of every console block, in the README's order."""
    for block in re.findall(r"^```console\n(.*?)^```", text, re.S | re.M):
        command, lines = None, []
        for line in block.splitlines():
            if line.startswith("$ "):
                if command:
                    yield command, lines
                command, lines = line[2:], []
            elif command and command.endswith("\\") and not lines:
                command = command[:-1] + line.strip()
            else:
                lines.append(line)
        if command:
            yield command, lines


def comparable(line, exact):
    line = line.rstrip()
    if exact:
        return line
    line = re.sub(r"\(-\d+\)", "", line.replace("too few", "#"))
    line = re.sub(r"[-+]?\d[\d.]*(e[-+]?\d+)?", "#", line)
    return re.sub(r" +", " ", re.sub(r"#(\.\.#)?", "#", line)).strip()


def differences(expected, printed, exact):
    """The first expected line that does not come, or None."""
    printed = [comparable(line, exact) for line in printed]
    at, gap = 0, True
    for line in expected:
        if line.strip() == "...":
            gap = True
            continue
        want = comparable(line, exact)
        found = printed.index(want, at) if want in printed[at:] else None
        if found is None or (found != at and not gap):
            return line
        at, gap = found + 1, False
    return None


def software():
    """Mesa's software driver alone, where it is: what the README shows comes from it."""
    drivers = sorted(pathlib.Path("/usr/share/vulkan/icd.d").glob("lvp_icd*.json"))
    return dict(os.environ, **({"VK_DRIVER_FILES": str(drivers[0]), "VK_ICD_FILENAMES": str(drivers[0])} if drivers else {}))


def run(command, build, expected):
    """A sentence about what is wrong, "" where nothing is, None where it was skipped."""
    with tempfile.TemporaryDirectory() as folder:
        (pathlib.Path(folder) / "build").symlink_to(build)
        for name in re.findall(r"build/models/[\w./-]+", command):
            if not (pathlib.Path(folder) / name).exists():
                return None
        (pathlib.Path(folder) / "tests").symlink_to(README.parent / "tests")
        done = subprocess.run(command, shell=True, cwd=folder, capture_output=True, text=True, timeout=280, env=software())
    if done.returncode:
        return f"exit code {done.returncode}: {done.stderr.strip()[-300:]}"
    line = differences(expected, done.stdout.splitlines(), " inspect " in command)
    return f"does not print: {line}" if line else ""


def main(arguments):
    global README
    quick = "--quick" in arguments
    paths = [a for a in arguments if a != "--quick"]
    if len(paths) != 2:
        print(__doc__.strip(), file=sys.stderr)
        return 2
    README, build = pathlib.Path(paths[0]).resolve(), pathlib.Path(paths[1]).resolve()
    passed = failed = skipped = 0
    for command, expected in blocks(README.read_text(encoding="utf-8")):
        if quick and " inspect " not in command:
            continue
        wrong = run(command, build, expected)
        if wrong is None:
            skipped += 1
        elif wrong:
            failed += 1
            print(f"FAILED: {command}\n    {wrong}")
        else:
            passed += 1
    print(f"{passed} passed, {failed} failed, {skipped} skipped for want of a model")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
