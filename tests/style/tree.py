"""The working tree as the style rules see it: paths and texts, C code without comments and strings.

Rules work on a plain dictionary, path -> text, so that each can be shown a small bad tree and must
object (selftest.py). Nothing here judges anything.
"""

import re
import subprocess
from typing import NamedTuple


class Finding(NamedTuple):
    path: str
    line: int
    rule: str
    text: str

    def __str__(self):
        return f"{self.path}:{self.line}: {self.rule}: {self.text}"


def read(root):
    """Every text file that git tracks or would track."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=root, check=True, capture_output=True).stdout.decode()
    files = {}
    for path in sorted(filter(None, listed.split("\0"))):
        try:
            data = (root / path).read_bytes()
        except (FileNotFoundError, IsADirectoryError):
            continue  # deleted, not yet committed; or a link to a folder
        if b"\0" not in data[:8192]:
            files[path] = data.decode("utf-8", "replace")
    return files


def is_c(path):
    return path.endswith((".c", ".h", ".inc"))


def is_library(path):
    """Code that ends up inside somebody else's process."""
    # conform is part of the command; its children are processes of their own.
    if path.startswith(("engine/cli/", "engine/conform/", "engine/python/")) or "/cli/" in path:
        return False
    return is_c(path) and path.startswith(("engine/", "backends/", "kernels/", "scheduler/"))


_TOKENS = re.compile(r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.DOTALL)


def bare_code(text):
    """The code with comments and literals blanked out; lines stay where they are."""

    def blank(match):
        found = match.group(0)
        if found[0] == '"':
            return '""'
        if found[0] == "'":
            return "' '"
        return re.sub(r"[^\n]", " ", found)

    return _TOKENS.sub(blank, text)


def numbered(text):
    return enumerate(text.split("\n"), 1)
