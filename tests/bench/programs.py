"""Where the peers' programs are, and how they are run: from PATH, or inside a Debian tree (tests/bench/peers)."""

import itertools
import os
import pathlib
import pwd
import re
import shutil
import subprocess

from conftest import ROOT

# A mount namespace of its own: /proc is there for the program, and gone with it.
ENTER = 'mount -t proc proc "$0/proc" && exec chroot $CHROOT_OPTIONS "$0" "$@"'


class Program:
    """One that was found. `tree`: None if it is this system's own."""

    def __init__(self, path, tree):
        self.path, self.tree = path, tree

    def command(self, *arguments, account=None, before=()):
        """(command, keyword arguments of Popen). `before`: a program to run it under."""
        if not self.tree:
            user = {}
            if account and os.getuid() == 0:
                entry = pwd.getpwnam(account)
                user = {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
            return [*before, self.path, *arguments], user
        options = f"--userspec={account}" if account else ""
        return (["unshare", "--mount", "--propagation", "private", "sh", "-c", ENTER, self.tree, *before, self.path,
                 *arguments], {"env": os.environ | {"CHROOT_OPTIONS": options, "HOME": "/"}})

    def output(self, *arguments):
        command, user = self.command(*arguments)
        ran = subprocess.run(command, capture_output=True, text=True, **user)
        return (ran.stdout or ran.stderr).split("\n")[0]


class Folder:
    """One that the programs of a tree, and we, can both read: `inside` is its name for them."""

    made = itertools.count(1)

    def __init__(self, base, name, program):
        name = f"{re.sub('[^a-z]+', '-', name)}-{next(self.made)}"
        if program.tree:
            self.outside = pathlib.Path(program.tree, "tmp", f"bench-{os.getpid()}", name)
            self.inside = "/" + str(self.outside.relative_to(program.tree))
        else:
            self.outside = base / name
            self.inside = str(self.outside)
        self.outside.mkdir(parents=True)
        for each in (self.outside, self.outside.parent):
            each.chmod(0o777)

    def write(self, name, text, mode=0o644):
        path = self.outside / name
        path.write_text(text)
        path.chmod(mode)
        return f"{self.inside}/{name}"


class Programs:
    def __init__(self, peers):
        given = [peers] if peers else []
        kept = [ROOT / ".cache" / "peers", os.environ.get("WEIR_MYSQL9") or ROOT / ".cache" / "mysql9"]
        self.trees = [str(pathlib.Path(tree).resolve()) for tree in (given or kept)
                      if pathlib.Path(tree).is_dir() and os.getuid() == 0]

    def find(self, name):
        for tree in self.trees:
            for folder in ("/usr/bin", "/usr/sbin"):
                if os.access(f"{tree}{folder}/{name}", os.X_OK):
                    return Program(f"{folder}/{name}", tree)
        found = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")
        return Program(found, None) if found else None

    def clean(self):
        for tree in self.trees:
            shutil.rmtree(pathlib.Path(tree, "tmp", f"bench-{os.getpid()}"), ignore_errors=True)
