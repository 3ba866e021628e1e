"""Some damaged files of every format; many more with `make fuzz`."""

import subprocess
import sys
from pathlib import Path


def test_damaged_files_end_with_a_sentence(tmp_path):
    call = [sys.executable, str(Path(__file__).with_name("files.py")), "--files", "250", "--seed", "3"]
    done = subprocess.run([*call, "--samples", str(tmp_path / "samples")], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    assert " 0 wrong" in done.stdout
